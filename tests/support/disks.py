"""A disk that a test can fill, and damage to files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, megabytes: int = 1) -> Iterator[Callable[[], None]]:
    """A small file system at `path`; yields a function that makes room on it."""
    path.mkdir(parents=True)
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system (root)")
    try:
        larger = f"remount,size={megabytes + 64}m"
        yield lambda: subprocess.run(["mount", "-o", larger, path], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path) -> None:
    """Leave no room on the disk of this folder."""
    with (path / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass


def _noise(file: Path, start: int, end: int | None = None) -> None:
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(os.urandom((end or size) - start))


#: To a file of the Collector's queue.
DAMAGE: Mapping[str, Callable[[Path], None]] = {
    "noise at the head": lambda file: _noise(file, 0, 16_384),
    "noise in the middle": lambda file: _noise(file, 16_384),
    "too short to open": lambda file: os.truncate(file, 5_000),
    "too short to read": lambda file: os.truncate(file, 16_384),
}
