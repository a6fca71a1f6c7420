"""A disk that a test can fill."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", path], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
