"""The instrumented guard: the guard inside, and a shell that records each of its calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from otel_budget.telemetry.check import LlmCheck, ToolCheck
from otel_budget.telemetry.settings import GuardSettings
from otel_budget.telemetry.usage import UsageRecord


class _Instrumented:
    """What both shells share: everything but the contract's methods is the guard's own."""

    __slots__ = (
        "__weakref__",
        "_otel_budget_guard",
        "_otel_budget_instrument",
        "_otel_budget_settings",
    )

    def __init__(
        self, guard: Any, settings: GuardSettings, instrument: Callable[[Any], Any]
    ) -> None:
        object.__setattr__(self, "_otel_budget_guard", guard)
        object.__setattr__(self, "_otel_budget_settings", settings)
        object.__setattr__(self, "_otel_budget_instrument", instrument)

    # The class is the guard's own, so that the host's isinstance checks keep working. What needs
    # to know a wrapper asks `type()`, which is not fooled.
    @property
    def __class__(self) -> Any:
        return type(self._otel_budget_guard)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        self._otel_budget_guard.__class__ = value

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._otel_budget_guard, attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self._otel_budget_guard, attribute, value)

    def __delattr__(self, attribute: str) -> None:
        delattr(self._otel_budget_guard, attribute)

    def __dir__(self) -> Iterable[str]:
        return dir(self._otel_budget_guard)

    def __repr__(self) -> str:
        return f"<instrumented {self._otel_budget_guard!r}>"

    # A copy of an instrumented guard is an instrumented copy of the guard; so is a pickled one.
    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self._otel_budget_instrument, (self._otel_budget_guard,)

    def __copy__(self) -> Any:
        return self._otel_budget_instrument(copy.copy(self._otel_budget_guard))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._otel_budget_instrument(copy.deepcopy(self._otel_budget_guard, memo))


# The shells name every method of the contract. Inheriting a default would answer in the guard's
# stead, and __getattr__ is not asked for what a base class has.


class InstrumentedGuard(_Instrumented):
    """A synchronous guard, observed."""

    __slots__ = ()

    def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record what it decides."""
        with LlmCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_llm", None)
            call.answer = None if method is None else method(*args, **kwargs)
            return call.answer

    def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Tell the guard the usage, and record it."""
        with UsageRecord(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "record_after_llm", None)
            call.answer = None if method is None else method(*args, **kwargs)
            return call.answer

    def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record what it decides."""
        with ToolCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_tool", None)
            call.answer = None if method is None else method(*args, **kwargs)
            return call.answer


class AsyncInstrumentedGuard(_Instrumented):
    """An async guard, observed."""

    __slots__ = ()

    async def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record what it decides."""
        with LlmCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_llm", None)
            call.answer = None if method is None else await method(*args, **kwargs)
            return call.answer

    async def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Tell the guard the usage, and record it."""
        with UsageRecord(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "record_after_llm", None)
            call.answer = None if method is None else await method(*args, **kwargs)
            return call.answer

    async def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record what it decides."""
        with ToolCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_tool", None)
            call.answer = None if method is None else await method(*args, **kwargs)
            return call.answer


def parts_of(guard: Any) -> tuple[Any, GuardSettings | None]:
    """The guard inside an instrumented one and its settings; any other guard itself and None."""
    if not issubclass(type(guard), _Instrumented):
        return guard, None
    return guard._otel_budget_guard, guard._otel_budget_settings
