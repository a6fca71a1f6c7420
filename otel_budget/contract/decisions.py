"""Decisions: a guard's answers, and the event and error that a runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Self

from pydantic import (
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from otel_budget.contract.fields import Finite, Frozen
from otel_budget.contract.hit_details import DETAILS, Cause, HitDetails, read_details


class Allow(Frozen):
    """The call may proceed."""


class _Detailed(Frozen):
    """A decision with details that the runtime does not ask for.

    A detail is None where it is not known, and never makes a decision fail: one that cannot be read
    becomes None, since an exception in its stead would change what the runtime does.
    """

    _unread: tuple[str, ...] = PrivateAttr(default=())

    @property
    def unread_details(self) -> tuple[str, ...]:
        """The names of details that could not be read and became None."""
        return self._unread

    @model_validator(mode="wrap")
    @classmethod
    def _read_details(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        given = {name: data[name] for name in detail_names(cls) if name in data}
        if not given:
            return handler(data)
        details, unread = read_details(given)
        decision = handler({**data, **details})
        decision._unread = unread
        return decision

    @model_serializer(mode="wrap")
    def _leave_out_the_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        printed: dict[str, Any] = handler(self)
        return {name: value for name, value in printed.items() if value is not None}


@cache
def detail_names(decision: type[_Detailed]) -> tuple[str, ...]:
    """The names of a decision's details: `consumed` and `limit` of a soft limit are none."""
    fields = decision.model_fields
    return tuple(name for name in DETAILS if name in fields and not fields[name].is_required())


class SoftLimit(_Detailed):
    """The call may proceed, and a threshold has been crossed.

    Attributes:
        resource: The budget's name, e.g. ``llm_cost_usd``.
        consumed: How much of it is used, in the budget's own unit; finite.
        limit: The threshold that was crossed, not necessarily the cap; same unit, finite.
        message: An explanation for people, or None.
        window: The budget's window (``hour``, ``day`` …). This and what follows is optional: None
            if it is not known, and what cannot be read becomes None and is counted as an error of
            the telemetry.
        resets_in: Seconds until the window resets.
        reserved: How much is held for calls in progress beside `consumed`; same unit.

    Raises:
        pydantic.ValidationError: A required field is missing, not finite or of another type.
    """

    resource: str
    consumed: Finite
    limit: Finite
    message: str | None = None
    window: str | None = None
    resets_in: float | None = None
    reserved: float | None = None


class Deny(_Detailed):
    """The call is refused.

    Attributes:
        resource: The name of the budget that is spent.
        reason: An explanation for people.
        consumed: How much of the budget is used, in its own unit. This and what follows is
            optional: None if it is not known, and what cannot be read becomes None and is counted
            as an error of the telemetry.
        limit: The limit; same unit.
        reserved: How much is held for calls in progress beside `consumed`; same unit.
        window: The budget's window (``hour``, ``day`` …).
        resets_in: Seconds until the window resets.
        cause: ``spent``, ``reserved`` (what is left beside what calls in progress hold is too
            little), ``unpriced`` (what a call would cost is not known), ``policy`` (a rule,
            whatever is left) or ``unavailable`` (the guard could not decide).

    Raises:
        pydantic.ValidationError: A required field is missing or of another type.
    """

    resource: str
    reason: str
    consumed: float | None = None
    limit: float | None = None
    reserved: float | None = None
    window: str | None = None
    resets_in: float | None = None
    cause: Cause | None = None


#: The call may proceed.
Proceeds = Allow | SoftLimit
#: A budget has crossed a threshold or is spent.
Hit = SoftLimit | Deny
BudgetDecision = Proceeds | Deny


class BudgetThresholdHit(Frozen):
    """The event that the runtime sends to its listeners after a soft limit or a denial.

    Serialises to the runtime's own format: ``type`` is its tag, and a missing message is left out.
    ``str()`` of it is a sentence with what is known.

    Attributes:
        kind: ``soft`` (the call proceeded) or ``hard`` (it was refused).
        resource: The budget's name.
        consumed: The guard's number, in the budget's own unit; 0 for a denial.
        limit: The guard's number, in the budget's own unit; 0 for a denial.
        message: The soft limit's message, or the denial's reason.

    Raises:
        pydantic.ValidationError: A field is missing, not finite or of another type.
    """

    #: Beside the fields: of no account when hits are compared, serialised or pickled.
    __slots__ = ("_decision",)

    type: Literal["budget_threshold_hit"] = "budget_threshold_hit"
    kind: Literal["soft", "hard"]
    resource: str
    consumed: Finite
    limit: Finite
    message: str | None = None

    @property
    def decision(self) -> Hit | None:
        """The guard's decision with all it said; None if the event was not made by a gate here."""
        try:
            decision: Hit = object.__getattribute__(self, "_decision")
        except AttributeError:
            return None
        return decision

    @classmethod
    def of(cls, decision: Hit) -> Self:
        """The event that the runtime makes of `decision`."""
        if isinstance(decision, Deny):
            hit = cls(
                kind="hard",
                resource=decision.resource,
                consumed=0.0,
                limit=0.0,
                message=decision.reason,
            )
        else:
            hit = cls(
                kind="soft",
                resource=decision.resource,
                consumed=decision.consumed,
                limit=decision.limit,
                message=decision.message,
            )
        object.__setattr__(hit, "_decision", decision)
        return hit

    def __str__(self) -> str:
        what = "Soft limit crossed on" if self.kind == "soft" else "Refused by"
        parts = [f"{what} '{self.resource}'"]
        if self.decision is not None:
            parts.append(HitDetails.of(self.decision).sentence)
        return ": ".join(part for part in (*parts, self.message) if part)

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
        decision: The guard's denial with all it said, such as when the budget resets, if known.
    """

    #: A guard may raise this itself, and ``error.type`` must not change when the class moves.
    __module__ = "otel_budget.contract"

    def __init__(self, resource: str, reason: str, decision: Deny | None = None) -> None:
        super().__init__(resource, reason)
        self.resource = resource
        self.reason = reason
        self.decision = decision

    def __str__(self) -> str:
        return f"Budget exhausted on '{self.resource}': {self.reason}"
