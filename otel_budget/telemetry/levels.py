"""How full the budgets are: asked of the guards by a thread, read at collection.

A guard's ``budget_levels()`` may be slow, hang or raise anything: none of it may reach a collection
or another guard's levels.
"""

from __future__ import annotations

import inspect
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from otel_budget import semconv
from otel_budget.contract import BudgetLevel
from otel_budget.contract.interpretation import utilization
from otel_budget.sanitize import amount, name
from otel_budget.telemetry.tallies import Key, Labels, Pairs, Tallies

#: Seconds between two polls.
POLL_INTERVAL: Final = 5.0
#: Seconds a guard has to answer one.
POLL_DEADLINE: Final = 2.0
#: Seconds for which an answer is reported.
FRESH: Final = 60.0
#: Seconds for which the last SoftLimit is reported.
SOFT_LIMIT_MEMORY: Final = 300.0
#: Levels read of one guard, and soft limits remembered.
MAX_LEVELS: Final = 2_000


@dataclass(slots=True, eq=False)
class _Watched:
    """A guard that tells its levels: held weakly, through the wrapper that the host holds."""

    wrapper: weakref.ref[Any]
    ask: Callable[[Any], Iterable[Any]]
    guard_name: str
    metric_labels: tuple[str, ...]
    levels: tuple[BudgetLevel, ...] = ()
    asked: float = float("-inf")
    answered: float = float("-inf")
    busy: bool = False


@dataclass(frozen=True, slots=True)
class LevelRow:
    """What the gauges report of one series; None where nothing is known."""

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
        """The row of a level as it was told, which may be anything."""
        return cls(
            amount(consumed),
            amount(limit),
            utilization(consumed, limit),
            amount(window_length),
            amount(window_remaining),
        )


