"""The smallest limits that would have refused nothing, one call in 1,000, one in 100.

Until its window ends, an account that has reached its limit is refused every call, and one that has
not is refused none. So a limit refuses exactly the calls before which at least that much was used,
and the smallest limit that refuses so many is just above a quantile of what was used before calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from otel_budget.cli.drawing import new_table
from otel_budget.cli.play import Answer, LogClock
from otel_budget.cli.replay.budget import PERS
from otel_budget.cli.replay.ledger import price_of
from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.cli.replay.windows import ZonedWindows
from otel_budget.cli.terminal import usd
from otel_budget.contract.interpretation import measure
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards import Limit
from otel_budget.guards.book import SCALE
from otel_budget.guards.calendar import Window
from otel_budget.guards.kept_windows import KeptWindows
from otel_budget.guards.limit import Key, Unit

WINDOWS: Final[tuple[Window, ...]] = ("hour", "day", "week", "month")
#: Calls of which one may be refused; 0 for none.
SHARES: Final = (0, 1_000, 100)
#: The least by which limits differ, in whole numbers of the unit's scale: a cent, a token.
_STEP: Final[dict[Unit, int]] = {"USD": SCALE["USD"] // 100, "tokens": 1}


@dataclass(slots=True)
class Largest:
    """The largest values, with a weight of more than `most` together."""

    most: int
    values: list[tuple[int, int]] = field(default_factory=list)
    weight: int = 0

    def add(self, value: int, weight: int) -> None:
        """Count a value `weight` times."""
        if self.weight > self.most and value <= self.values[0][0]:
            return
        heapq.heappush(self.values, (value, weight))
        self.weight += weight
        self._let_go(self.most)

    def _let_go(self, most: int) -> None:
        while self.weight - self.values[0][1] > most:
            self.weight -= heapq.heappop(self.values)[1]

    def quantile(self, most: int) -> int:
        """The least value of those that weigh more than `most` together, at most `self.most`."""
        self._let_go(most)
        return self.values[0][0]


@dataclass(slots=True)
class _Tried:
    """One scope, window and unit."""

    who: str
    limit: Limit
    windows: KeptWindows
    largest: Largest
    accounts: dict[Key, list[Any]] = field(default_factory=dict)
    names_anybody: bool = False

    def add(self, now: float, call: LoggedCall, info: SessionInfo, amount: int) -> None:
        end = self.windows.period(now).end
        key = self.limit.key(call.session or "", info)
        account = self.accounts.get(key)
        if account is None:
            account = self.accounts[key] = [end, 0]
        elif account[0] != end:
            account[:] = end, 0
        self.largest.add(account[1], call.calls)
        account[1] += amount
        self.names_anybody |= key not in {None, (info.tenant, None)}


@dataclass(frozen=True, slots=True)
class Recommended:
    """The smallest limits of one scope, window and unit.

    Attributes:
        who: Who shares it.
        window: Its window.
        unit: Its unit.
        caps: The limit for each of `SHARES`.
    """

    who: str
    window: str
    unit: Unit
    caps: tuple[float, ...]


class Recommender:
    """Finds the limits while a log is replayed, whatever the guard answers.

    Args:
        calls: At least as many calls as will come.
        clock: The log's.
        prices: What calls cost.
        zone: Of the windows.
        log_cost: Whether calls cost what the log says, where it says it.
    """

    def __init__(
        self,
        calls: int,
        clock: LogClock,
        *,
        prices: PriceSource | None,
        zone: tzinfo,
        log_cost: bool,
    ) -> None:
        self._clock, self._prices, self._log_cost = clock, prices, log_cost
        self._calls = self._unpriced = 0
        kept = calls // min(share for share in SHARES if share)
        units: tuple[Unit, ...] = ("USD", "tokens")
        self._tried = [
            _Tried(
                who,
                Limit(1, unit, PERS[who], window),
                KeptWindows(window) if zone is UTC else ZonedWindows(window, zone),
                Largest(kept),
            )
            for unit in units
            for who in ("tenant", "user", "all")
            for window in WINDOWS
        ]

    def __call__(self, call: LoggedCall, answer: Answer, is_tool: bool) -> None:
        """Count one check."""
        if is_tool or call.usage is None:
            return
        self._calls += call.calls
        measured = measure(call.usage, call.provider, upper_bound=True)
        cost = price_of(call, measured, self._prices, log_cost=self._log_cost).usd
        self._unpriced += 0 if cost is not None else call.calls
        amounts = {"USD": round((cost or 0.0) * SCALE["USD"]), "tokens": measured.tokens}
        info = SessionInfo(tenant=call.tenant, principal=call.user)
        for tried in self._tried:
            tried.add(self._clock.now, call, info, amounts[tried.limit.unit])

    def recommended(self) -> Iterator[Recommended]:
        """The limits, of what the log tells. To be asked once, when all calls have come."""
        for tried in self._tried:
            unit = tried.limit.unit
            is_known = unit == "tokens" or self._unpriced < self._calls
            if not self._calls or not is_known:
                continue
            if not (tried.names_anybody or tried.who == "all"):
                continue
            step = _STEP[unit]
            refused = [self._calls // share if share else 0 for share in SHARES]
            # The most first: to answer for fewer, the heap lets go of what that one needs.
            caps = {
                most: (tried.largest.quantile(most) // step + 1) * step / SCALE[unit]
                for most in sorted(set(refused), reverse=True)
            }
            yield Recommended(
                tried.who, tried.limit.window, unit, tuple(caps[most] for most in refused)
            )

    def table(self, found: Iterable[Recommended]) -> Table:
        """The limits for people."""
        columns = ("refuse nothing", *(f"1 call in {share:,}" for share in SHARES[1:]))
        table = new_table("Smallest limits that", "limit", *columns, right=columns)
        for each in found:
            scope = "in total" if each.who == "all" else f"per {each.who}"
            shown = [usd(cap) if each.unit == "USD" else f"{cap:,.0f}" for cap in each.caps]
            table.add_row(Text(f"{each.unit} {scope}, {each.window}"), *shown)
        table.caption = (
            "A limit refuses from the call after the one that reaches it on.\n"
            "A window that the log holds only in part counts as it is."
        )
        if self._unpriced:
            table.caption += f"\nIn USD {self._unpriced:,} calls without a price count nothing."
        return table
