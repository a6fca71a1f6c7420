"""Levels: how full a guard's budgets are."""

from __future__ import annotations

from typing import Final

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from otel_budget.contract.fields import Count, Finite, NotNan

#: Levels of one answer that are reported: the fullest.
MAX_LEVELS: Final = 2_000


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class BudgetLevel:
    """How full one budget is, as a guard's ``budget_levels()`` returns it.

    Of more than 2,000 levels the fullest are reported, by what is used and reserved over the limit.

    Args:
        resource: The budget's name.
        consumed: Used so far, in `unit`; finite.
        limit: The cap (not a soft threshold), in `unit`; None or infinite for no limit.
        unit: ``USD``, ``tokens``, or a unit of your own.
        window: A name for the window (``hour``, ``day`` …); None if the budget never resets.
        window_length: The window's length in seconds; finite.
        window_remaining: Seconds until the window resets; finite.
        tenant: The tenant whose budget it is; None if all tenants share it.
        agent: The agent whose budget it is, if it is one agent's.
        principal: The principal whose budget it is, if it is one principal's.
        reserved: Held for calls in progress and no part of `consumed`, in `unit`; finite.
        reserved_age: Seconds since the oldest of these reservations was made; finite.
        shared: Whether other processes report this same budget, as they do of a shared store; None
            if that is not known. Comparing a guard's counts with the recorded spend depends on it.
        uncounted_calls: Calls of the current window that the budget could not count, because their
            usage or price is unknown; None if the guard does not know.

    Raises:
        pydantic.ValidationError: A value is missing, NaN, of another type, or infinite where it
            must be finite.
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
    reserved: Finite | None = None
    reserved_age: Finite | None = None
    shared: bool | None = None
    uncounted_calls: Count | None = None
