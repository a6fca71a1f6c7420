"""Values that lie about themselves, or raise when they are looked at."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from functools import cache
from typing import Any

from otel_budget import Allow, BudgetLevel, Deny, SessionInfo, SoftLimit, TokenUsage

LONE = "\ud800x\udfff"
BASES: tuple[type, ...] = (object, dict, str, int, float, list)
METHODS = (
    "__class__", "__len__", "__getattr__", "__str__", "__repr__", "__eq__", "__hash__", "__float__",
    "__index__", "__bool__", "__iter__", "__contains__", "__getitem__", "__lt__", "__await__",
    "get", "keys", "items",
)  # fmt: skip
ERRORS: tuple[type[BaseException], ...] = (RuntimeError, CancelledError)
#: What an object may claim to be.
CLAIMS: tuple[type, ...] = (
    Allow, SoftLimit, Deny, TokenUsage, SessionInfo, BudgetLevel, dict, str, int, float,
)  # fmt: skip


class Abort(BaseException):
    """Raised by a guard, and no `Exception`."""


class LyingText(str):
    """Text that answers everything about itself wrongly, or not at all."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: Any) -> str:
        return LyingText(str(self))

    def __str__(self) -> str:
        return self

    def isascii(self) -> bool:
        raise RuntimeError("no answer")

    encode = isascii  # type: ignore[assignment]


class LyingNumber:
    """A number as a foreign library has it, whose parts need not agree."""

    def __init__(self, as_float: Any, as_index: Any, text: Any) -> None:
        self._parts = as_float, as_index, text

    def __float__(self) -> float:
        return self._parts[0]  # type: ignore[no-any-return]

    def __index__(self) -> int:
        return self._parts[1]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return self._parts[2]  # type: ignore[no-any-return]

    def item(self) -> Any:
        return self._parts[0]


@cache
def _raising_class(base: type, method: str, error: type[BaseException]) -> type:
    def raises(*_: Any, **__: Any) -> Any:
        raise error("hostile")

    member: Any = property(raises) if method == "__class__" else raises
    return type("Hostile", (base,), {method: member})


def raising(base: type, method: str, error: type[BaseException]) -> Any:
    """An instance of a subclass of `base` whose `method` raises."""
    return _raising_class(base, method, error)()


def claiming(cls: type) -> Any:
    """An object that says it is an instance of `cls`, and has nothing of it."""
    return type("Claims", (), {"__class__": property(lambda _: cls)})()


class ChangingLimit(SoftLimit):
    """A soft limit whose consumption is another one whenever it is read."""

    def __getattribute__(self, name: str) -> Any:
        if name != "consumed":
            return super().__getattribute__(name)
        left = self.__dict__["consumed"]
        return left.pop() if left else float("nan")


@cache
def _strange_error(key: str) -> type[Exception]:
    def raises(*_: Any) -> Any:
        raise RuntimeError("hostile")

    parts: dict[str, dict[str, Any]] = {
        "no text": {"__str__": raises},
        "no hash": {"__hash__": raises, "__eq__": raises},
        "module": {"__module__": ["no", "module"]},
        "long": {"__module__": "m" * 5_000, "__qualname__": "q" * 5_000},
    }
    return type("Strange", (Exception,), parts[key])


#: What a guard raises: makers, since an exception collects where it was raised.
FAILURES: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError("no"),
    lambda: ValueError(LONE * 3_000),
    lambda: CancelledError(),
    lambda: Abort("stop"),
    lambda: TimeoutError(),
    lambda: RecursionError(),
    lambda: ExceptionGroup("several", [ValueError("one")]),
    *(lambda key=key: _strange_error(key)("x") for key in ("no text", "no hash", "module", "long")),  # type: ignore[misc]
)
