"""The package's own log lines: each said once, and never in the way."""

from __future__ import annotations

import logging
from typing import Final

_log = logging.getLogger("otel_budget")
_said: set[str] = set()
_MAX_SAID: Final = 256


def say_once(level: int, message: str, error: BaseException | None = None) -> None:
    """Log `message` if it has not been logged in this process. A failing handler is ignored."""
    if message in _said or len(_said) >= _MAX_SAID:
        return
    _said.add(message)
    try:
        _log.log(level, "%s", message, exc_info=error if _log.isEnabledFor(logging.DEBUG) else None)
    except Exception:
        return