#: What each gauge reports of a row.
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
        failed: Told of a guard that failed to answer, and of the error where there is one.
    """

    def __init__(
        self, tallies: Tallies, failed: Callable[[str, BaseException | None], None]
    ) -> None:
        self.tallies = tallies
        self._failed = failed
        self._watched: list[_Watched] = []
        self._soft: OrderedDict[Key, tuple[float, float, float]] = OrderedDict()
        self._lock = threading.RLock()
        self._polling = threading.Lock()

    @property
    def watching(self) -> bool:
        """Whether any guard is asked."""
        return bool(self._watched)

    def watch(
        self,
        wrapper: Any,
        ask: Callable[[Any], Iterable[Any]],
        guard_name: str,
        metric_labels: tuple[str, ...],
    ) -> None:
        """Ask a guard for its levels for as long as `wrapper` lives."""
        with self._lock:
            self._watched.append(_Watched(weakref.ref(wrapper), ask, guard_name, metric_labels))

    def adopt(self, other: Levels) -> None:
        """Ask the guards that `other` asks, too; each once, whoever else has adopted them."""
        known = {id(entry.wrapper) for entry in self._watched}  # an object's weakrefs are one
        for entry in list(other._watched):
            wrapper = entry.wrapper()
            if wrapper is not None and id(entry.wrapper) not in known:
                self.watch(wrapper, entry.ask, entry.guard_name, entry.metric_labels)

    def soft_limit(
        self,
        labels: Labels,
        guard_name: str | None,
        resource: str | None,
        consumed: float,
        limit: float,
    ) -> None:
        """Remember the last SoftLimit of a guard that tells no levels."""
        key = (labels, guard_name, resource, None, None, semconv.SOURCE_SOFT_LIMIT)
        with self._lock:
            self._soft[key] = (consumed, limit, time.monotonic())
            self._soft.move_to_end(key)
            if len(self._soft) > MAX_LEVELS:
                self._soft.popitem(last=False)

    # -- asking ----------------------------------------------------------------------------
    def poll(self, deadline: float = POLL_DEADLINE, *, now: bool = False) -> None:
        """Ask, one after the other, the guards that are due.

        Args:
            deadline: Seconds a guard has. One that takes longer is left alone, and asked again
                only when that call has come back.
            now: Ask also those that are not due.
        """
        if not self._polling.acquire(timeout=deadline):
            return
        try:
            with self._lock:
                self._watched = [entry for entry in self._watched if entry.wrapper() is not None]
            due = float("inf") if now else time.monotonic() - POLL_INTERVAL * 0.9
            todo = deque(e for e in list(self._watched) if not e.busy and e.asked <= due)
            while todo:
                worker = _Worker(todo, self._failed)
                worker.start()
                while worker.is_alive():
                    at = worker.entry
                    worker.join(deadline)
                    if worker.is_alive() and at is not None and worker.entry is at:
                        worker.abandoned = True
                        self._failed(f"no answer within {deadline:g} s", None)
                        break
        finally:
            self._polling.release()

    # -- reading ---------------------------------------------------------------------------
    def rows(self) -> dict[Key, LevelRow]:
        """What is fresh, by series. Of levels that fall on one series the fullest stands, whole."""
        now = time.monotonic()
        rows: dict[Key, LevelRow] = {}
        for entry in list(self._watched):
            if entry.wrapper() is not None and now - entry.answered < FRESH:
                for level in entry.levels:
                    row = LevelRow.of(
                        level.consumed, level.limit, level.window_length, level.window_remaining
                    )
                    self._put(rows, self._key(entry, level), row)
        with self._lock:
            for key, (consumed, limit, at) in list(self._soft.items()):
                if now - at > SOFT_LIMIT_MEMORY:
                    del self._soft[key]
                else:
                    self._put(rows, key, LevelRow.of(consumed, limit))
        return rows

    def _key(self, entry: _Watched, level: BudgetLevel) -> Key:
        tallies = self.tallies
        pairs: Pairs = tuple(
            (semconv.LABELS[label], value)
            for label in entry.metric_labels
            if (value := name(getattr(level, label))) is not None
        )
        return (
            tallies.labels(pairs),
            tallies.value(semconv.GUARD_NAME, entry.guard_name),
            tallies.value(semconv.RESOURCE, name(level.resource)),
            tallies.value(semconv.WINDOW, name(level.window)),
            tallies.value(semconv.UNIT, name(level.unit)),
            semconv.SOURCE_GUARD,
        )

    def _put(self, rows: dict[Key, LevelRow], key: Key, row: LevelRow) -> None:
        key = self.tallies.admit(self.tallies.levels, key)
        other = rows.get(key)
        if other is None or _fullness(row) > _fullness(other):
            rows[key] = row


class _Worker(threading.Thread):
    """Asks guards in turn until it is abandoned, which is how a hanging guard is left behind."""

    def __init__(
        self, todo: deque[_Watched], failed: Callable[[str, BaseException | None], None]
    ) -> None:
        super().__init__(name="otel-budget-levels", daemon=True)
        self._todo = todo
        self._failed = failed
        self.entry: _Watched | None = None
        self.abandoned = False

    def run(self) -> None:
        while not self.abandoned:
            try:
                entry = self._todo.popleft()
            except IndexError:
                return
            entry.busy, self.entry, entry.asked = True, entry, time.monotonic()
            try:
                wrapper = entry.wrapper()
                if wrapper is not None:
                    entry.levels = _read(entry.ask(wrapper))
                    entry.answered = time.monotonic()
            except BaseException as error:
                self._failed("budget_levels() failed", error)
            finally:
                entry.busy = False


def _read(answer: Any) -> tuple[BudgetLevel, ...]:
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("budget_levels() must be a plain function, also on an async guard")
    return tuple(
        BudgetLevel(**level) if isinstance(level, Mapping) else level
        for level in islice(answer, MAX_LEVELS)
        if isinstance(level, BudgetLevel | Mapping)
    )


def _fullness(row: LevelRow) -> tuple[float, float]:
    full = row.utilization
    return (-1.0 if full is None else full, row.consumed or 0.0)
