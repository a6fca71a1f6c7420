"""One question to a guard on a runtime's behalf: asked, answered or given up on, recorded once.

The code that asks also records. An inquiry opens the telemetry of the call, calls the guard
*inside* the instrumented one, and closes the telemetry with the verdict that was acted upon.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from contextvars import Token
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple, Self

from otel_budget import semconv
from otel_budget.contract import Allow, BudgetDecision, Deny, Hit, SoftLimit
from otel_budget.contract.dialects import Malformed, UsageDialect, read_decision
from otel_budget.contract.guards import RELEASE
from otel_budget.contract.interpretation import Outcome, interpret
from otel_budget.log_once import log_once
from otel_budget.sanitize import error_type
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.check import LlmCheck, ToolCheck
from otel_budget.telemetry.deadline import Deadline, current_deadline
from otel_budget.telemetry.usage import UsageRecord
from otel_budget.telemetry.wrapper import parts_of

Fail = Literal["closed", "open"]

_ALLOW: Final = Allow()


# -- questions, replies, verdicts ----------------------------------------------------------
class Question(NamedTuple):
    """One call of the guard.

    Attributes:
        method: The method's name.
        recorded_as: The class that records the call if the guard is instrumented; None for a
            release, which is no call of the contract.
        args: The positional arguments.
    """

    method: str
    recorded_as: type[Call] | None
    args: tuple[Any, ...]

    @property
    def is_record(self) -> bool:
        """Whether this tells how a call ended, so must reach the guard: money spent, or none."""
        return self.recorded_as is None or issubclass(self.recorded_as, UsageRecord)

    @property
    def may_reserve(self) -> bool:
        """Whether a guard that lets the call proceed may hold a reservation for it."""
        return self.recorded_as is LlmCheck


def before_llm(session_id: str, estimated_prompt_tokens: int) -> Question:
    """Ask whether the session may call the model."""
    return Question("check_before_llm", LlmCheck, (session_id, estimated_prompt_tokens))


def before_tool(session_id: str, tool_name: str) -> Question:
    """Ask whether the session may call the tool."""
    return Question("check_before_tool", ToolCheck, (session_id, tool_name))


def after_llm(session_id: str, usage: Any) -> Question:
    """Report what the session has used."""
    return Question("record_after_llm", UsageRecord, (session_id, usage))


def without_record(session_id: str) -> Question:
    """Tell that a call of the session ended without a record."""
    return Question(RELEASE, None, (session_id,))


class Reply(NamedTuple):
    """What came of asking.

    Attributes:
        answer: What the guard returned.
        failure: Why there is no answer, for people; None if the guard answered.
        error: The exception behind the failure, if any.
        seconds: The guard's own time; None if it was not waited for.
        late: The answer came, or would have come, after the deadline.
    """

    answer: Any = None
    failure: str | None = None
    error: BaseException | None = None
    seconds: float | None = None
    late: bool = False


class Verdict(NamedTuple):
    """What the runtime acts on.

    Attributes:
        decision: The guard's decision, or the one that stands in for it.
        error: What the guard raised, if the decision stands in for that.
    """

    decision: BudgetDecision
    error: BaseException | None = None


# -- the guard that is asked ---------------------------------------------------------------
class AskedGuard:
    """The guard behind an `Asker`, whose arguments these are, and what stands in for it.

    `dialect` is the one in which usage is reported to it.
    """

    def __init__(
        self,
        guard: Any,
        timeout: float,
        fail: Fail,
        dialect: UsageDialect,
        *,
        reraises_interrupts: bool,
    ) -> None:
        # Held, because an instrumented guard is asked for its levels for as long as it lives.
        self._guard = guard
        self.inner, self.settings = parts_of(guard)
        self.timeout = timeout
        self.dialect = dialect
        self.reraises_interrupts = reraises_interrupts
        self.late_reply = Reply(
            failure=f"the budget guard gave no answer within {timeout:g} s", late=True
        )
        self._fail = fail
        self.name = guard.__class__.__name__

    @property
    def can_release(self) -> bool:
        """Whether the guard is told of calls that end without a record."""
        try:
            return callable(getattr(self.inner, RELEASE, None))
        except Exception:  # an attribute may be any code of the host
            return False

    def stand_in(self, why: str, *, has_answered: bool = False) -> Hit:
        """The decision in the stead of a guard whose own cannot be used, for the reason `why`.

        Args:
            why: The reason, for people.
            has_answered: Whether the guard answered, with what cannot be read: it is not down, and
                every runtime treats such an answer as a denial.
        """
        resource = semconv.GUARD_UNAVAILABLE
        if has_answered or self._fail == "closed":
            return Deny(resource=resource, reason=why, cause="unavailable")
        return SoftLimit(resource=resource, consumed=0.0, limit=0.0, message=f"{why}; let through")

    def log(self, question: Question, what: str, error: BaseException | None = None) -> None:
        """Log what is wrong with the guard, each message once."""
        log_once(logging.WARNING, f"{self.name}.{question.method}: {what}.", error)

    def call_without_usage(self, session_id: str, reason: str) -> None:
        """Count a model call that ended without usage to record."""
        if self.settings is not None:
            UsageRecord(self.settings, (session_id, None), {}).count_without_usage(reason)


# -- one question --------------------------------------------------------------------------
class Inquiry:
    """One question to the guard: put at most once, recorded exactly once."""

    __slots__ = ("_call", "_conclusion", "_deadline", "_given_up", "_guard", "_token", "question")

    def __init__(self, guard: AskedGuard, question: Question) -> None:
        self.question = question
        self._guard = guard
        self._call = (
            None
            if guard.settings is None or question.recorded_as is None
            else question.recorded_as(guard.settings, question.args, {})
        )
        self._deadline = Deadline(time.monotonic() + guard.timeout)
        self._given_up = False
        self._token: Token[Deadline | None] | None = None
        self._conclusion: tuple[Outcome, Reply] | None = None

    def __enter__(self) -> Self:
        if self._call is not None:
            self._call.__enter__()
        else:
            self._token = current_deadline.set(self._deadline)
        return self

    def __exit__(self, kind: object, error: BaseException | None, stack: object) -> None:
        self._given_up = True
        if self._token is not None:
            # A coroutine may be closed in another context, which has nothing to reset.
            with suppress(ValueError):
                current_deadline.reset(self._token)
        if self._call is None:
            return
        if self._conclusion is None:
            self._call.finish(None, error)
        else:
            self._call.outcome, reply = self._conclusion
            self._call.finish(reply.seconds, reply.error)

    @property
    def remaining(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._deadline.at - time.monotonic())

    # -- calling the guard, wherever it runs -----------------------------------------------
    def run(self) -> Reply:
        """Call a sync guard."""
        if self._is_pointless():
            return self._guard.late_reply
        start = time.perf_counter()
        try:
            method = getattr(self._guard.inner, self.question.method, None)
            answer = None if method is None else method(*self.question.args)
        except BaseException as error:
            return self._reply(start, None, error)
        return self._reply(start, answer, None)

    async def run_async(self) -> Reply:
        """Call an async guard."""
        if self._is_pointless():
            return self._guard.late_reply
        start = time.perf_counter()
        try:
            method = getattr(self._guard.inner, self.question.method, None)
            answer = None if method is None else await method(*self.question.args)
        except BaseException as error:
            return self._reply(start, None, error)
        return self._reply(start, answer, None)

    def _is_pointless(self) -> bool:
        """Whether this is a check that nobody waits for any more."""
        if self.question.is_record:
            return False
        return self._given_up or time.monotonic() > self._deadline.at

    def _reply(self, start: float, answer: Any, error: BaseException | None) -> Reply:
        seconds = time.perf_counter() - start
        self._deadline.in_progress = False
        if self._call is not None:
            self._call.in_progress = False
        if error is not None:
            return raised(error, seconds)
        return Reply(answer=answer, seconds=seconds)

    # -- acting on the reply ---------------------------------------------------------------
    def conclude(self, reply: Reply) -> Verdict:
        """Turn the reply into what the runtime acts on and what is recorded.

        Raises:
            KeyboardInterrupt: The guard raised it, and the asker reraises interrupts.
            SystemExit: Likewise.
        """
        guard, error = self._guard, reply.error
        if guard.reraises_interrupts and isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        if reply.failure is not None:
            guard.log(self.question, reply.failure, error)
        if self.question.is_record:
            self._conclusion = (_outcome_without_answer(reply, semconv.RECORDED), reply)
            return Verdict(_ALLOW)
        decision: BudgetDecision
        if reply.failure is not None:
            outcome = _outcome_without_answer(reply, semconv.ERROR)
            decision = guard.stand_in(reply.failure)
        else:
            read = read_decision(reply.answer)
            if getattr(guard.inner, self.question.method, None) is not None:  # it has answered
                guard.dialect.learn(reply.answer)
            outcome = interpret(read, late=reply.late)
            if isinstance(read, Malformed):
                why = f"the budget guard's answer cannot be read: {read.why}"
                decision = guard.stand_in(why, has_answered=True)
            else:
                decision = read
        if outcome.hit is None and not isinstance(decision, Allow):
            outcome = replace(outcome, hit=decision)
        self._conclusion = (outcome, reply)
        return Verdict(decision, error)


def _outcome_without_answer(reply: Reply, otherwise: str) -> Outcome:
    """The outcome of a reply that is not an answer to a check."""
    if reply.late:
        return Outcome(semconv.CANCELLED if otherwise == semconv.RECORDED else semconv.LATE)
    if isinstance(reply.error, Exception):
        return Outcome(semconv.ERROR)
    return Outcome(otherwise if reply.error is None else semconv.CANCELLED)


def raised(error: BaseException, seconds: float | None = None) -> Reply:
    """The reply of a guard that raised. Its message stays out: it may carry secrets."""
    return Reply(
        failure=f"the budget guard raised {error_type(error)}", error=error, seconds=seconds
    )


def not_asked(error: BaseException) -> Reply:
    """The reply where no thread or loop was available to ask the guard."""
    return Reply(failure=f"the budget guard could not be asked: {error}", error=error)
