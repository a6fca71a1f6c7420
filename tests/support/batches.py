"""Runs a batch of calls of a generated scenario, and keeps what their caller saw."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from otel_budget import Allow, BudgetExhausted, BudgetGate, SoftLimit, call_info, for_a3s
from support.backend import Backend
from support.strategies import Answer, Scenario

METHODS = ("check_before_llm", "record_after_llm", "check_before_tool")
#: Seconds after which a gate or bridge gives up: never, here.
PATIENCE = 600.0


class Scripted:
    """A sync guard that gives or raises `answer`, and counts what it is asked."""

    def __init__(self) -> None:
        self.answer = Answer(None)
        self.asked: Counter[str] = Counter()
        self.raised: BaseException | None = None

    def _answer(self, method: str) -> Any:
        self.asked[method] += 1
        if self.answer.raises:
            self.raised = self.answer.value()
            raise self.raised
        return self.answer.value

    def check_before_llm(self, session_id: Any, estimated_prompt_tokens: Any) -> Any:
        return self._answer("check_before_llm")

    def record_after_llm(self, session_id: Any, usage: Any) -> Any:
        return self._answer("record_after_llm")

    def check_before_tool(self, session_id: Any, tool_name: Any) -> Any:
        return self._answer("check_before_tool")


class AsyncScripted(Scripted):
    """The same, asynchronous."""

    async def check_before_llm(self, session_id: Any, estimated_prompt_tokens: Any) -> Any:
        return self._answer("check_before_llm")

    async def record_after_llm(self, session_id: Any, usage: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer("record_after_llm")

    async def check_before_tool(self, session_id: Any, tool_name: Any) -> Any:
        return self._answer("check_before_tool")


def _with_levels(guard: Scripted, scenario: Scenario) -> Scripted:
    if scenario.levels is not None:
        guard.budget_levels = scenario.levels  # type: ignore[attr-defined]
    return guard


class Outer:
    """A guard around another one."""

    def __init__(self, inner: Any) -> None:
        for method in METHODS:
            setattr(self, method, getattr(inner, method))


class Batch:
    """One guard of a scenario, instrumented, and the calls made so far.

    Attributes:
        made: How many calls were made.
        checks: How many checks were asked for.
        records: How many usages were reported to the guard.
        without_usage: Model calls behind a gate that reported none that can be read.
        certain: Decisions that must be among those counted.
        errors: How often the guard raised an `Exception`.
        hits: What a gate delivered, or the refusals and soft limits that a bridge answered.
    """

    def __init__(self, scenario: Scenario, backend: Backend) -> None:
        self.scenario = scenario
        self.random = random.Random(scenario.seed)
        self.guard = _with_levels(
            (AsyncScripted if scenario.asynchronous else Scripted)(), scenario
        )
        self.made = self.checks = self.records = self.without_usage = self.errors = 0
        self.certain: Counter[str] = Counter()
        self.hits: list[Any] = []
        way, options = scenario.way, scenario.options
        asked: Any = backend.instrument(self.guard, **options)
        if way == "nested":
            asked = backend.instrument(Outer(asked), **options)
        elif way == "twice":
            asked = backend.instrument(asked, **options)
        elif way in {"gate", "gate async"}:
            asked = BudgetGate(asked, self.hits, timeout=PATIENCE, fail=scenario.fail)
        elif way == "a3s":
            asked = for_a3s(asked, timeout=PATIENCE, fail=scenario.fail)
        self.asked: Any = asked

    def run(self, calls: int) -> None:
        """Make that many calls, where the scenario's host would: on a loop or on none."""
        if self.scenario.way == "gate async" or (
            self.scenario.asynchronous and self.scenario.way != "a3s"
        ):
            asyncio.run(self._run(calls))
        else:
            with suppress(StopIteration):
                self._run(calls).send(None)
        if self.scenario.way == "a3s":
            self.asked.close()

    async def _run(self, calls: int) -> None:
        for number in range(calls):
            before = _context()
            with call_info(**self.random.choice(self.scenario.call_infos)):
                await self._call(METHODS[number % 3])
            assert _context() == before, "something was left in the context"
            self.made += 1

    async def _call(self, method: str) -> None:
        scenario, choice = self.scenario, self.random.choice
        answer: Answer = choice(scenario.answers)
        self.guard.answer, self.guard.raised = answer, None
        session = choice(scenario.sessions)
        if method == "record_after_llm":
            await self._record(session, choice(scenario.usages), answer)
        else:
            pool = scenario.tools if method == "check_before_tool" else scenario.estimates
            await self._check(method, session, choice(pool), answer)

    # -- one call --------------------------------------------------------------------------
    async def _check(self, method: str, session: Any, argument: Any, answer: Answer) -> None:
        self._expect_check(answer)
        if self.scenario.way in {"gate", "gate async"}:
            suffix = "_sync" if self.scenario.way == "gate" else ""
            ask = getattr(self.asked, method.replace("before_", "") + suffix)
            try:
                decision = await _result(ask(session, argument))
            except BudgetExhausted as error:
                self._expect_refusal(error, answer)
            else:
                self._expect_proceeding(decision, answer)
        elif self.scenario.way == "a3s":
            self._expect_dict(getattr(self.asked, method)(session, argument), answer)
        else:
            await self._expect_own(method, session, argument, answer)

    async def _record(self, session: Any, usage: Any, answer: Answer) -> None:
        way = self.scenario.way
        if way == "a3s":
            assert self.asked.record_after_llm(session, usage) is None
        elif way in {"bare", "nested", "twice"}:
            await self._expect_own("record_after_llm", session, usage, answer)
        else:
            recorded = self.guard.asked["record_after_llm"]
            if self.random.random() < 0.3:
                await self._report(session, usage)
                unrecorded = 0
            else:
                await self._use(session, usage, answer)
                unrecorded = 1
            if self.guard.asked["record_after_llm"] == recorded:
                self.without_usage += unrecorded
                return
        self.records += 1
        if answer.raises:
            self._expect_error()

    async def _report(self, session: Any, usage: Any) -> None:
        """Tell a gate of a usage."""
        sync, recorded = self.scenario.way == "gate", self.guard.asked["record_after_llm"]
        report = self.asked.record_llm_sync if sync else self.asked.record_llm
        refused = None
        try:
            assert await _result(report(session, usage)) is None
        except ValueError as error:
            refused = str(error)
        assert refused is None or refused.startswith("usage cannot be read")
        told = self.guard.asked["record_after_llm"] - recorded
        assert told == (refused is None)

    async def _use(self, session: Any, usage: Any, answer: Answer) -> None:
        """Enter a model call of a gate, and tell it the usage."""
        # The check is let through, so that there is a record.
        self.guard.answer = Answer(None, "allow")
        self._expect_check(self.guard.answer)
        call = self.asked.llm_call(session, 1)
        if self.scenario.way == "gate":
            with call:
                self.guard.answer = answer
                call.usage(usage)
        else:
            async with call:
                self.guard.answer = answer
                call.usage(usage)

    # -- what the caller may expect --------------------------------------------------------
    def _expect_check(self, answer: Answer) -> None:
        self.checks += 1
        if answer.decision is not None:
            self.certain[answer.decision] += 1

    def _expect_error(self) -> None:
        self.errors += isinstance(self.guard.raised, Exception)

    async def _expect_own(self, method: str, session: Any, argument: Any, answer: Answer) -> None:
        try:
            result = await _result(getattr(self.asked, method)(session, argument))
        except BaseException as error:
            if not answer.raises or error is not self.guard.raised:
                raise  # none of the guard's own
            if method != "record_after_llm":
                self._expect_error()
        else:
            assert result is answer.value, "another object than the guard's own"

    def _expect_refusal(self, error: BudgetExhausted, answer: Answer) -> None:
        if answer.raises:
            self._expect_error()
            assert self.scenario.fail == "closed"
            assert error.resource == "guard_unavailable"
        else:
            assert answer.decision in {"deny", None}

    def _expect_proceeding(self, decision: Any, answer: Answer) -> None:
        if answer.raises:
            self._expect_error()
            assert self.scenario.fail == "open"
            assert type(decision) is SoftLimit
        elif answer.decision == "allow":
            assert isinstance(decision, Allow)
        elif answer.decision == "soft_limit":
            assert isinstance(decision, SoftLimit)
        else:
            assert answer.decision is None
            assert issubclass(type(decision), Allow | SoftLimit)

    def _expect_dict(self, printed: Any, answer: Answer) -> None:
        assert type(printed) is dict
        word = printed["decision"]
        if word != "allow":
            self.hits.append(printed)
        if answer.raises:
            self._expect_error()
            assert word == ("deny" if self.scenario.fail == "closed" else "soft")
        elif answer.decision is None:
            assert word in {"allow", "soft", "deny"}
        else:
            assert word == answer.decision.removesuffix("_limit")


async def _result(called: Any) -> Any:
    """What a sync method returned, or what an async one's coroutine does."""
    return await called if issubclass(type(called), Coroutine) else called


def _context() -> dict[Any, int]:
    return {variable: id(value) for variable, value in copy_context().items() if value is not None}


class Lines(logging.Handler):
    """The messages that a logger was given."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
