"""How much each tenant or session has used of one limit. No locks and no prices here."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards.answers import Terms
from otel_budget.guards.calendar import Period
from otel_budget.guards.kept_windows import Account, Accounts, KeptWindows
from otel_budget.guards.limit import Key, Limit, Owner

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
        owner: Whose it is.
        used: The amount used in the current window.
        reserved: The amount reserved.
        since: When the oldest of its reservations was made; None if there is none.
        uncounted: Calls that could not be counted.
    """

    owner: Owner
    used: int
    reserved: int
    since: float | None
    uncounted: int


class Book(Terms):
    """How much each tenant or session has used of one limit, in bounded memory.

    Not thread-safe: its owner holds a lock. Since that lock is reentrant, a finalizer or a signal
    handler may call any method in the middle of any other.

    Args:
        limit: The budget.
        max_keys: Tenants or sessions remembered per window.
        windows: The windows, where they are not those of the UTC calendar.
    """

    def __init__(self, limit: Limit, max_keys: int, windows: KeptWindows | None = None) -> None:
        super().__init__(limit, SCALE[limit.unit])
        self._max_keys = max(1, max_keys)
        self._windows = KeptWindows(limit.window) if windows is None else windows
        #: Of accounts, not of windows: a reservation weighs on whatever window is current.
        self._reserved: dict[Key, _Reserved] = {}

    def period(self, now: float) -> Period:
        """The window that holds `now`."""
        return self._windows.period(now)

    # -- used ------------------------------------------------------------------------------
    def used(self, now: float, session_id: str, info: SessionInfo) -> int:
        """The amount that the call's tenant or session has used in the current window."""
        accounts = self._windows.at(now)
        key = self.limit.key(session_id, info)
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
                    self.limit.owner(key, None if owner is None else owner.tenant),
                    0 if account is None else account.used,
                    0 if held is None else held.amount,
                    None if held is None else next(iter(list(held.since.values())), None),
                    0 if account is None else account.uncounted,
                )
            )
        return fillings

    def _account(self, now: float, session_id: str, info: SessionInfo) -> Account:
        accounts = self._windows.in_use(now)
        key = self.limit.key(session_id, info)
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
