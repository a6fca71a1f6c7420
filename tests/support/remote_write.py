"""A remote write by hand: protobuf in an uncompressed block of snappy."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

#: What ends a series at once.
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
Series = tuple[Mapping[str, str], Sequence[tuple[float, float]]]


def request(series: Iterable[Series]) -> bytes:
    """The body of a request.

    Args:
        series: Labels, with ``__name__``, and the time (s) and value of each sample.
    """
    content = b"".join(_part(1, _series(*one)) for one in series)
    # A block is its length and pieces of up to 64 KiB, each with its own length.
    pieces = (content[start : start + 65536] for start in range(0, len(content), 65536))
    tag = bytes([61 << 2])
    return _varint(len(content)) + b"".join(
        tag + struct.pack("<H", len(piece) - 1) + piece for piece in pieces
    )


def _series(labels: Mapping[str, str], samples: Iterable[tuple[float, float]]) -> bytes:
    pairs = (
        _part(1, _part(1, name.encode()) + _part(2, value.encode()))
        for name, value in sorted(labels.items())
    )
    points = (
        _part(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(at * 1000)))
        for at, value in samples
    )
    return b"".join((*pairs, *points))


def _part(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
