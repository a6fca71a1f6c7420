"""One budget, and how much each tenant or session has used of it. No locks and no prices here."""

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

#: Amounts are whole numbers of 1e-12 USD or of tokens, so that no order of adding changes a sum.
_SCALE: Final = {"USD": 10**12, "tokens": 1}
_RESOURCES: Final = {
    ("tenant", "USD"): "llm_cost_usd",
    ("tenant", "tokens"): "llm_tokens",
    ("session", "USD"): "session_cost_usd",
    ("session", "tokens"): "session_tokens",
    ("all", "USD"): "total_cost_usd",
    ("all", "tokens"): "total_tokens",
}
#: Windows kept: the current one and the one before, for a clock that steps back between them.
_KEPT_WINDOWS: Final = 2


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


_Key = str | None


@dataclass(slots=True)
class _Account:
    tenant: str | None
    used: int = 0


class Book:
    """How much each tenant or session has used of one limit, in bounded memory.

    Not thread-safe: its owner holds a lock. Since that lock is reentrant, a finalizer or a signal
    handler may call `add` in the middle of any method.

    Args:
        limit: The budget.
        max_keys: Tenants or sessions remembered per window.

    Attributes:
        scale: Amounts are whole numbers, in units of 1 / `scale` of the limit's unit.
        cap: The cap as an amount.
        threshold: The soft threshold as an amount, or None.
    """

    def __init__(self, limit: Limit, max_keys: int) -> None:
        self.limit: Final = limit
        self.scale: Final = _SCALE[limit.unit]
        self.cap: Final = round(limit.cap * self.scale)
        self.threshold: Final = (
            # In floats, 100 * 0.07 is 7.000000000000001; the threshold must be 7.
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
        """The amount that the call's tenant or session has used in the current window."""
        accounts = self._accounts(now)
        key = self._key(session_id, info)
        try:
            accounts.move_to_end(key)
            return accounts[key].used
        except KeyError:  # no account is made: asking leaves no trace
            return 0

    def add(self, now: float, session_id: str, info: SessionInfo, amount: int) -> None:
        """Count `amount` for the call's tenant or session."""
        start = self.period(now).start
        if start not in self._windows and (
            len(self._windows) < _KEPT_WINDOWS or start > min(self._windows)
        ):
            self._windows[start] = OrderedDict()
            if len(self._windows) > _KEPT_WINDOWS:
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
        """The fullest account of each tenant; 0 for tenants that only used the previous window."""
        fullest: dict[str | None, int] = {None: 0} if self.limit.per == "all" else {}
        current_accounts = self._accounts(now)
        for accounts in list(self._windows.values()):
            is_current = accounts is current_accounts
            for account in list(accounts.values()):
                amount = account.used if is_current else 0
                tenant = None if self.limit.per == "all" else account.tenant
                fullest[tenant] = max(fullest.get(tenant, 0), amount)
        return fullest

    def denial(self, amount: int, now: float, session_id: str, info: SessionInfo) -> Deny:
        """The refusal of a call whose tenant or session has used `amount`."""
        used, cap = self._format(amount / self.scale), self._format(self.limit.cap)
        spender = self._spender(session_id, info)
        return Deny(
            resource=self.limit.name,
            reason=f"{spender} used {used} of {cap} {self.limit.unit} {self._window_phrase(now)}.",
        )

    def warning(self, amount: int, now: float, session_id: str, info: SessionInfo) -> SoftLimit:
        """The soft limit for a call whose tenant or session has used `amount`."""
        soft = self.limit.soft or 0.0
        used, cap = self._format(amount / self.scale), self._format(self.limit.cap)
        spender = self._spender(session_id, info)
        return SoftLimit(
            resource=self.limit.name,
            consumed=amount / self.scale,
            limit=self.limit.cap * soft,
            message=f"{spender} used {used} {self.limit.unit}, over {soft:.0%} of {cap} "
            f"{self._window_phrase(now)}.",
        )

    def _accounts(self, now: float) -> OrderedDict[_Key, _Account]:
        start = self.period(now).start
        if start in self._windows or not self._windows:
            return self._windows.get(start, OrderedDict())
        oldest = min(self._windows)
        # If the clock steps back beyond the windows kept, the oldest one stays in use, so that no
        # budget is given out twice.
        return self._windows[oldest] if start < oldest else OrderedDict()

    def _key(self, session_id: str, info: SessionInfo) -> _Key:
        match self.limit.per:
            case "tenant":
                return info.tenant
            case "session":
                return session_id
            case _:
                return None

    def _spender(self, session_id: str, info: SessionInfo) -> str:
        match self.limit.per:
            case "tenant":
                return f"Tenant {text(info.tenant)}" if info.tenant else "Calls without a tenant"
            case "session":
                return f"Session {text(session_id)}"
            case _:
                return "All calls"

    def _window_phrase(self, now: float) -> str:
        period = self.period(now)
        if not period.resets:
            return "(this budget does not reset)"
        window = "today" if self.limit.window == "day" else f"this {self.limit.window}"
        return f"{window} (resets at {period.resets_at})"

    def _format(self, amount: float) -> str:
        if self.limit.unit == "tokens":
            return f"{amount:,.0f}"
        whole_cents = amount >= 1 or abs(amount * 100 - round(amount * 100)) < 1e-9
        return f"{amount:,.2f}" if whole_cents else f"{amount:.4f}"
