"""One budget: how much may be used, by whom, in which window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from otel_budget.guards.calendar import WINDOWS, Window

Unit = Literal["USD", "tokens"]
Per = Literal["tenant", "session", "all"]
UNITS: Final[tuple[str, ...]] = get_args(Unit)
PERS: Final[tuple[str, ...]] = get_args(Per)

_RESOURCES: Final = {
    ("tenant", "USD"): "llm_cost_usd",
    ("tenant", "tokens"): "llm_tokens",
    ("session", "USD"): "session_cost_usd",
    ("session", "tokens"): "session_tokens",
    ("all", "USD"): "total_cost_usd",
    ("all", "tokens"): "total_tokens",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget.

    Args:
        cap: How much may be used in one window, in `unit`. Once that much is used, calls are
            refused.
        unit: ``USD`` or ``tokens`` (input, output and cached tokens together).
        per: Who has a budget of their own: each ``tenant`` (calls without a tenant share one) or
            each ``session``; or ``all`` calls share one.
        window: ``hour``, ``day`` or ``month`` by the UTC calendar, or ``ever``, which never resets.
        soft: The fraction of the cap, over 0 and up to 1, from which calls proceed with a
            `SoftLimit`; None for no soft limit.
        resource: The budget's name in decisions and metrics; None derives one from `per` and
            `unit`, such as ``llm_cost_usd``.

    Raises:
        ValueError: A value is out of range or not one of those listed.
    """

    cap: float
    unit: Unit = "USD"
    per: Per = "tenant"
    window: Window = "day"
    soft: float | None = 0.8
    resource: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cap) and self.cap >= 0):
            raise ValueError(f"a limit's cap must be a number of zero or more, not {self.cap}")
        for field, value, allowed in (
            ("unit", self.unit, UNITS),
            ("per", self.per, PERS),
            ("window", self.window, WINDOWS),
        ):
            if value not in allowed:
                raise ValueError(
                    f"a limit's {field} must be one of {', '.join(allowed)}: not {value}"
                )
        if self.soft is not None and not 0 < self.soft <= 1:
            raise ValueError(f"a limit's soft ratio must be over 0 and at most 1, not {self.soft}")

    @property
    def name(self) -> str:
        """The budget's name in decisions and metrics."""
        return self.resource or _RESOURCES[self.per, self.unit]
