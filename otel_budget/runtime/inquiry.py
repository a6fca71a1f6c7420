"""One question to a guard on a runtime's behalf: asked, answered or given up on, recorded once.

The code that asks also records. An inquiry opens the telemetry of the call, calls the guard
*inside* the instrumented one, and closes the telemetry with the verdict that was acted upon.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import Token
from dataclasses import replace
from typing import Any, Final, Literal, Self

from otel_budget import semconv
from otel_budget.contract import Allow, BudgetDecision, Deny, Hit, SoftLimit
from otel_budget.contract.dialects import Malformed, UsageDialect, read_decision
from otel_budget.contract.guards import RELEASE
from otel_budget.contract.interpretation import Outcome, interpret
from otel_budget.log_once import log_once
from otel_budget.runtime.questions import Question, Reply, Verdict, raised
from otel_budget.telemetry.deadline import Deadline, current_deadline
from otel_budget.telemetry.usage import UsageRecord
from otel_budget.telemetry.wrapper import parts_of

Fail = Literal["closed", "open"]

_INTERRUPTS: Final = (KeyboardInterrupt, SystemExit)
_PROCEED: Final = Verdict(Allow())
_RECORDED: Final = Outcome(semconv.RECORDED)


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
        log_once(logging.WARNING, f"{self.name}.{question.kind.method}: {what}.", error)

    def call_without_usage(self, session_id: str, reason: str) -> None:
        """Count a model call that ended without usage to record."""
        if self.settings is not None:
            UsageRecord(self.settings, (session_id, None), {}).count_without_usage(reason)


# -- one question --------------------------------------------------------------------------
class Inquiry:
    """One question to the guard: put at most once, recorded exactly once.

    Attributes:
        question: What is asked.
        reply: What the guard replied; None until then, on whatever thread it is called.
    """

    __slots__ = (
        "_call",
        "_conclusion",
        "_deadline",
        "_given_up",
        "_guard",
        "_receivers",
        "_token",
        "question",
        "reply",
    )

    def __init__(self, guard: AskedGuard, question: Question) -> None:
        self.question = question
        self._guard = guard
        self._call = (
            None
            if guard.settings is None or question.kind.recorded_as is None
            else question.kind.recorded_as(guard.settings, question.args, {})
        )
        self._deadline = Deadline(time.monotonic() + guard.timeout)
        self._given_up = False
        self._token: Token[Deadline | None] | None = None
        self._conclusion: tuple[Outcome, Reply] | None = None
        self.reply: Reply | None = None
        self._receivers: list[Callable[[Reply], object]] = []

    def __enter__(self) -> Self:
        if self._call is not None:
            self._call.__enter__()
        else:
            self._token = current_deadline.set(self._deadline)
        return self

    def __exit__(self, kind: object, error: BaseException | None, stack: object) -> None:
        self._given_up = True
        if self._token is not None:
            try:
                current_deadline.reset(self._token)
            except ValueError:  # a coroutine closed in another context, which has nothing to reset
                self._token = None
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
            return self._pass_on(self._guard.late_reply)
        start = time.perf_counter()
        try:
            method = getattr(self._guard.inner, self.question.kind.method, None)
            if method is None:
                return self._replied(start, None)
            answer = method(*self.question.args)
        except BaseException as error:
            return self._replied(start, None, error)
        return self._replied(start, answer, has_answered=True)

    async def run_async(self) -> Reply:
        """Call an async guard."""
        if self._is_pointless():
            return self._pass_on(self._guard.late_reply)
        start = time.perf_counter()
        try:
            method = getattr(self._guard.inner, self.question.kind.method, None)
            if method is None:
                return self._replied(start, None)
            answer = await method(*self.question.args)
        except BaseException as error:
            return self._replied(start, None, error)
        return self._replied(start, answer, has_answered=True)

    def _is_pointless(self) -> bool:
        """Whether this is a check that nobody waits for any more."""
        if self.question.kind.is_record:
            return False
        return self._given_up or time.monotonic() > self._deadline.at

    def _replied(
        self,
        start: float,
        answer: Any,
        error: BaseException | None = None,
        *,
        has_answered: bool = False,
    ) -> Reply:
        seconds = time.perf_counter() - start
        self._deadline.in_progress = False
        if self._call is not None:
            self._call.in_progress = False
        if error is not None:
            return self._pass_on(raised(error, seconds))
        return self._pass_on(Reply(answer, None, None, seconds, False, has_answered))

    # -- passing the reply on --------------------------------------------------------------
    def pass_reply_to(self, receiver: Callable[[Reply], object]) -> None:
        """Call ``receiver(reply)`` when the guard replies, or now if it has; on whatever thread.

        It replaces an earlier receiver. The reply may come on another thread at this very moment:
        each side first leaves what it has, then takes what the other has left, which only one can.
        """
        self._receivers = [receiver]
        if self.reply is not None:
            self._pass_on(self.reply)

    def _pass_on(self, reply: Reply) -> Reply:
        self.reply = reply
        receivers = self._receivers
        if receivers:
            try:
                receiver = receivers.pop()
            except IndexError:  # the other side has just taken it
                return reply
            receiver(reply)
        return reply

    # -- acting on the reply ---------------------------------------------------------------
    def conclude(self, reply: Reply) -> Verdict:
        """Turn the reply into what the runtime acts on and what is recorded.

        Raises:
            KeyboardInterrupt: The guard raised it, and the asker reraises interrupts.
            SystemExit: Likewise.
        """
        guard, error = self._guard, reply.error
        if guard.reraises_interrupts and isinstance(error, _INTERRUPTS):
            raise error
        if reply.failure is not None:
            guard.log(self.question, reply.failure, error)
        if self.question.kind.is_record:
            self._conclusion = (_outcome_of_record(reply), reply)
            return _PROCEED
        decision: BudgetDecision
        if reply.failure is not None:
            outcome = Outcome(_word_of_failure(reply, semconv.LATE))
            decision = guard.stand_in(reply.failure)
        else:
            read = read_decision(reply.answer)
            if reply.has_answered:
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


def _outcome_of_record(reply: Reply) -> Outcome:
    if reply.failure is None:
        return _RECORDED
    return Outcome(_word_of_failure(reply, semconv.CANCELLED))


def _word_of_failure(reply: Reply, late: str) -> str:
    """The outcome of a reply without answer; `late` if that is why."""
    if reply.late:
        return late
    return semconv.ERROR if isinstance(reply.error, Exception) else semconv.CANCELLED
