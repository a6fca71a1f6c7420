"""How full the budgets are, by series: read at collection, from answers polled before."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from otel_budget import semconv
from otel_budget.contract import BudgetLevel
from otel_budget.contract.interpretation import utilization
from otel_budget.sanitize import amount, name
from otel_budget.telemetry.polling import PolledGuard, Poller
from otel_budget.telemetry.tallies import Key, Labels, Pairs, Tallies

#: Seconds for which the last SoftLimit is reported.
SOFT_LIMIT_MEMORY: Final = 300.0
#: Soft limits remembered.
MAX_SOFT_LIMITS: Final = 2_000


@dataclass(frozen=True, slots=True)
class LevelRow:
    """What the gauges report of one series; a field is None where nothing is known."""

    consumed: float | None
    limit: float | None
    utilization: float | None
    window_length: float | None
    window_remaining: float | None

    @classmethod
    def of(
        cls,
        consumed: float,
        limit: float | None,
        window_length: float | None = None,
        window_remaining: float | None = None,
    ) -> LevelRow:
        """The row of a level, whose values may be anything; unusable ones become None."""
        return cls(
            amount(consumed),
            amount(limit),
            utilization(consumed, limit),
            amount(window_length),
            amount(window_remaining),
        )


#: How each gauge reads its value from a row.
GAUGES: Final[dict[semconv.Metric, Callable[[LevelRow], float | None]]] = {
    semconv.METRIC_CONSUMED: attrgetter("consumed"),
    semconv.METRIC_LIMIT: attrgetter("limit"),
    semconv.METRIC_UTILIZATION: attrgetter("utilization"),
    semconv.METRIC_WINDOW_LENGTH: attrgetter("window_length"),
    semconv.METRIC_WINDOW_REMAINING: attrgetter("window_remaining"),
}


class Levels:
    """The levels of one hub's guards.

    Args:
        tallies: Decides which series there may be.
        poller: Keeps the guards' last answers.
    """

    def __init__(self, tallies: Tallies, poller: Poller) -> None:
        self._tallies = tallies
        self._poller = poller
        self._soft_limits: OrderedDict[Key, tuple[float, float, float]] = OrderedDict()
        self._lock = threading.RLock()

    def remember_soft_limit(
        self,
        labels: Labels,
        guard_name: str | None,
        resource: str | None,
        consumed: float,
        limit: float,
    ) -> None:
        """Remember the last SoftLimit of a guard that has no levels."""
        key = (labels, guard_name, resource, None, None, semconv.SOURCE_SOFT_LIMIT)
        with self._lock:
            self._soft_limits[key] = (consumed, limit, time.monotonic())
            self._soft_limits.move_to_end(key)
            if len(self._soft_limits) > MAX_SOFT_LIMITS:
                self._soft_limits.popitem(last=False)

    def rows(self) -> dict[Key, LevelRow]:
        """The current row of each series. Of several levels on one series the fullest is taken."""
        rows: dict[Key, LevelRow] = {}
        for guard in self._poller.fresh_answers():
            for level in guard.levels:
                row = LevelRow.of(
                    level.consumed, level.limit, level.window_length, level.window_remaining
                )
                self._add_row(rows, self._key_of(guard, level), row)
        now = time.monotonic()
        with self._lock:
            for key, (consumed, limit, seen_at) in list(self._soft_limits.items()):
                if now - seen_at > SOFT_LIMIT_MEMORY:
                    del self._soft_limits[key]
                else:
                    self._add_row(rows, key, LevelRow.of(consumed, limit))
        return rows

    def _key_of(self, guard: PolledGuard, level: BudgetLevel) -> Key:
        tallies = self._tallies
        pairs: Pairs = tuple(
            (semconv.LABELS[label], value)
            for label in guard.metric_labels
            if (value := name(getattr(level, label))) is not None
        )
        return (
            tallies.labels(pairs),
            tallies.value(semconv.GUARD_NAME, guard.guard_name),
            tallies.value(semconv.RESOURCE, name(level.resource)),
            tallies.value(semconv.WINDOW, name(level.window)),
            tallies.value(semconv.UNIT, name(level.unit)),
            semconv.SOURCE_GUARD,
        )

    def _add_row(self, rows: dict[Key, LevelRow], key: Key, row: LevelRow) -> None:
        key = self._tallies.admit(self._tallies.level_series, key)
        present = rows.get(key)
        if present is None or _fullness(row) > _fullness(present):
            rows[key] = row


def _fullness(row: LevelRow) -> tuple[float, float]:
    used = row.utilization
    return (-1.0 if used is None else used, row.consumed or 0.0)
