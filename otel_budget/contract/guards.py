"""Guards: the methods that a runtime calls.

A guard that reserves for calls in progress may have one method more, which has no default:
``release_llm(session_id)``, sync or async like the others. A `BudgetGate` calls it once for each
model call that the guard allowed and that ends without a record: its body raised, its stream was
abandoned, it reported no usage, or nobody waited for the check's answer any more. The guard then
ends the smallest reservation of that session. A check that is cancelled while it runs is not
released: it undoes its own work. Other runtimes call no `release_llm`, so reservations expire.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final, Protocol

from otel_budget.contract.decisions import Allow, BudgetDecision
from otel_budget.contract.usage import TokenUsage


class BudgetGuard:
    """An async guard. Override what you enforce; the defaults allow everything."""

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        """Decide whether this session may call the model.

        Args:
            session_id: The session.
            estimated_prompt_tokens: The runtime's estimate of the prompt's size, in tokens.
        """
        return Allow()

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Record a successful model call.

        Args:
            session_id: The session.
            usage: What the call used, in tokens.
        """

    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Decide whether this session may call this tool.

        Args:
            session_id: The session.
            tool_name: The tool. The name comes from the model, so it can be any text.
        """
        return Allow()


class SyncBudgetGuard:
    """A synchronous guard. Override what you enforce; the defaults allow everything."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        """Decide whether this session may call the model. See `BudgetGuard.check_before_llm`."""
        return Allow()

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Record a successful model call. See `BudgetGuard.record_after_llm`."""

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Decide whether this session may call this tool. See `BudgetGuard.check_before_tool`."""
        return Allow()


class NoopBudgetGuard(BudgetGuard):
    """An async guard that allows everything: observe first, enforce later."""


# -- any object with these methods -----------------------------------------------------------
class SyncGuardProtocol(Protocol):
    """Any synchronous guard, for annotations: `SyncBudgetGuard` or any object with these methods.

    The methods are called with positional arguments, so their parameters can have any names. A
    check answers a decision, a dict in a3s-code's form, or None, which allows. `record_after_llm`
    receives `TokenUsage`, or a dict with the same fields: annotate the one that your runtime sends.

    A protocol has no optional methods. A guard that has only some of them works without this
    annotation; to be accepted by it as well, it derives from `SyncBudgetGuard`, whose methods allow
    everything.
    """

    def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int, /
    ) -> BudgetDecision | Mapping[str, Any] | None:
        """See `BudgetGuard.check_before_llm`."""
        ...

    def record_after_llm(self, session_id: str, usage: Any, /) -> None:
        """See `BudgetGuard.record_after_llm`."""
        ...

    def check_before_tool(
        self, session_id: str, tool_name: str, /
    ) -> BudgetDecision | Mapping[str, Any] | None:
        """See `BudgetGuard.check_before_tool`."""
        ...


class AsyncGuardProtocol(Protocol):
    """Any async guard, for annotations: `BudgetGuard` or any object with these methods.

    What `SyncGuardProtocol` says of arguments, answers and missing methods holds here too; the base
    class with the missing methods is `BudgetGuard`. All three are ``async def``.
    """

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int, /
    ) -> BudgetDecision | Mapping[str, Any] | None:
        """See `BudgetGuard.check_before_llm`."""
        ...

    async def record_after_llm(self, session_id: str, usage: Any, /) -> None:
        """See `BudgetGuard.record_after_llm`."""
        ...

    async def check_before_tool(
        self, session_id: str, tool_name: str, /
    ) -> BudgetDecision | Mapping[str, Any] | None:
        """See `BudgetGuard.check_before_tool`."""
        ...


_METHODS: Final = ("check_before_llm", "record_after_llm", "check_before_tool")
#: A method that a guard may have beside those.
RELEASE: Final = "release_llm"


def is_async(guard: Any) -> bool:
    """Whether the guard's methods are coroutine functions.

    Raises:
        TypeError: `guard` has none of the contract's methods, has one that is not callable, mixes
            sync and async ones, or is a class whose methods need an instance.
    """
    methods = {name: getattr(guard, name, None) for name in _METHODS}
    present = {name: method for name, method in methods.items() if method is not None}
    if not present:
        raise TypeError(
            f"{type(guard).__name__} is not a budget guard: it has none of {', '.join(_METHODS)}"
        )
    # Looked up without __getattr__: a proxy that answers any name has no method of this one.
    if inspect.getattr_static(guard, RELEASE, None) is not None:
        present[RELEASE] = getattr(guard, RELEASE)
    not_callable = [name for name, method in present.items() if not callable(method)]
    if not_callable:
        raise TypeError(f"{type(guard).__name__}.{not_callable[0]} is not a method")
    if isinstance(guard, type) and any(
        inspect.isfunction(inspect.getattr_static(guard, name)) for name in present
    ):
        raise TypeError(f"{guard.__name__} is a class: pass an instance of it, {guard.__name__}(…)")
    coroutines = [name for name, method in present.items() if _is_coroutine_function(method)]
    if coroutines and len(coroutines) < len(present):
        plain = [name for name in present if name not in coroutines]
        raise TypeError(
            f"{type(guard).__name__} mixes async methods ({', '.join(coroutines)}) and sync ones "
            f"({', '.join(plain)}): make them all sync or all async"
        )
    return bool(coroutines)


def _is_coroutine_function(method: Any) -> bool:
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(
        getattr(method, "__call__", None)  # noqa: B004 - an object with an async __call__
    )
