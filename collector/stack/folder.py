"""The folder of a stack's data: one stack at a time, and room on its disk."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from collector.backends import ROOT
from collector.stack.addresses import StackError

#: Where `make stack` keeps its data.
DEFAULT = ROOT / ".stack"
#: Held by the running stack; its presence says that the folder is a stack's.
_LOCK = "stack.lock"
#: What a stack writes into its folder. Nothing else is ever removed.
_CONTENTS = (
    "alertmanager-data", "audit", "jaeger", "logs", "prometheus", "prometheus-data", "queue*",
)  # fmt: skip
_MEGABYTE = 1_000_000
#: Below this, programs end while they start.
_LEAST_ROOM = 100 * _MEGABYTE


def claim(folder: Path, *, fresh: bool = False) -> IO[str]:
    """Make the folder if need be, and hold it until what is returned is closed.

    Args:
        folder: Of the stack's data.
        fresh: Discard what an earlier stack has left there.

    Raises:
        StackError: It is another stack's, cannot be used, or has no room.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_a_stacks = (folder / _LOCK).exists()
        lock = (folder / _LOCK).open("a+")
    except OSError as error:
        raise unusable(folder, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if fresh and is_a_stacks:
            _discard(folder)
        if _room(folder) < _LEAST_ROOM:
            raise StackError(full(folder, _LEAST_ROOM))
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read()
        lock.close()
        raise StackError(
            f"{folder} is in use by a stack that runs (process {holder}); stop it, or choose "
            "another folder with --data."
        ) from None
    except OSError as error:
        lock.close()
        raise unusable(folder, error) from None
    except StackError:
        lock.close()
        raise
    return lock


def unusable(folder: Path, error: OSError) -> StackError:
    """What is wrong with the folder, in one sentence."""
    return StackError(
        f"{folder} cannot hold the stack's data ({error.strerror}); choose another folder with "
        "--data."
    )


def full(folder: Path, least: int = _MEGABYTE) -> str:
    """That there is no room for the folder, in one sentence; empty if there is."""
    if not folder.is_dir() or (room := _room(folder)) >= least:
        return ""
    return (
        f"The disk of {folder} is full: {room // _MEGABYTE} MB are left; make room, or choose "
        "another folder with --data."
    )


def _room(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _discard(folder: Path) -> None:
    for pattern in _CONTENTS:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
