"""The package's own log lines: each is logged once, and none can fail the caller."""

from __future__ import annotations

import logging
from typing import Final

_log = logging.getLogger("otel_budget")
_logged: set[str] = set()
_MAX_LOGGED: Final = 256


def log_once(level: int, message: str, error: BaseException | None = None) -> None:
    """Log `message` if it has not been logged in this process. A failing handler is ignored."""
    if message in _logged or len(_logged) >= _MAX_LOGGED:
        return
    _logged.add(message)
    try:
        _log.log(level, "%s", message, exc_info=error if _log.isEnabledFor(logging.DEBUG) else None)
    except Exception:
        return
