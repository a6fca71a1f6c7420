"""Plays logged calls against a guard, as a runtime would have made them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from otel_budget.cli.replay.call_log import LoggedCall
from otel_budget.contract import Proceeds
from otel_budget.contract.dialects import is_typed, print_usage, read_decision
from otel_budget.contract.session_info import call_info


class LogClock:
    """A clock for a guard that shows the time of the logged call."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


@dataclass(slots=True)
class Played:
    """What the telemetry does not carry: times of the log, and tokens of refused calls.

    Attributes:
        first_refusal: The first refused model call of each tenant.
        refused_input_tokens: Prompt tokens of the refused model calls.
        refused_output_tokens: Completion tokens of these calls in the log.
    """

    first_refusal: dict[str | None, LoggedCall] = field(default_factory=dict)
    refused_input_tokens: int = 0
    refused_output_tokens: int = 0


def play(guard: Any, calls: Iterable[LoggedCall], clock: LogClock, default_session: str) -> Played:
    """Ask `guard`, sync or async, before each call, and report to it the usage of allowed ones.

    A check that raises, or gives an answer that its runtime rejects, refuses the call, as there.
    """
    run = _play(guard, calls, clock, default_session)
    asynchronous = inspect.iscoroutinefunction(getattr(guard, "check_before_llm", None))
    return asyncio.run(run) if asynchronous else _without_a_loop(run)


def _without_a_loop(run: Coroutine[Any, Any, Played]) -> Played:
    # A sync guard may run its own event loop, which is impossible inside one of ours.
    try:
        run.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise TypeError("the guard is sync, but one of its methods returns an awaitable")


async def _play(
    guard: Any, calls: Iterable[LoggedCall], clock: LogClock, default_session: str
) -> Played:
    played = Played()
    for call in calls:
        if call.at is not None:
            clock.now = call.at
        session = call.session or default_session
        with call_info(tenant=call.tenant, model=call.model, provider=call.provider):
            if call.usage is not None:
                proceeds, typed = await _ask(
                    guard.check_before_llm, session, call.usage.prompt_tokens
                )
                if not proceeds:
                    played.first_refusal.setdefault(call.tenant, call)
                    played.refused_input_tokens += call.usage.prompt_tokens
                    played.refused_output_tokens += call.usage.completion_tokens
                    continue
                usage = call.usage if typed else print_usage(call.usage)
                try:
                    result = guard.record_after_llm(session, usage)
                    if inspect.isawaitable(result):
                        await result
                except Exception:  # counted by the telemetry; a runtime goes on, too
                    pass
            if call.tool is not None:
                await _ask(guard.check_before_tool, session, call.tool)
    return played


async def _ask(check: Any, *arguments: Any) -> tuple[bool, bool]:
    """Whether the call proceeds, and whether the guard speaks the typed dialect."""
    try:
        answer = check(*arguments)
        if inspect.isawaitable(answer):
            answer = await answer
    except Exception:  # counted by the telemetry
        return False, True
    return isinstance(read_decision(answer), Proceeds), is_typed(answer)
