"""What is read: files, folders, patterns, standard input, gzip; each can be read again."""

from __future__ import annotations

import glob
import gzip
import io
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from otel_budget.cli.terminal import CommandError

#: Files of a folder that are read.
_ENDINGS: Final = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".log", ".txt")
#: How files begin that are not read, and what to do about it.
_PACKED: Final = {
    b"PK\x03\x04": "is packed by zip: unzip -p {name} | otel-budget replay -",
    b"(\xb5/\xfd": "is packed by zstd: zstd -dc {name} | otel-budget replay -",
    b"BZh": "is packed by bzip2: bzip2 -dc {name} | otel-budget replay -",
    b"\xfd7zXZ\x00": "is packed by xz: xz -dc {name} | otel-budget replay -",
    b"PAR1": "is a Parquet file: write it as CSV first, as DuckDB's COPY does",
}
_GZIP: Final = b"\x1f\x8b"
#: Bytes of a pipe that are kept in memory before it is spooled to a temporary file.
_IN_MEMORY: Final = 1 << 20
_LOOKED_AT: Final = 65_536


@dataclass(slots=True)
class Source:
    """One file of the log.

    Attributes:
        name: Its name for people.
        path: Where it is; None for standard input.
        spooled: The content of a pipe, which cannot be read again.
        stem: What a session is called where the log names none.
    """

    name: str
    path: Path | None
    spooled: IO[bytes] | None = None
    stem: str = "log"

    @contextmanager
    def opened(self) -> Iterator[io.TextIOWrapper]:
        """The file as text, from its start.

        Raises:
            CommandError: It is missing, empty or not text.
        """
        raw = self._raw()
        try:
            yield io.TextIOWrapper(
                _text_of(raw, self.name), encoding="utf-8-sig", errors="replace", newline=""
            )
        except (EOFError, gzip.BadGzipFile, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise CommandError(f"{self.name} cannot be read to its end ({error}).") from None
        finally:
            if raw is not self.spooled:
                raw.close()

    def _raw(self) -> IO[bytes]:
        if self.spooled is not None:
            self.spooled.seek(0)
            return self.spooled
        if self.path is None:
            self.spooled = _spooled(sys.stdin.buffer)
            return self.spooled
        try:
            raw = self.path.open("rb")
        except FileNotFoundError:
            raise CommandError(f"there is no file {self.name}: check its name.") from None
        except OSError as error:
            raise CommandError(f"{self.name} cannot be read ({error.strerror}).") from None
        if raw.seekable():
            return raw
        with raw:
            self.spooled = _spooled(raw)
        return self.spooled


def _spooled(pipe: IO[bytes]) -> IO[bytes]:
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
    shutil.copyfileobj(pipe, spool)
    spool.seek(0)
    return spool


class _Kept(io.BufferedReader):
    """A reader whose file stays open when a text wrapper lets go of it."""

    def close(self) -> None:
        """Do nothing: who opened the file closes it."""


def _text_of(raw: IO[bytes], name: str) -> io.BufferedReader:
    start = raw.read(_LOOKED_AT)
    raw.seek(0)
    kept = _Kept(cast("Any", raw))
    if start.startswith(_GZIP):
        kept = _Kept(gzip.GzipFile(fileobj=raw, mode="rb"))
        start = kept.peek(_LOOKED_AT)
    for mark, remedy in _PACKED.items():
        if start.startswith(mark):
            raise CommandError(f"{name} {remedy.format(name=name)}.")
    if not start.strip():
        raise CommandError(f"{name} is empty: name a CSV or JSON file of model calls.")
    if b"\0" in start or not _is_utf8(start):
        raise CommandError(
            f"{name} is not UTF-8 text: convert it first, as `iconv -f UTF-16 -t UTF-8` or "
            "`iconv -f LATIN1 -t UTF-8` does."
        )
    return kept


def _is_utf8(start: bytes) -> bool:
    try:
        # The sample may end in the middle of a character.
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(start) - error.start < 4 and error.end == len(start)
    return True


def sources_of(names: Iterable[str]) -> list[Source]:
    """The files that `names` stand for: files, folders with all below, patterns, or ``-``.

    Raises:
        CommandError: A pattern or folder holds no file, or one file is named twice.
    """
    sources: list[Source] = []
    for name in names:
        if name == "-":
            if sys.stdin.isatty():
                raise CommandError("- reads standard input: pipe a log into it, or name a file.")
            sources.append(Source("standard input", None))
        elif os.path.isdir(name):
            found = [path for path in sorted(Path(name).rglob("*")) if _is_log(path)]
            if not found:
                raise CommandError(
                    f"{name} is a directory without a file that ends in {', '.join(_ENDINGS)}, or "
                    "one of these with .gz: name a file."
                )
            sources += [_file(path) for path in found]
        elif glob.has_magic(name) and not os.path.exists(name):
            matching = sorted(glob.glob(name, recursive=True))
            if not matching:
                raise CommandError(f"no file matches {name}: check the pattern.")
            sources += [_file(Path(path)) for path in matching if not os.path.isdir(path)]
        else:
            sources.append(_file(Path(name)))
    paths = [os.path.realpath(source.path) if source.path else "-" for source in sources]
    times = Counter(paths)
    for source, path in zip(sources, paths, strict=True):
        if times[path] > 1:
            raise CommandError(f"{source.name} is named twice: name each file once.")
    return sources


def _is_log(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(_ENDINGS) and not name.startswith(".") and path.is_file()


def _file(path: Path) -> Source:
    stem = path.name.removesuffix(".gz")
    return Source(str(path), path, stem=Path(stem).stem or stem)
