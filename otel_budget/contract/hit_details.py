"""What a soft limit or a denial says beyond what the runtime asks: numbers, window, cause.

A detail that is not known is None. One that cannot be read becomes None as well and is named, so
that it can be counted; it never raises, since under ``fail="open"`` an exception inside a guard
lets the call through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, Self

from otel_budget import semconv
from otel_budget.sanitize import finite, shielded, text

Cause = Literal["spent", "reserved", "unpriced", "policy", "unavailable"]


def _window(value: Any) -> str | None:
    return text(value) or None if issubclass(type(value), str) else None


def _cause(value: Any) -> str | None:
    return value if type(value) is str and value in semconv.CAUSES else None


_UNREADABLE: Final = object()
#: How each detail is read; None if it cannot be.
DETAILS: Final[dict[str, Callable[[Any], Any]]] = {
    "consumed": finite,
    "limit": finite,
    "reserved": finite,
    "window": _window,
    "resets_in": finite,
    "cause": _cause,
}


def read_details(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The details that are known, and the names of those that cannot be read.

    Args:
        values: Some of `DETAILS` by name, unchecked; None is not known.
    """
    details = {
        name: None if value is None else DETAILS[name](value) for name, value in values.items()
    }
    unread = (name for name in values if details[name] is None and values[name] is not None)
    return details, tuple(unread)


def look_up(names: Iterable[str], look: Callable[[str], Any]) -> dict[str, Any]:
    """The unchecked details that `look` returns; where it raises, one that cannot be read."""
    values: dict[str, Any] = {}
    for name in names:
        try:
            values[name] = look(name)
        except shielded():
            values[name] = _UNREADABLE
    return values


class HitDetails(NamedTuple):
    """What is known of the budget behind a hit, each None if it is not.

    Attributes:
        consumed: How much is used, in the budget's own unit.
        limit: Its limit, or the threshold of a soft limit.
        reserved: How much is held for calls in progress.
        window: The budget's window.
        resets_in: Seconds until the window resets.
        cause: Why a call was refused, one of `semconv.CAUSES`.
        numbers_from: ``decision`` or ``level``: whose the first three are.
        level_age: Seconds since that level was polled.
    """

    consumed: float | None = None
    limit: float | None = None
    reserved: float | None = None
    window: str | None = None
    resets_in: float | None = None
    cause: str | None = None
    numbers_from: str | None = None
    level_age: float | None = None

    @classmethod
    def of(cls, hit: Any) -> Self:
        """The details that a soft limit or a denial tells itself."""
        if hit.resource == semconv.GUARD_UNAVAILABLE:
            # A stand-in's numbers are the runtime's zeros: whoever made it has seen no budget.
            return cls(cause=semconv.CAUSE_UNAVAILABLE)
        details = cls(*(getattr(hit, name, None) for name in DETAILS))
        if details[:3] == (None, None, None):
            return details
        return details._replace(numbers_from=semconv.FROM_DECISION)

    @property
    def sentence(self) -> str:
        """What is known, for people; empty if that is nothing."""
        parts = []
        if self.consumed is not None:
            of_limit = "" if self.limit is None else f" of {self.limit:,.6g}"
            parts.append(f"used {self.consumed:,.6g}{of_limit}")
        elif self.limit is not None:
            parts.append(f"limit {self.limit:,.6g}")
        if self.reserved:
            parts.append(f"{self.reserved:,.6g} reserved")
        if self.window is not None:
            parts.append(f"window {self.window}")
        if self.resets_in is not None:
            parts.append(f"resets in {self.resets_in:,.0f} s")
        return ", ".join(parts)
