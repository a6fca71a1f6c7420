"""Windows that the guards' calendar has not: of another time zone, and rolling ones."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from math import inf
from typing import Final

from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards.book import Book, Filling
from otel_budget.guards.calendar import Period, Window
from otel_budget.guards.kept_windows import KeptWindows
from otel_budget.guards.limit import Key, Limit

_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
#: Parts of a rolling window in which use is counted together, so that memory stays bounded.
_SLICES: Final = 240


def span_of(word: str) -> int | None:
    """The seconds of a rolling window such as ``5h``; None if it is none."""
    match = re.fullmatch(r"([1-9]\d{0,3})([mhdw])", word)
    return None if match is None else int(match[1]) * _SECONDS[match[2]]


class ZonedWindows(KeptWindows):
    """Calendar windows of a time zone; a day in which clocks change has 23 or 25 hours."""

    def __init__(self, window: Window, zone: tzinfo) -> None:
        self._zone = zone
        super().__init__(window)

    def _period_at(self, now: float) -> Period:
        if self._window == "ever":
            return super()._period_at(now)
        local = datetime.fromtimestamp(now, self._zone)
        if self._window == "hour":
            offset = (local.utcoffset() or timedelta()).total_seconds()
            start = now - (now + offset) % 3600
            return Period(start, start + 3600)
        first = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        if self._window == "month":
            first = first.replace(day=1)
            following = (first + timedelta(days=32)).replace(day=1)
        else:
            days = 7 if self._window == "week" else 1
            first -= timedelta(days=first.weekday() if days == 7 else 0)
            following = first + timedelta(days=days)
        return Period(
            first.replace(tzinfo=self._zone).timestamp(),
            following.replace(tzinfo=self._zone).timestamp(),
        )


@dataclass(slots=True)
class _Rolling:
    """One account: its use by slices, the oldest first."""

    tenant: str | None
    used: int = 0
    uncounted: int = 0
    slices: deque[list[int]] = field(default_factory=deque)


class RollingBook(Book):
    """Use of the last so many seconds.

    It is counted in slices of a 240th of the window, and a slice counts until all of it is over.

    Args:
        limit: The budget; its own window is ``ever``.
        max_keys: Accounts remembered.
        span: The window in seconds.
        words: The window for people, such as ``5h``.
    """

    def __init__(self, limit: Limit, max_keys: int, span: int, words: str) -> None:
        super().__init__(limit, max_keys)
        self._span, self._slice, self._words = span, max(1, span // _SLICES), words
        self._rolling: dict[Key, _Rolling] = {}

    def period(self, now: float) -> Period:
        """The last so many seconds; it never resets at once."""
        return Period(now - self._span, inf)

    def window_phrase(self, now: float) -> str:
        """The window for people."""
        return f"in the last {self._words}"

    def used(self, now: float, session_id: str, info: SessionInfo) -> int:
        """The amount that the call's account has used in the window that ends now."""
        account = self._rolling.get(self.limit.key(session_id, info))
        return 0 if account is None else self._current(account, now)

    def _current(self, account: _Rolling, now: float) -> int:
        slices, over = account.slices, now - self._span
        while slices and slices[0][0] + self._slice <= over:
            account.used -= slices.popleft()[1]
        return account.used

    def _rolling_account(self, session_id: str, info: SessionInfo) -> _Rolling:
        key = self.limit.key(session_id, info)
        return self._rolling.setdefault(key, _Rolling(info.tenant))

    def add(self, now: float, session_id: str, info: SessionInfo, amount: int) -> None:
        """Count `amount` for the call's account."""
        account = self._rolling_account(session_id, info)
        start = int(now // self._slice * self._slice)
        if account.slices and account.slices[-1][0] >= start:
            account.slices[-1][1] += amount
        else:
            account.slices.append([start, amount])
        account.used += amount

    def add_uncounted(self, now: float, session_id: str, info: SessionInfo) -> None:
        """Remember that a call could not be counted."""
        self._rolling_account(session_id, info).uncounted += 1

    def keys(self, now: float) -> list[Key]:
        """The accounts."""
        return [None] if self.limit.per == "all" else list(self._rolling)

    def fillings(self, now: float, keys: Iterable[Key]) -> list[Filling]:
        """How full these accounts are."""
        found = ((key, self._rolling.get(key)) for key in keys)
        return [
            Filling(
                self.limit.owner(key, account.tenant),
                self._current(account, now),
                0,
                None,
                account.uncounted,
            )
            for key, account in found
            if account is not None
        ]
