"""How much each tenant or session has used of one limit. No locks and no prices here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from otel_budget.contract import Deny, SoftLimit
from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards.calendar import Period
from otel_budget.guards.kept_windows import Account, Accounts, KeptWindows, Key
from otel_budget.guards.limit import Limit
from otel_budget.sanitize import text

#: Amounts are whole numbers of 1e-12 USD or of tokens, so that no order of adding changes a sum.
SCALE: Final = {"USD": 10**12, "tokens": 1}
#: Accounts looked at to find one that may be forgotten; with a reservation it may not.
_MOST_LOOKED_AT: Final = 100


@dataclass(slots=True)
class _Reserved:
    """What is reserved of one account.

    Attributes:
        since: When each reservation was made, by its number; the oldest first.
    """

    tenant: str | None
    amount: int = 0
    since: dict[int, float] = field(default_factory=dict)


class Filling(NamedTuple):
    """How full an account is.

    Attributes:
        tenant: Whose it is; None if all tenants share it.
        used: The amount used in the current window.
        reserved: The amount reserved.
        since: When the oldest of its reservations was made; None if there is none.
        uncounted: Calls that could not be counted.
    """

    tenant: str | None
    used: int
    reserved: int
    since: float | None
    uncounted: int


class Standing(NamedTuple):
    """How a call finds its account.

    Attributes:
        used: The amount used in the current window.
        reserved: The amount reserved for other calls; None if the guard reserves nothing.
        need: The amount that this call may need.
    """

    book: Book
    used: int
    reserved: int | None = None
    need: int = 0

    @property
    def held(self) -> int:
        """The amount used or reserved."""
        return self.used + (self.reserved or 0)

    @property
    def fits(self) -> bool:
        """Whether the account is not spent and has what the call may need."""
        return self.used < self.book.cap and self.held + self.need <= self.book.cap

    @property
    def is_past_threshold(self) -> bool:
        """Whether what is used and reserved reaches the soft threshold."""
        threshold = self.book.threshold
        return threshold is not None and self.held >= threshold

    def fullness(self) -> float:
        """Used, reserved and needed over the cap."""
        return (self.held + self.need) / max(self.book.cap, 1)


class Book:
    """How much each tenant or session has used of one limit, in bounded memory.

    Not thread-safe: its owner holds a lock. Since that lock is reentrant, a finalizer or a signal
    handler may call any method in the middle of any other.

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
        self.scale: Final = SCALE[limit.unit]
        self.cap: Final = round(limit.cap * self.scale)
        self.threshold: Final = (
            # In floats, 100 * 0.07 is 7.000000000000001; the threshold must be 7.
            None if limit.soft is None else math.ceil(round(limit.cap * limit.soft * self.scale, 3))
        )
        self._max_keys = max(1, max_keys)
        self._windows = KeptWindows(limit.window)
        #: Of accounts, not of windows: a reservation weighs on whatever window is current.
        self._reserved: dict[Key, _Reserved] = {}

    def period(self, now: float) -> Period:
        """The window that holds `now`."""
        return self._windows.period(now)

    def key(self, session_id: str, info: SessionInfo) -> Key:
        """Whose account a call is on."""
        match self.limit.per:
            case "tenant":
                return info.tenant
            case "session":
                return session_id
            case _:
                return None

    # -- used ------------------------------------------------------------------------------
    def used(self, now: float, session_id: str, info: SessionInfo) -> int:
        """The amount that the call's tenant or session has used in the current window."""
        accounts = self._windows.at(now)
        key = self.key(session_id, info)
        try:
            accounts.move_to_end(key)
            return accounts[key].used
        except KeyError:  # no account is made: asking leaves no trace
            return 0

    def add(self, now: float, session_id: str, info: SessionInfo, amount: int) -> None:
        """Count `amount` for the call's tenant or session."""
        self._account(now, session_id, info).used += amount

    def add_uncounted(self, now: float, session_id: str, info: SessionInfo) -> None:
        """Remember that a call of the tenant or session could not be counted."""
        self._account(now, session_id, info).uncounted += 1

    def keys(self, now: float) -> list[Key]:
        """The accounts to tell of: of this window, with reservations, and of the window before.

        An account may be named several times.
        """
        if self.limit.per == "all":
            return [None]
        # dict.keys: in any order, which takes a tenth of the time.
        keys = list(dict.keys(self._windows.at(now)))
        keys += list(self._reserved)
        keys += list(dict.keys(self._windows.before(now)))
        return keys

    def fillings(self, now: float, keys: Iterable[Key]) -> list[Filling]:
        """How full these accounts are; nothing of those that were forgotten meanwhile."""
        shared = self.limit.per == "all"
        current, before = self._windows.at(now), self._windows.before(now)
        fillings = []
        for key in keys:
            account, held = current.get(key), self._reserved.get(key)
            owner = account or held or before.get(key)
            if owner is None and not shared:
                continue
            fillings.append(
                Filling(
                    None if shared or owner is None else owner.tenant,
                    0 if account is None else account.used,
                    0 if held is None else held.amount,
                    None if held is None else next(iter(list(held.since.values())), None),
                    0 if account is None else account.uncounted,
                )
            )
        return fillings

    def _account(self, now: float, session_id: str, info: SessionInfo) -> Account:
        accounts = self._windows.in_use(now)
        key = self.key(session_id, info)
        account = accounts.setdefault(key, Account(info.tenant))
        with suppress(KeyError):
            accounts.move_to_end(key)
        if len(accounts) > self._max_keys:
            self._forget(accounts, key)
        return account

    def _forget(self, accounts: Accounts, asking: Key) -> None:
        """Forget the account least recently used that holds no reservation."""
        for _ in range(_MOST_LOOKED_AT):
            try:
                key, account = accounts.popitem(last=False)
            except KeyError:
                return
            if key not in self._reserved and key != asking:
                return
            kept = accounts.setdefault(key, account)  # at the end: the next look finds others
            if kept is not account:  # made by a call in the middle of this one
                kept.used += account.used
                kept.uncounted += account.uncounted

    # -- reserved --------------------------------------------------------------------------
    def reserved(self, key: Key) -> int:
        """The amount reserved of an account."""
        reserved = self._reserved.get(key)
        return 0 if reserved is None else reserved.amount

    def reserve(self, key: Key, tenant: str | None, amount: int, number: int, at: float) -> None:
        """Reserve `amount` of an account.

        Args:
            key: The account.
            tenant: Whose account it is.
            amount: How much.
            number: The reservation's own number.
            at: When it was made.
        """
        while True:
            reserved = self._reserved.setdefault(key, _Reserved(tenant))
            reserved.amount += amount
            reserved.since[number] = at
            if self._reserved.get(key) is reserved:
                return
            # A call in the middle of this one let go of the last reservation, and of the entry.
            reserved.amount -= amount
            reserved.since.pop(number, None)

    def let_go(self, key: Key, amount: int, number: int) -> None:
        """End one reservation of `amount`."""
        reserved = self._reserved.get(key)
        if reserved is None:
            return
        reserved.amount -= amount
        reserved.since.pop(number, None)
        if reserved.since:
            return
        gone = self._reserved.pop(key, None)
        if gone is not None and gone.since:  # reserved by a call in the middle of this one
            kept = self._reserved.setdefault(key, gone)
            if kept is not gone:
                kept.amount += gone.amount
                kept.since.update(gone.since)

    # -- decisions -------------------------------------------------------------------------
    def denial(self, standing: Standing, now: float, session_id: str, info: SessionInfo) -> Deny:
        """The refusal of a call: its account is spent, or has less left than the call may need."""
        used, cap = self._format(standing.used), self._format(self.cap)
        spender = self._spender(session_id, info)
        reason = f"{spender} used {used} of {cap} {self.limit.unit} {self._window_phrase(now)}"
        if standing.used < self.cap:
            reason += (
                f"; {self._format(standing.reserved or 0)} more are reserved for calls in "
                "progress, which leaves too little for the "
                f"{self._format(standing.need)} that this call may need"
            )
        return Deny(
            resource=self.limit.name,
            reason=f"{reason}.",
            consumed=standing.used / self.scale,
            limit=float(self.limit.cap),
            cause="spent" if standing.used >= self.cap else "reserved",
            **self._details(standing, now),
        )

    def warning(
        self, standing: Standing, now: float, session_id: str, info: SessionInfo
    ) -> SoftLimit:
        """The soft limit for a call; what is reserved counts as used."""
        soft = self.limit.soft or 0.0
        used, cap = self._format(standing.used), self._format(self.cap)
        if standing.reserved:
            used += f" and reserved {self._format(standing.reserved)}"
        spender = self._spender(session_id, info)
        return SoftLimit(
            resource=self.limit.name,
            consumed=standing.used / self.scale,
            limit=self.limit.cap * soft,
            message=f"{spender} used {used} {self.limit.unit}, over {soft:.0%} of {cap} "
            f"{self._window_phrase(now)}.",
            **self._details(standing, now),
        )

    def _details(self, standing: Standing, now: float) -> dict[str, Any]:
        period = self.period(now)
        return {
            "window": self.limit.window if period.resets else None,
            "resets_in": period.end - now if period.resets else None,
            "reserved": None if standing.reserved is None else standing.reserved / self.scale,
        }

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

    def _format(self, whole: int) -> str:
        if self.limit.unit == "tokens":
            return f"{whole:,}"
        amount = whole / self.scale
        whole_cents = amount >= 1 or abs(amount * 100 - round(amount * 100)) < 1e-9
        return f"{amount:,.2f}" if whole_cents else f"{amount:.4f}"
