"""Levels: how full a guard's budgets are."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from otel_budget.contract.fields import Finite, NotNan


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class BudgetLevel:
    """How full one budget is, as a guard's ``budget_levels()`` tells it.

    Args:
        resource: Which budget.
        consumed: Used so far, in `unit`; finite.
        limit: The cap (not a soft threshold), in `unit`; None or infinite for no limit.
        unit: ``USD``, ``tokens``, or a unit of yours.
        window: A name for the window (``hour``, ``day`` …); None never resets.
        window_length: The window's length in seconds.
        window_remaining: Seconds until it resets.
        tenant: Whose budget; None where it is everybody's.
        agent: Which agent's.
        principal: Which principal's.

    Raises:
        pydantic.ValidationError: A value is missing, NaN or of another type.
    """

    resource: str
    consumed: Finite
    limit: NotNan | None
    unit: str = "USD"
    window: str | None = None
    window_length: Finite | None = None
    window_remaining: Finite | None = None
    tenant: str | None = None
    agent: str | None = None
    principal: str | None = None
