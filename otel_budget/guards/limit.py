"""One budget: how much may be used, by whom, in which window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards.calendar import WINDOWS, Window
from otel_budget.sanitize import text

Unit = Literal["USD", "tokens"]
Per = Literal["tenant", "principal", "agent", "session", "all"]
UNITS: Final[tuple[str, ...]] = get_args(Unit)
PERS: Final[tuple[str, ...]] = get_args(Per)

#: Names an account: a tenant, a session, a principal or an agent of a tenant, or None for all.
Key = str | tuple[str | None, str | None] | None

_RESOURCES: Final = {
    ("tenant", "USD"): "llm_cost_usd",
    ("tenant", "tokens"): "llm_tokens",
    ("all", "USD"): "total_cost_usd",
    ("all", "tokens"): "total_tokens",
}


class Owner(NamedTuple):
    """Whom a level names."""

    tenant: str | None = None
    principal: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget.

    Args:
        cap: How much may be used in one window, in `unit`. Once that much is used, calls are
            refused.
        unit: ``USD`` or ``tokens`` (input, output and cached tokens together).
        per: Who has a budget of their own: each ``tenant`` (calls without a tenant share one), each
            ``principal`` (a user) or ``agent`` of a tenant, or each ``session``; or ``all`` calls
            share one.
        window: ``hour``, ``day``, ``week`` (from Monday) or ``month`` by the UTC calendar, or
            ``ever``, which never resets.
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
        derived = f"{self.per}_{'tokens' if self.unit == 'tokens' else 'cost_usd'}"
        return self.resource or _RESOURCES.get((self.per, self.unit), derived)

    def key(self, session_id: str, info: SessionInfo) -> Key:
        """Whose account a call is on."""
        match self.per:
            case "tenant":
                return info.tenant
            case "principal":
                return info.tenant, info.principal
            case "agent":
                return info.tenant, info.agent
            case "session":
                return session_id
            case _:
                return None

    def owner(self, key: Key, tenant: str | None) -> Owner:
        """Whom a level of the account `key` of `tenant` names."""
        if self.per == "all":
            return Owner()
        name = key[1] if isinstance(key, tuple) else None
        return Owner(
            tenant,
            principal=name if self.per == "principal" else None,
            agent=name if self.per == "agent" else None,
        )

    def spender(self, session_id: str, info: SessionInfo) -> str:
        """Whose account a call is on, for people."""
        match self.per:
            case "tenant":
                return f"Tenant {text(info.tenant)}" if info.tenant else "Calls without a tenant"
            case "session":
                return f"Session {text(session_id)}"
            case "all":
                return "All calls"
        name = info.principal if self.per == "principal" else info.agent
        who = f"{self.per.capitalize()} {text(name)}" if name else f"Calls with no {self.per}"
        return f"{who} of tenant {text(info.tenant)}" if info.tenant else who
