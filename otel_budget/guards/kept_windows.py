"""The accounts of the windows that a limit still knows, and what a clock's leap does to them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from otel_budget.guards.calendar import Period, Window, period_at
from otel_budget.guards.limit import Key


@dataclass(slots=True)
class Account:
    """What one tenant or session used in one window, and its calls that could not be counted."""

    tenant: str | None
    used: int = 0
    uncounted: int = 0


Accounts = OrderedDict[Key, Account]


@dataclass(slots=True)
class _KeptWindow:
    period: Period
    accounts: Accounts = field(default_factory=OrderedDict)


_NO_ACCOUNTS: Final[Accounts] = OrderedDict()


class KeptWindows:
    """At most three windows: the last two in use, and the one before the clock's last leap.

    A clock that steps back into a window that is kept goes on with that window's accounts. Into one
    that is not kept, but is followed by one that is, it goes on with those that follow, so that no
    step back of less than a window gives a budget out twice. Further back begins a new window: a
    clock that ran ahead by a year and is corrected must not leave a budget closed for a year. The
    window from which it leapt is kept meanwhile, so that its budget is not given out again either.

    Not thread-safe, but any method may be called again in the middle of another.
    """

    def __init__(self, window: Window) -> None:
        self._window: Final[Window] = window
        self._period = self._period_at(0.0)
        #: By their start, in the order of their use.
        self._kept: dict[float, _KeptWindow] = {}
        self._last_used: _KeptWindow | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def period(self, now: float) -> Period:
        """The window that holds `now`."""
        period = self._period
        if not period.start <= now < period.end:
            period = self._period = self._period_at(now)
        return period

    def _period_at(self, now: float) -> Period:
        return period_at(self._window, now)

    def at(self, now: float) -> Accounts:
        """The accounts in use at `now`, to be read only."""
        period = self.period(now)
        kept = self._kept.get(period.start) or self._kept.get(period.end)
        return _NO_ACCOUNTS if kept is None else kept.accounts

    def in_use(self, now: float) -> Accounts:
        """The accounts in use at `now`, to be changed: from now on this window is the last used."""
        period = self.period(now)
        kept = self._kept.get(period.start) or self._kept.get(period.end)
        if kept is None:
            kept = self._last_used = self._kept.setdefault(period.start, _KeptWindow(period))
            self._forget()
        elif kept is not self._last_used:
            self._last_used = kept
            self._kept[kept.period.start] = self._kept.pop(kept.period.start, kept)
        return kept.accounts

    def before(self, now: float) -> Accounts:
        """The accounts of the window in use before that of `now`."""
        current = self.at(now)
        for kept in reversed(list(self._kept.values())[-2:]):
            if kept.accounts is not current:
                return kept.accounts
        return _NO_ACCOUNTS

    def _forget(self) -> None:
        """Drop all but the last two windows in use and the one before the clock's last leap."""
        order = [kept.period for kept in list(self._kept.values())]
        leaps = [
            index
            for index, (one, following) in enumerate(pairwise(order))
            if one.end != following.start
        ]
        keep = {period.start for period in order[-2:]}
        if leaps:
            keep.add(order[leaps[-1]].start)
        for period in order:
            if period.start not in keep:
                self._kept.pop(period.start, None)
