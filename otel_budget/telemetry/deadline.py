"""How long a guard's caller waits, for instrumented guards that are called further inside."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Deadline:
    """When the caller of a guard that is not instrumented itself stops waiting for it.

    Attributes:
        at: In seconds of `time.monotonic`.
        in_progress: True until that guard has answered; work that it leaves running is not bound
            by the deadline.
    """

    at: float
    in_progress: bool = True


#: The deadline that holds for the calls of this context.
current_deadline: ContextVar[Deadline | None] = ContextVar("otel_budget_deadline", default=None)
