"""Notices a set-up of OpenTelemetry that comes after `configure`, whose telemetry goes elsewhere.

The API keeps the first global providers and logs that it does; a library with a set-up of its own,
such as Logfire, then sends its own telemetry by its own, and the guards' goes by ours.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from otel_budget.log_once import log_once

#: Those that say "Overriding of current TracerProvider is not allowed", and the like.
_LOGGERS: Final = (
    "opentelemetry.trace",
    "opentelemetry.metrics._internal",
    "opentelemetry._logs._internal",
)
_BETWEEN: Final = ("opentelemetry", "logging", "otel_budget")


def watch() -> None:
    """Log one line if somebody sets up OpenTelemetry from now on."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_notice)  # once, however often it is added


def _notice(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith("Overriding of current"):
        log_once(
            logging.WARNING,
            f"{_who()} set up OpenTelemetry after otel_budget.sdk.configure(): its telemetry and "
            "the guards' now go separate ways. Leave configure() out, or call it last.",
        )
    return True


def _who() -> str:
    """The top-level package that sets up OpenTelemetry."""
    frame = sys._getframe()
    while frame.f_back is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _BETWEEN:
            return "The program" if package == "__main__" else package
        frame = frame.f_back
    return "The program"
