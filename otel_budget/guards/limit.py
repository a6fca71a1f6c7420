"""One budget, and what each tenant or session has used of it: counting, without locks or prices."""

from __future__ import annotations

import math
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, get_args

from otel_budget.contract import Deny, SoftLimit
from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards.calendar import WINDOWS, Period, Window, period_at
from otel_budget.sanitize import text

Unit = Literal["USD", "tokens"]
Per = Literal["tenant", "session", "all"]
UNITS: Final[tuple[str, ...]] = get_args(Unit)
PERS: Final[tuple[str, ...]] = get_args(Per)

#: Counts are whole: of tokens, and of 1e-12 USD, so that no order of adding changes a sum.
_SCALE: Final = {"USD": 10**12, "tokens": 1}
_RESOURCES: Final = {
    ("tenant", "USD"): "llm_cost_usd",
    ("tenant", "tokens"): "llm_tokens",
    ("session", "USD"): "session_cost_usd",
    ("session", "tokens"): "session_tokens",
    ("all", "USD"): "total_cost_usd",
    ("all", "tokens"): "total_tokens",
}
#: The current window and the one before, for a clock that steps back over the edge.
_KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget.

    Args:
        cap: How much may be used in one window, in `unit`. The first call after that is refused.
        unit: ``USD`` or ``tokens`` (all of them: input, output, cached).
        per: Whose: each ``tenant`` has its own (calls without a tenant share one), each
            ``session``, or ``all`` calls share one.
        window: ``hour``, ``day`` or ``month`` by the UTC calendar, or ``ever``: it never resets.
        soft: The share of the cap from which on calls proceed with a `SoftLimit`; None for none.
        resource: What decisions and metrics call it; None names it by `per` and `unit`, such as
            ``llm_cost_usd``.

    Raises:
        ValueError: A value is none of these.
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
        for what, value, known in (
            ("unit", self.unit, UNITS),
            ("per", self.per, PERS),
            ("window", self.window, WINDOWS),
        ):
            if value not in known:
                raise ValueError(f"a limit's {what} must be one of {', '.join(known)}: not {value}")
        if self.soft is not None and not 0 < self.soft <= 1:
            raise ValueError(f"a limit's soft ratio must be over 0 and at most 1, not {self.soft}")

    @property
    def name(self) -> str:
        """What decisions and metrics call it."""
        return self.resource or _RESOURCES[self.per, self.unit]


_Key = str | None


@dataclass(slots=True)
class _Account:
    tenant: str | None
    used: int = 0


class Book:
    """What each tenant or session has used of one limit, in bounded memory.

    Not thread-safe: its owner holds a lock. That lock is reentrant, so a finalizer or a signal
    handler may add in the middle of any method.

    Args:
        limit: The budget.
        max_keys: Tenants or sessions remembered per window.

    Attributes:
        scale: Amounts are whole numbers of 1 / `scale` of the limit's unit.
        cap: The cap as such an amount.
        threshold: The soft threshold as such an amount, or None.
    """

    def __init__(self, limit: Limit, max_keys: int) -> None:
        self.limit: Final = limit
        self.scale: Final = _SCALE[limit.unit]
        self.cap: Final = round(limit.cap * self.scale)
        self.threshold: Final = (
            # 100 * 0.07 is 7.000000000000001 in floats; the threshold is 7.
            None if limit.soft is None else math.ceil(round(limit.cap * limit.soft * self.scale, 3))
        )
        self._max_keys = max(1, max_keys)
        self._period = period_at(limit.window, 0.0)
        self._windows: dict[float, OrderedDict[_Key, _Account]] = {}

    def period(self, now: float) -> Period:
        """The window that holds `now`."""
        if not self._period.start <= now < self._period.end:
            self._period = period_at(self.limit.window, now)
        return self._period

    def used(self, now: float, session_id: str, info: SessionInfo) -> int:
        """The amount that this call's tenant or session has used in the current window."""
        accounts = self._accounts(now)
        key = self._key(session_id, info)
        try:
            accounts.move_to_end(key)
            return accounts[key].used
        except KeyError:  # asking leaves no trace
            return 0

    def add(self, now: float, session_id: str, info: SessionInfo, amount: int) -> None:
        """Count `amount` for this call's tenant or session."""
        start = self.period(now).start
        if start not in self._windows and (
            len(self._windows) < _KEPT or start > min(self._windows)
        ):
            self._windows[start] = OrderedDict()
            if len(self._windows) > _KEPT:
                del self._windows[min(self._windows)]
        accounts = self._accounts(now)
        key = self._key(session_id, info)
        account = accounts.setdefault(key, _Account(info.tenant))
        account.used += amount
        with suppress(KeyError):
            accounts.move_to_end(key)
        if len(accounts) > self._max_keys:
            accounts.popitem(last=False)

    def levels(self, now: float) -> dict[str | None, int]:
        """The fullest account by tenant; 0 for who used the window before and not yet this one."""
        fullest: dict[str | None, int] = {None: 0} if self.limit.per == "all" else {}
        counted = self._accounts(now)
        for accounts in list(self._windows.values()):
            current = accounts is counted
            for account in list(accounts.values()):
                amount = account.used if current else 0
                tenant = None if self.limit.per == "all" else account.tenant
                fullest[tenant] = max(fullest.get(tenant, 0), amount)
        return fullest

    def deny(self, amount: int, now: float, session_id: str, info: SessionInfo) -> Deny:
        """The refusal of this call after `amount`."""
        used, cap = self._print(amount / self.scale), self._print(self.limit.cap)
        who = self._who(session_id, info)
        return Deny(
            resource=self.limit.name,
            reason=f"{who} used {used} of {cap} {self.limit.unit} {self._when(now)}.",
        )

    def warn(self, amount: int, now: float, session_id: str, info: SessionInfo) -> SoftLimit:
        """The warning of this call after `amount`."""
        soft = self.limit.soft or 0.0
        used, cap = self._print(amount / self.scale), self._print(self.limit.cap)
        who = self._who(session_id, info)
        return SoftLimit(
            resource=self.limit.name,
            consumed=amount / self.scale,
            limit=self.limit.cap * soft,
            message=f"{who} used {used} {self.limit.unit}, over {soft:.0%} of {cap} "
            f"{self._when(now)}.",
        )

    def _accounts(self, now: float) -> OrderedDict[_Key, _Account]:
        start = self.period(now).start
        if start in self._windows or not self._windows:
            return self._windows.get(start, OrderedDict())
        oldest = min(self._windows)
        # A clock that steps back beyond what is kept goes on with the oldest window: nothing is
        # given away.
        return self._windows[oldest] if start < oldest else OrderedDict()

    def _key(self, session_id: str, info: SessionInfo) -> _Key:
        match self.limit.per:
            case "tenant":
                return info.tenant
            case "session":
                return session_id
            case _:
                return None

    def _who(self, session_id: str, info: SessionInfo) -> str:
        match self.limit.per:
            case "tenant":
                return f"Tenant {text(info.tenant)}" if info.tenant else "Calls without a tenant"
            case "session":
                return f"Session {text(session_id)}"
            case _:
                return "All calls"

    def _when(self, now: float) -> str:
        period = self.period(now)
        if not period.resets:
            return "(this budget does not reset)"
        return f"this {self.limit.window} (resets at {period.resets_at})"

    def _print(self, amount: float) -> str:
        if self.limit.unit == "tokens":
            return f"{amount:,.0f}"
        whole_cents = amount >= 1 or abs(amount * 100 - round(amount * 100)) < 1e-9
        return f"{amount:,.2f}" if whole_cents else f"{amount:.4f}"
