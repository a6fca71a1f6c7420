"""How full the budgets are, by series: read at collection, from answers polled before."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final
from weakref import WeakKeyDictionary

from otel_budget import semconv
from otel_budget.contract import BudgetLevel, Hit
from otel_budget.contract.hit_details import HitDetails
from otel_budget.contract.interpretation import utilization
from otel_budget.contract.session_info import SessionInfo
from otel_budget.metric import Metric
from otel_budget.sanitize import amount, name, text
from otel_budget.telemetry.metrics.admission import Admission
from otel_budget.telemetry.metrics.polling import Answer, LastAnswer, PolledGuard, Poller
from otel_budget.telemetry.metrics.series import Key, Labels, Pairs, Series
from otel_budget.telemetry.metrics.tallies import Tallies

#: Seconds for which the last SoftLimit is reported.
SOFT_LIMIT_MEMORY: Final = 300.0
#: Seconds after which a snapshot is not of the same collection any more.
_LONGEST_COLLECTION: Final = 1.0
#: Distinct overflows that are counted.
_MAX_COUNTED: Final = 10_000
#: Soft limits remembered.
MAX_SOFT_LIMITS: Final = 2_000
#: Seconds for which a polled level says what a denial does not.
QUOTABLE: Final = 10.0


def details_of(hit: Hit, last: LastAnswer | None, info: SessionInfo) -> HitDetails:
    """What is known of the budget behind `hit`: by its own word, else by the guard's level.

    A denial without numbers of its own has those of a level if exactly one is spent and can be the
    one behind it. A guess among several, such as the fullest, would often be another budget's.

    Args:
        hit: A soft limit or a denial.
        last: The guard's last answer, if it has levels.
        info: Who the call is for.
    """
    details = HitDetails.of(hit)
    if last is None or details.numbers_from is not None or details.cause not in _QUOTABLE_CAUSES:
        return details
    answer = last.answer
    age = time.monotonic() - answer.at
    if age > QUOTABLE:
        return details
    candidates = [
        level
        for level in answer.by_resource.get(text(hit.resource), ())
        if details.window is None or name(level.window) == details.window
        if all(getattr(level, who) in {None, getattr(info, who)} for who in semconv.LABELS)
        if level.window_remaining is None or level.window_remaining > age
        if level.limit is not None and level.consumed + (level.reserved or 0.0) >= level.limit
    ]
    if len(candidates) != 1:
        return details
    (level,) = candidates
    remaining = None if level.window_remaining is None else level.window_remaining - age
    return details._replace(
        consumed=amount(level.consumed),
        limit=amount(level.limit),
        reserved=amount(level.reserved),
        window=name(level.window),
        resets_in=remaining if details.resets_in is None else details.resets_in,
        numbers_from=semconv.FROM_LEVEL,
        level_age=age,
    )


_QUOTABLE_CAUSES: Final = {None, semconv.CAUSE_SPENT, semconv.CAUSE_RESERVED}


@dataclass(frozen=True, slots=True)
class LevelRow:
    """What the gauges report of one series; a field is None where nothing is known."""

    consumed: float | None
    limit: float | None
    utilization: float | None
    window_length: float | None = None
    window_remaining: float | None = None
    reserved: float | None = None
    reserved_age: float | None = None
    uncounted_calls: float | None = None

    @classmethod
    def of_soft_limit(cls, consumed: float, limit: float) -> LevelRow:
        """The row of the last soft limit of a guard that has no levels."""
        used, cap = amount(consumed), amount(limit)
        return cls(used, cap, None if used is None else utilization(used, cap))

    @classmethod
    def of(cls, level: BudgetLevel) -> LevelRow:
        """The row of `level`, whose values may be anything; unusable ones become None."""
        used, cap = amount(level.consumed), amount(level.limit)
        return cls(
            used,
            cap,
            None if used is None else utilization(used, cap),
            amount(level.window_length),
            amount(level.window_remaining),
            amount(level.reserved),
            amount(level.reserved_age),
            amount(level.uncounted_calls),
        )


#: How each gauge reads its value from a row.
GAUGES: Final[dict[Metric, Callable[[LevelRow], float | None]]] = {
    semconv.METRIC_CONSUMED: attrgetter("consumed"),
    semconv.METRIC_LIMIT: attrgetter("limit"),
    semconv.METRIC_UTILIZATION: attrgetter("utilization"),
    semconv.METRIC_RESERVED: attrgetter("reserved"),
    semconv.METRIC_RESERVATION_AGE: attrgetter("reserved_age"),
    semconv.METRIC_WINDOW_LENGTH: attrgetter("window_length"),
    semconv.METRIC_WINDOW_REMAINING: attrgetter("window_remaining"),
    semconv.METRIC_UNCOUNTED_CALLS: attrgetter("uncounted_calls"),
}


class _LevelAdmission(Admission):
    """Caps of the levels' own: an idle budget takes no place from a tenant that makes calls.

    Each collection asks for the same values again, so an overflow is counted once per value.

    Args:
        tallies: Counts overflows; as many label sets as there are admitted here, too.
    """

    def __init__(self, tallies: Tallies) -> None:
        super().__init__()
        self._tallies = tallies
        self._counted: set[int] = set()

    def has_room(self, label_sets: int) -> bool:
        """Whether there may be more than `label_sets` label sets."""
        return self._tallies.has_room(label_sets)

    def other_labels(self, pairs: Pairs) -> Labels:
        """The same object as that of the counters, which are where soft limits have theirs from."""
        return self._tallies.other_labels(pairs)

    def count_overflow(self, label: str, value: object) -> None:
        """Count that `value` became ``_other_``, once."""
        seen = hash((label, value))
        if seen not in self._counted and len(self._counted) < _MAX_COUNTED:
            self._counted.add(seen)
            self._tallies.count_overflow(label, value)


@dataclass(slots=True)
class _Snapshot:
    """The rows of one collection, which asks for each gauge in turn."""

    rows: list[tuple[dict[str, str], LevelRow]]
    taken_at: float
    read_by: set[Metric] = field(default_factory=set)


class Levels:
    """The levels of one hub's guards.

    Args:
        tallies: Those of the hub's counters.
        poller: Keeps the guards' last answers.
    """

    def __init__(self, tallies: Tallies, poller: Poller) -> None:
        #: The series of all gauges; only its keys are used.
        self.series = Series(semconv.METRIC_UTILIZATION)
        self._tallies = tallies
        self._admission = _LevelAdmission(tallies)
        self._poller = poller
        self._snapshot: _Snapshot | None = None
        #: The rows of each guard's last answer.
        self._known: WeakKeyDictionary[PolledGuard, tuple[Answer, dict[Key, LevelRow]]]
        self._known = WeakKeyDictionary()
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
        key = (labels, guard_name, resource, None, None, semconv.SOURCE_SOFT_LIMIT, None)
        with self._lock:
            self._soft_limits[key] = (consumed, limit, time.monotonic())
            self._soft_limits.move_to_end(key)
            if len(self._soft_limits) > MAX_SOFT_LIMITS:
                self._soft_limits.popitem(last=False)

    def rows_for(
        self, gauge: Metric, others: Iterable[Levels] = ()
    ) -> list[tuple[dict[str, str], LevelRow]]:
        """Attributes and row of each series, for `gauge`; read once per collection.

        Args:
            gauge: One of `GAUGES`. A collection asks for each of them once.
            others: Levels of other hubs that are reported together with these.
        """
        snapshot, now = self._snapshot, time.monotonic()
        if (
            snapshot is None
            or gauge in snapshot.read_by
            or now - snapshot.taken_at > _LONGEST_COLLECTION
        ):
            cells = self.series.cells
            rows = [(cells[key].attributes, row) for key, row in self.rows(others).items()]
            snapshot = self._snapshot = _Snapshot(rows, now)
        snapshot.read_by.add(gauge)
        if len(snapshot.read_by) == len(GAUGES):
            self._snapshot = None
        return snapshot.rows

    def rows(self, others: Iterable[Levels] = ()) -> dict[Key, LevelRow]:
        """The current row of each series. Of several levels on one series the fullest is taken."""
        rows: dict[Key, LevelRow] = {}
        hubs = (self, *others)
        # Soft limits first: they are of tenants that make calls, should the series run out.
        for levels in hubs:
            for key, (consumed, limit, _) in levels._recent_soft_limits():
                own_key = key if levels is self else self._tallies.own_key(self.series, key)
                admitted = self._admission.admit(self.series, own_key)
                _add_row(rows, admitted, LevelRow.of_soft_limit(consumed, limit))
        for levels in hubs:
            for guard in levels._poller.fresh_answers():
                for key, row in self._rows_of(guard).items():
                    _add_row(rows, key, row)
        return rows

    def _rows_of(self, guard: PolledGuard) -> dict[Key, LevelRow]:
        """The rows of a guard's last answer: made when it answers, once a collection has asked."""
        answer = guard.last.answer
        known = self._known.get(guard)
        if known is not None and known[0] is answer:
            return known[1]
        rows: dict[Key, LevelRow] = {}
        for level in answer.levels:
            key = self._admission.admit(self.series, self._key_of(guard, level))
            _add_row(rows, key, LevelRow.of(level))
        self._known[guard] = (answer, rows)
        guard.after_answer = self._rows_of
        return rows

    def _recent_soft_limits(self) -> list[tuple[Key, tuple[float, float, float]]]:
        now = time.monotonic()
        with self._lock:  # for no longer than this: callers take it, too
            for key, (_, _, seen_at) in list(self._soft_limits.items()):
                if now - seen_at > SOFT_LIMIT_MEMORY:
                    del self._soft_limits[key]
            return list(self._soft_limits.items())

    def _key_of(self, guard: PolledGuard, level: BudgetLevel) -> Key:
        admission = self._admission
        pairs: Pairs = tuple(
            (semconv.LABELS[label], value)
            for label in guard.metric_labels
            if (value := name(getattr(level, label))) is not None
        )
        return (
            admission.labels(pairs),
            admission.value(semconv.GUARD_NAME, guard.guard_name),
            admission.value(semconv.RESOURCE, name(level.resource)),
            admission.value(semconv.WINDOW, name(level.window)),
            admission.value(semconv.UNIT, name(level.unit)),
            semconv.SOURCE_GUARD,
            None if level.shared is None else str(bool(level.shared)).lower(),
        )


def _add_row(rows: dict[Key, LevelRow], key: Key, row: LevelRow) -> None:
    present = rows.get(key)
    if present is None:
        rows[key] = row
        return
    fullest, other = (row, present) if _fullness(row) > _fullness(present) else (present, row)
    # What was not counted is told whichever budget it is of.
    if (other.uncounted_calls or 0.0) > (fullest.uncounted_calls or 0.0):
        fullest = replace(fullest, uncounted_calls=other.uncounted_calls)
    rows[key] = fullest


def _fullness(row: LevelRow) -> tuple[float, float]:
    used = row.utilization
    return (-1.0 if used is None else used, row.consumed or 0.0)
