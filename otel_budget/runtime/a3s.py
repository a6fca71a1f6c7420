"""`for_a3s`: any guard as the object that the a3s-code Python SDK expects."""

from __future__ import annotations

import weakref
from typing import Any, Final, Self

from otel_budget.contract.dialects import print_decision
from otel_budget.contract.interpretation import RUNTIME_DEADLINE
from otel_budget.runtime.asking import Asker
from otel_budget.runtime.background_loop import BackgroundLoop
from otel_budget.runtime.inquiry import Fail
from otel_budget.runtime.questions import Question, Verdict, after_llm, before_llm, before_tool

#: Half a second below the runtime's own deadline, left for its threads to take turns.
_TIMEOUT: Final = RUNTIME_DEADLINE - 0.5


class A3SGuard:
    """A guard in the dialect of the a3s-code Python SDK; made by `for_a3s`.

    Its methods may be called from any number of threads at once. They return dicts, never raise,
    and never take much longer than the timeout. As a context manager it closes itself.
    """

    def __init__(self, guard: Any, timeout: float, fail: Fail) -> None:
        self._guard = guard
        self._asker = Asker(guard, timeout, fail, "dict", reraises_interrupts=False)
        self._loop = BackgroundLoop()
        # Runs when the guard is no longer referenced, and when the interpreter exits.
        self._finalizer = weakref.finalize(self, self._loop.close)

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> dict[str, Any]:
        """Ask whether this session may call the model with about that many prompt tokens."""
        return self._check(before_llm(session_id, estimated_prompt_tokens))

    def check_before_tool(self, session_id: str, tool_name: str) -> dict[str, Any]:
        """Ask whether this session may call this tool."""
        return self._check(before_tool(session_id, tool_name))

    def record_after_llm(self, session_id: str, usage: dict[str, Any]) -> None:
        """Report what a successful model call of this session used. A failing guard is logged."""
        self._ask(after_llm(session_id, self._asker.asked_guard.dialect.usage(usage)))

    def close(self) -> None:
        """End the background loop; calls in progress and later ones are answered as failures."""
        self._finalizer.detach()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, stack: object) -> None:
        self.close()

    def __getattr__(self, attribute: str) -> Any:
        # Called only for what is not found otherwise; private names would recurse before __init__.
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(self._guard, attribute)

    def __repr__(self) -> str:
        return f"for_a3s({self._guard!r})"

    # -- asking ----------------------------------------------------------------------------
    def _check(self, question: Question) -> dict[str, Any]:
        return print_decision(self._ask(question).decision)

    def _ask(self, question: Question) -> Verdict:
        return self._asker.ask_from_any_thread(question, self._loop)


def for_a3s(guard: Any, *, timeout: float = _TIMEOUT, fail: Fail = "closed") -> A3SGuard:
    """Turn any guard into the object that a3s-code's Python SDK expects.

    ::

        session.set_budget_guard(for_a3s(instrument(guard)))

    An async guard runs on an event loop in a thread of its own, started by the first call; a sync
    one runs on daemon threads. Both see the caller's context. If the guard gives no readable
    answer in time, the bridge answers in its place, with the resource ``guard_unavailable``.

    Args:
        guard: Sync or async, typed or dict, instrumented or not. Instrument the guard, not the
            bridge: only then does a late or failing guard show as such.
        timeout: Seconds a call may take, below the runtime's own deadline (5 s unless you set it).
        fail: What happens if a check raises or is late: ``closed`` refuses, as the runtime does;
            ``open`` proceeds as a soft limit.

    Raises:
        TypeError: `guard` is not a budget guard, or mixes sync and async methods; `timeout` is not
            a number.
        ValueError: `timeout` is not above 0 and finite, or `fail` is neither of the two.
    """
    return A3SGuard(guard, timeout, fail)
