"""The instrumented guard: the guard, in a shell that records each of its calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from otel_budget.telemetry.check import LlmCheck, ToolCheck
from otel_budget.telemetry.settings import GuardSettings
from otel_budget.telemetry.usage import UsageRecord


class _Instrumented:
    """The base of both shells: everything but the contract's methods is the guard's own."""

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

    # The class is the guard's own, so that the host's isinstance checks keep working. Only `type()`
    # shows the wrapper.
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

    # Copying or pickling an instrumented guard gives an instrumented copy of the guard.
    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self._otel_budget_instrument, (self._otel_budget_guard,)

    def __copy__(self) -> Any:
        return self._otel_budget_instrument(copy.copy(self._otel_budget_guard))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._otel_budget_instrument(copy.deepcopy(self._otel_budget_guard, memo))


# The shells define every method of the contract. An inherited default would answer instead of the
# guard, since __getattr__ is not called for methods that a base class has.


class InstrumentedGuard(_Instrumented):
    """A synchronous guard, observed."""

    __slots__ = ()

    def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record its decision."""
        with LlmCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_llm", None)
            call.answer = None if method is None else method(*args, **kwargs)
            return call.answer

    def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Report the usage to the guard, and record it."""
        with UsageRecord(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "record_after_llm", None)
            call.answer = None if method is None else method(*args, **kwargs)
            return call.answer

    def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record its decision."""
        with ToolCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_tool", None)
            call.answer = None if method is None else method(*args, **kwargs)
            return call.answer


class AsyncInstrumentedGuard(_Instrumented):
    """An async guard, observed."""

    __slots__ = ()

    async def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record its decision."""
        with LlmCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_llm", None)
            call.answer = None if method is None else await method(*args, **kwargs)
            return call.answer

    async def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        """Report the usage to the guard, and record it."""
        with UsageRecord(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "record_after_llm", None)
            call.answer = None if method is None else await method(*args, **kwargs)
            return call.answer

    async def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the guard, and record its decision."""
        with ToolCheck(self._otel_budget_settings, args, kwargs) as call:
            method = getattr(self._otel_budget_guard, "check_before_tool", None)
            call.answer = None if method is None else await method(*args, **kwargs)
            return call.answer


def parts_of(guard: Any) -> tuple[Any, GuardSettings | None]:
    """An instrumented guard's inner guard and settings; for any other guard, itself and None."""
    if not issubclass(type(guard), _Instrumented):
        return guard, None
    return guard._otel_budget_guard, guard._otel_budget_settings
