"""Plays logged calls against a guard, as a runtime would have made them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.contract import Allow, Proceeds
from otel_budget.contract.dialects import is_typed, print_usage, read_decision
from otel_budget.contract.session_info import call_info


class LogClock:
    """A clock for a guard that shows the time of the logged call."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


class Answer(NamedTuple):
    """What a guard made of a check.

    Attributes:
        decision: Its decision, or what is wrong with its answer; None if it raised.
        proceeds: Whether the call is made.
        typed: Whether the guard speaks the typed dialect.
        error: The type of the exception that it raised; empty if it did not.
    """

    decision: Any
    proceeds: bool
    typed: bool
    error: str = ""


_ALLOWED = Answer(Allow(), proceeds=True, typed=True)

#: Told of each check: the call, the answer, and whether it was one of a tool.
Told = Callable[[LoggedCall, Answer, bool], None]


def play(
    guard: Any,
    calls: Iterable[LoggedCall],
    clock: LogClock,
    default_session: str,
    told: Told | None = None,
    *,
    log_cost: bool = False,
) -> None:
    """Ask `guard`, sync or async, before each call, and report to it the usage of allowed ones.

    A check that raises, or gives an answer that its runtime rejects, refuses the call, as there.

    Args:
        guard: The guard.
        calls: In order.
        clock: Set to the time of each call.
        default_session: The session of calls without one.
        told: Told of each check.
        log_cost: Whether calls cost what the log says, where it says it.
    """
    run = _play(guard, calls, clock, default_session, told=told, log_cost=log_cost)
    asynchronous = inspect.iscoroutinefunction(getattr(guard, "check_before_llm", None))
    if asynchronous:
        asyncio.run(run)
    else:
        _without_a_loop(run)


def _without_a_loop(run: Coroutine[Any, Any, None]) -> None:
    # A sync guard may run its own event loop, which is impossible inside one of ours.
    try:
        run.send(None)
    except StopIteration:
        return
    raise TypeError("the guard is sync, but one of its methods returns an awaitable")


async def _play(
    guard: Any,
    calls: Iterable[LoggedCall],
    clock: LogClock,
    default_session: str,
    *,
    told: Told | None,
    log_cost: bool,
) -> None:
    for call in calls:
        if call.at is not None:
            clock.now = call.at
        session, usage = call.session or default_session, call.usage
        with call_info(
            tenant=call.tenant,
            principal=call.user,
            agent=call.agent,
            model=call.model,
            provider=call.provider,
            cost_usd=call.cost if log_cost else None,
        ):
            if usage is not None:
                estimate = usage.prompt_tokens
                if not usage.prompt_includes_cache:
                    estimate += (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
                answer = await _ask(guard.check_before_llm, session, estimate)
                if told is not None:
                    told(call, answer, False)
                if not answer.proceeds:
                    continue
                try:
                    result = guard.record_after_llm(
                        session, usage if answer.typed else print_usage(usage)
                    )
                    if inspect.isawaitable(result):
                        await result
                except Exception:  # a runtime goes on, too
                    pass
            if call.tool is not None:
                answer = await _ask(guard.check_before_tool, session, call.tool)
                if told is not None:
                    told(call, answer, True)


async def _ask(check: Any, *arguments: Any) -> Answer:
    try:
        answer = check(*arguments)
        if type(answer) is Allow:
            return _ALLOWED
        if inspect.isawaitable(answer):
            answer = await answer
    except Exception as error:
        return Answer(None, proceeds=False, typed=True, error=type(error).__name__)
    decision = read_decision(answer)
    return Answer(decision, isinstance(decision, Proceeds), is_typed(answer))
