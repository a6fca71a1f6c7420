"""Decisions: a guard's answers, and the event and error that a runtime makes of them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer

from otel_budget.contract.fields import Finite, Frozen


class Allow(Frozen):
    """The call may proceed."""


class SoftLimit(Frozen):
    """The call may proceed, and a threshold has been crossed.

    Attributes:
        resource: The budget's name, e.g. ``llm_cost_usd``.
        consumed: How much of it is used, in the budget's own unit; finite.
        limit: The threshold that was crossed, not necessarily the cap; same unit, finite.
        message: An explanation for people, or None.

    Raises:
        pydantic.ValidationError: A field is missing, not finite or of another type.
    """

    resource: str
    consumed: Finite
    limit: Finite
    message: str | None = None


class Deny(Frozen):
    """The call is refused.

    Attributes:
        resource: The name of the budget that is spent.
        reason: An explanation for people.

    Raises:
        pydantic.ValidationError: A field is missing or of another type.
    """

    resource: str
    reason: str


#: The call may proceed.
Proceeds = Allow | SoftLimit
#: A budget has crossed a threshold or is spent.
Hit = SoftLimit | Deny
BudgetDecision = Proceeds | Deny


class BudgetThresholdHit(Frozen):
    """The event that the runtime sends to its listeners after a soft limit or a denial.

    Serialises to the runtime's own format: ``type`` is its tag, and a missing message is left out.

    Attributes:
        kind: ``soft`` (the call proceeded) or ``hard`` (it was refused).
        resource: The budget's name.
        consumed: The guard's number, in the budget's own unit; 0 for a denial.
        limit: The guard's number, in the budget's own unit; 0 for a denial.
        message: The soft limit's message, or the denial's reason.

    Raises:
        pydantic.ValidationError: A field is missing, not finite or of another type.
    """

    type: Literal["budget_threshold_hit"] = "budget_threshold_hit"
    kind: Literal["soft", "hard"]
    resource: str
    consumed: Finite
    limit: Finite
    message: str | None = None

    @classmethod
    def of(cls, decision: Hit) -> Self:
        """The event that the runtime makes of `decision`."""
        if isinstance(decision, Deny):
            return cls(
                kind="hard",
                resource=decision.resource,
                consumed=0.0,
                limit=0.0,
                message=decision.reason,
            )
        return cls(
            kind="soft",
            resource=decision.resource,
            consumed=decision.consumed,
            limit=decision.limit,
            message=decision.message,
        )

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        event: dict[str, Any] = handler(self)
        if event.get("message") is None:
            event.pop("message", None)
        return event


class BudgetExhausted(Exception):
    """A call was refused. The session stays usable.

    Attributes:
        resource: The name of the budget that is spent.
        reason: The guard's reason.
    """

    #: A guard may raise this itself, and ``error.type`` must not change when the class moves.
    __module__ = "otel_budget.contract"

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(resource, reason)
        self.resource = resource
        self.reason = reason

    def __str__(self) -> str:
        return f"Budget exhausted on '{self.resource}': {self.reason}"
