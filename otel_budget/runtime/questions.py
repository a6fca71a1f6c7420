"""What a runtime asks a guard, what comes back, and what the runtime acts upon."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from otel_budget.contract import BudgetDecision
from otel_budget.contract.guards import RELEASE
from otel_budget.sanitize import error_type
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.check import LlmCheck, ToolCheck
from otel_budget.telemetry.usage import UsageRecord


# -- questions -----------------------------------------------------------------------------
class Kind(NamedTuple):
    """A kind of question.

    Attributes:
        method: The guard's method.
        recorded_as: The class that records the call if the guard is instrumented; None for a
            release, which is no call of the contract.
        is_record: Whether it tells how a call ended, so must reach the guard: money spent, or none.
        may_reserve: Whether a guard that lets the call proceed may hold a reservation for it.
    """

    method: str
    recorded_as: type[Call] | None
    is_record: bool = False
    may_reserve: bool = False


_BEFORE_LLM: Final = Kind("check_before_llm", LlmCheck, may_reserve=True)
_BEFORE_TOOL: Final = Kind("check_before_tool", ToolCheck)
_AFTER_LLM: Final = Kind("record_after_llm", UsageRecord, is_record=True)
_WITHOUT_RECORD: Final = Kind(RELEASE, None, is_record=True)


class Question(NamedTuple):
    """One call of the guard.

    Attributes:
        kind: What is asked.
        args: The positional arguments.
    """

    kind: Kind
    args: tuple[Any, ...]


def before_llm(session_id: str, estimated_prompt_tokens: int) -> Question:
    """Ask whether the session may call the model."""
    return Question(_BEFORE_LLM, (session_id, estimated_prompt_tokens))


def before_tool(session_id: str, tool_name: str) -> Question:
    """Ask whether the session may call the tool."""
    return Question(_BEFORE_TOOL, (session_id, tool_name))


def after_llm(session_id: str, usage: Any) -> Question:
    """Report what the session has used."""
    return Question(_AFTER_LLM, (session_id, usage))


def without_record(session_id: str) -> Question:
    """Tell that a call of the session ended without a record."""
    return Question(_WITHOUT_RECORD, (session_id,))


# -- what comes back ----------------------------------------------------------------------
class Reply(NamedTuple):
    """What came of asking.

    Attributes:
        answer: What the guard returned.
        failure: Why there is no answer, for people; None if the guard answered.
        error: The exception behind the failure, if any.
        seconds: The guard's own time; None if it was not waited for.
        late: The answer came, or would have come, after the deadline.
        has_answered: The guard has the method, and returned `answer`.
    """

    answer: Any = None
    failure: str | None = None
    error: BaseException | None = None
    seconds: float | None = None
    late: bool = False
    has_answered: bool = False


def raised(error: BaseException, seconds: float | None = None) -> Reply:
    """The reply of a guard that raised. Its message stays out: it may carry secrets."""
    return Reply(
        failure=f"the budget guard raised {error_type(error)}", error=error, seconds=seconds
    )


def not_asked(error: BaseException) -> Reply:
    """The reply where no thread or loop was available to ask the guard."""
    return Reply(failure=f"the budget guard could not be asked: {error}", error=error)


class Verdict(NamedTuple):
    """What the runtime acts on.

    Attributes:
        decision: The guard's decision, or the one that stands in for it.
        error: What the guard raised, if the decision stands in for that.
    """

    decision: BudgetDecision
    error: BaseException | None = None
