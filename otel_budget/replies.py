"""What a guard is asked on a runtime's behalf, and what a runtime makes of the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from otel_budget import semconv
from otel_budget.check_recording import LlmCheck, ToolCheck
from otel_budget.contract import BudgetDecision, Deny, SoftLimit
from otel_budget.dialects import Malformed, read_decision
from otel_budget.recorder import GuardSettings
from otel_budget.recording import Call
from otel_budget.sanitize import error_type
from otel_budget.usage_recording import UsageRecord

Fail = Literal["closed", "open"]


# -- questions -----------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Question:
    """One call of the guard.

    Attributes:
        method: Its method.
        recorded_as: What records it if the guard is instrumented.
        args: What it is asked, positionally.
    """

    method: str
    recorded_as: type[Call]
    args: tuple[Any, ...]

    def call(self, recorder: GuardSettings) -> Call:
        """The call that `recorder` makes of it."""
        return self.recorded_as(recorder, self.args, {})


def before_llm(session_id: str, estimated_prompt_tokens: int) -> Question:
    """May the session call the model?"""
    return Question("check_before_llm", LlmCheck, (session_id, estimated_prompt_tokens))


def before_tool(session_id: str, tool_name: str) -> Question:
    """May the session call the tool?"""
    return Question("check_before_tool", ToolCheck, (session_id, tool_name))


def after_llm(session_id: str, usage: Any) -> Question:
    """The session has used this much."""
    return Question("record_after_llm", UsageRecord, (session_id, usage))


# -- replies -------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking.

    Attributes:
        answer: What the guard returned.
        failure: Why there is no answer, for people; None if there is one.
        error: What was raised, if that is why.
        was_late: The answer was reported as late, and so made no hit of its own.
    """

    answer: Any = None
    failure: str | None = None
    error: BaseException | None = None
    was_late: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the runtime does.

    Attributes:
        decision: What it acts on.
        unreported: Whether the guard's own telemetry has no hit for it.
    """

    decision: BudgetDecision
    unreported: bool


def verdict(reply: Reply, fail: Fail) -> Verdict:
    """What a runtime makes of `reply`: of a guard that fails, what `fail` says."""
    if reply.failure is not None:
        return Verdict(_stand_in(reply.failure, fail), True)
    decision = read_decision(reply.answer)
    if isinstance(decision, Malformed):
        # A guard that has answered is not down: to any runtime a malformed answer is a denial.
        why = f"the budget guard's answer cannot be read: {decision.why}"
        return Verdict(_stand_in(why, "closed"), True)
    return Verdict(decision, reply.was_late)


def _stand_in(why: str, fail: Fail) -> SoftLimit | Deny:
    resource = semconv.GUARD_UNAVAILABLE
    if fail == "closed":
        return Deny(resource=resource, reason=why)
    return SoftLimit(resource=resource, consumed=0.0, limit=0.0, message=f"{why}; let through")


def raised(error: BaseException) -> Reply:
    """The reply of a guard that raised. Its message stays out: it may carry secrets."""
    return Reply(failure=f"the budget guard raised {error_type(error)}", error=error)


def checked_fail(fail: str) -> Fail:
    """`fail`, if it is one of the two words."""
    if fail not in {"closed", "open"}:
        raise ValueError(f"fail must be 'closed' or 'open', not {fail!r}")
    return fail  # type: ignore[return-value]


def checked_timeout(timeout: float) -> float:
    """`timeout`, if it is a number of seconds."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be seconds, not {timeout!r}")
    if not 0 < timeout < float("inf"):
        raise ValueError(f"timeout must be a number of seconds above 0, not {timeout}")
    return timeout
