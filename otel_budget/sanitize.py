"""Cleans values before telemetry carries them.

One bad value can spoil exports for good: a lone surrogate or an integer beyond int64 makes the
encoding of the whole batch fail, and a NaN added to a sum never leaves it. Nothing here raises.
"""

from __future__ import annotations

import math
import operator
import sys
from typing import Any, Final, SupportsFloat, SupportsIndex

INT64_MAX: Final = 2**63 - 1
#: The largest sum of money, far below where a float becomes infinite.
MAX_COST: Final = 1e300
#: Maximum characters of an identifier (session, tenant, resource, model, tool …).
NAME_LENGTH: Final = 256
#: Maximum characters of a message (a denial's reason, an exception's text).
MESSAGE_LENGTH: Final = 1024


def shielded() -> tuple[type[BaseException], ...]:
    """What a value of the host may raise while it is read; also, what the telemetry may raise.

    KeyboardInterrupt and SystemExit are not its own: a signal handler of the host raises them,
    wherever the host happens to be. asyncio's cancellation exists only once asyncio is imported,
    which takes a sync host 20 ms. ``except`` asks only when something was raised.
    """
    asyncio = sys.modules.get("asyncio.exceptions")
    return Exception, getattr(asyncio, "CancelledError", Exception)


def text(value: Any, length: int = NAME_LENGTH) -> str:
    """`value` as valid UTF-8 of at most `length` characters."""
    if type(value) is not str:
        value = _characters(value)
    if len(value) > length:
        value = value[: length - 1] + "…"
    if value.isascii():
        return str(value)
    return str(value.encode("utf-8", "replace").decode("utf-8"))


def _characters(value: Any) -> str:
    """`value` as a plain `str`, whatever a subclass makes of ``len()``, slices and ``str()``."""
    try:
        return str.__str__(value if issubclass(type(value), str) else str(value))
    except shielded():
        return f"<{type(value).__name__}>"


def name(value: Any) -> str | None:
    """`value` as an identifier; None for None and for the empty string."""
    return None if value is None else text(value) or None


def count(value: Any) -> int | None:
    """`value`, rounded, as a count within int64; None if it is not a number of zero or more."""
    if type(value) is not int:
        whole = _rounded(value)
        if whole is None:
            return None
        value = whole
    return None if value < 0 else min(value, INT64_MAX)


def _rounded(value: Any) -> int | None:
    if issubclass(type(value), SupportsIndex):
        try:
            return int(operator.index(value))
        except shielded():
            return None
    number = finite(value)
    return None if number is None else round(number)


def finite(value: Any) -> float | None:
    """`value` as a finite float, or None. Text is not a number, even if it reads like one."""
    if value is None:
        return None
    if type(value) is not float:
        cls = type(value)  # not isinstance(): a value's __class__ may raise
        if issubclass(cls, str | bytes) or not issubclass(cls, SupportsFloat | SupportsIndex):
            return None
        try:
            value = float(value)
        except shielded():
            return None
    return value if math.isfinite(value) else None


def amount(value: Any) -> float | None:
    """`value` as a finite float of zero or more (a cost, a level), or None."""
    number = finite(value)
    return None if number is None or number < 0 else number


def error_type(error: BaseException) -> str:
    """The exception's class for OpenTelemetry's ``error.type``: qualified, limited in length."""
    cls = type(error)
    module = cls.__module__
    if type(module) is not str or module == "builtins":
        return text(cls.__qualname__)
    return text(f"{module}.{cls.__qualname__}")
