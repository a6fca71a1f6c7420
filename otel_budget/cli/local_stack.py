"""Where the stack of this machine is: `make stack` leaves its addresses for the commands."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_PROCESS = "process"


def _file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "otel-budget" / "stack.json"


@contextmanager
def announced(addresses: Mapping[str, str]) -> Iterator[None]:
    """Tell the commands of this machine where a stack is while it runs; the last one counts.

    Args:
        addresses: Of its parts, by the options of `otel-budget verify` (``audit_file`` ...).
    """
    file, process = _file(), os.getpid()
    with suppress(OSError):  # then the commands need to be told by their options
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = file.with_suffix(f".{process}")
        # An address may hold a password.
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as text:
            json.dump({_PROCESS: process, **addresses}, text)
        partial.replace(file)
    try:
        yield
    finally:
        with suppress(OSError):
            if _read().get(_PROCESS) == process:
                file.unlink()


def addresses() -> dict[str, str]:
    """What the running stack has announced; empty if none runs."""
    told = _read()
    process = told.pop(_PROCESS, None)
    if not isinstance(process, int) or not _lives(process):
        return {}
    return {key: value for key, value in told.items() if isinstance(value, str)}


def _read() -> dict[str, object]:
    try:
        told = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
