"""Counting in the process: series, their caps, their sums. No OpenTelemetry here.

The call path adds to dictionaries; the hub's instruments read them at collection. One place decides
what a metric attribute may be: label sets and values beyond their caps become ``_other_``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from otel_budget import semconv
from otel_budget.sanitize import INT64_MAX, MAX_COST

#: Attribute sets an instrument may make. The SDK drops silently beyond 2,000.
MAX_SERIES: Final = 1_800
#: Of these, what is kept for the series under ``_other_``: every outcome of every label name set.
_RESERVED: Final = 200
#: How many distinct values of an attribute are kept. Tool names and models come from outside.
VALUE_CAPS: Final = {
    semconv.RESOURCE: 100,
    semconv.TOOL_NAME: 100,
    semconv.METRIC_MODEL: 100,
    semconv.METRIC_PROVIDER: 50,
    semconv.GUARD_NAME: 50,
    semconv.ERROR_TYPE: 50,
    semconv.WINDOW: 50,
    semconv.UNIT: 50,
}
#: No number of smaller amounts that a process could live to add reaches int64.
_LARGE: Final = 2**32

Pairs = tuple[tuple[str, str], ...]


class Labels:
    """One label set (tenant, agent, principal), interned: series keys compare by identity."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


NO_LABELS: Final = Labels(())

#: A series: its labels, then its attributes' values in the order of the metric, None if absent.
Key = tuple[Any, ...]


class Cell:
    """The sum of one series."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Series:
    """All series of one metric."""

    __slots__ = ("_attributes", "_siblings", "ceiling", "cells", "filling", "metric")

    def __init__(self, metric: semconv.Metric) -> None:
        self.metric = metric
        self.cells: dict[Key, Cell] = {}
        self.ceiling: float = MAX_COST if metric.unit == "USD" else INT64_MAX
        #: Whether the sum over all series has come near the ceiling.
        self.filling = False
        self._attributes: dict[Key, dict[str, str]] = {}
        # Where in the key the outcome stands whose other values are exported as zeros.
        self._siblings = next(
            (
                (1 + metric.attributes.index(attribute), values)
                for attribute, values in _ZEROS.items()
                if attribute in metric.attributes and metric.labelled
            ),
            None,
        )

    def family(self, key: Key) -> list[Key]:
        """`key` and the keys of its other outcomes."""
        if self._siblings is None:
            return [key]
        at, values = self._siblings
        return [(*key[:at], value, *key[at + 1 :]) for value in values]

    def attributes(self, key: Key) -> dict[str, str]:
        """The attributes of a series, as exported."""
        attributes = self._attributes.get(key)
        if attributes is None:
            attributes = dict(key[0].pairs)
            named = zip(self.metric.attributes, key[1:], strict=True)
            attributes.update((name, value) for name, value in named if value is not None)
            self._attributes[key] = attributes
        return attributes


#: Which outcomes are exported as 0 when their label set is first seen.
_ZEROS: Final = {
    semconv.DECISION: semconv.DECISIONS,
    semconv.KIND: semconv.KINDS,
    semconv.TOKEN_TYPE: semconv.TOKEN_TYPES,
}

Addition = tuple[Series, Key, float]


class Tallies:
    """The sums of one hub: ``tallies[METRIC_COST]`` is the series of that counter.

    Args:
        max_label_sets: How many distinct label sets are kept.
    """

    def __init__(self, max_label_sets: int) -> None:
        self.max_label_sets = max_label_sets
        # Reentrant: a signal handler or a finalizer may run a guard on the thread that holds it.
        self._lock = threading.RLock()
        self._labels: dict[Pairs, Labels] = {}
        self._other_labels: dict[tuple[str, ...], Labels] = {}
        self._values: dict[str, set[str]] = {attribute: set() for attribute in VALUE_CAPS}
        self._series = {
            metric: Series(metric) for metric in semconv.METRICS if metric.kind == "counter"
        }
        #: All gauges of levels share one set of series; only its keys are used.
        self.levels = Series(semconv.METRIC_UTILIZATION)

    def __getitem__(self, counter: semconv.Metric) -> Series:
        return self._series[counter]

    # -- what an attribute may be ----------------------------------------------------------
    def labels(self, pairs: Pairs) -> Labels:
        """The label set of `pairs`; beyond the cap, the one whose values are all ``_other_``."""
        if not pairs:
            return NO_LABELS
        known = self._labels.get(pairs)
        if known is not None:
            return known
        with self._lock:
            if pairs in self._labels or len(self._labels) < self.max_label_sets:
                return self._labels.setdefault(pairs, Labels(pairs))
            self._overflowed(semconv.OVERFLOW_LABELS)
            return self._other(pairs)

    def _other(self, pairs: Pairs) -> Labels:
        names = tuple(name for name, _ in pairs)
        other = Labels(tuple((name, semconv.OTHER) for name in names))
        return self._other_labels.setdefault(names, other)

    def value(self, attribute: str, value: str | None) -> str | None:
        """`value` of a capped attribute, or ``_other_`` once its cap is reached."""
        if value is None:
            return None
        known = self._values[attribute]
        if value in known:
            return value
        with self._lock:
            if value in known or len(known) < VALUE_CAPS[attribute]:
                known.add(value)
                return value
            self._overflowed(attribute)
            return semconv.OTHER

    def _overflowed(self, label: str) -> None:
        self.add([(self[semconv.METRIC_LABEL_OVERFLOWS], (NO_LABELS, label), 1)])

    # -- counting --------------------------------------------------------------------------
    def add(self, additions: Iterable[Addition]) -> None:
        """Add to several series at once. The sum over a metric's series stops at its ceiling."""
        with self._lock:
            for series, key, amount in additions:
                cell = series.cells.get(key)
                if cell is None:
                    cell = series.cells[self.admit(series, key)]
                if amount > _LARGE or series.filling:
                    amount = self._saturated(series, amount)  # noqa: PLW2901
                cell.value += amount

    def _saturated(self, series: Series, amount: float) -> float:
        """What of `amount` fits: also series that a view adds up must stay within the ceiling."""
        total = sum(cell.value for cell in series.cells.values())
        series.filling = total + amount > series.ceiling / 2
        return min(amount, max(0, series.ceiling - total))

    def admit(self, series: Series, key: Key) -> Key:
        """The series that `key` is counted under, made if it is new, with its zeros."""
        cells = series.cells
        if key in cells:
            return key
        with self._lock:
            family = series.family(key)
            if len(cells) + len(family) > MAX_SERIES - _RESERVED:
                capped = (
                    semconv.OTHER if value is not None and attribute in VALUE_CAPS else value
                    for attribute, value in zip(series.metric.attributes, key[1:], strict=True)
                )
                key = (self._other(key[0].pairs), *capped)
                family = series.family(key)
                self._overflowed(semconv.OVERFLOW_SERIES)
            for member in (key, *family):
                if member not in cells:
                    cells[member] = Cell()
            return key

    def read(self, series: Series) -> Sequence[tuple[dict[str, str], float]]:
        """Attributes and sum of every series of a metric."""
        with self._lock:
            sums = [(key, cell.value) for key, cell in series.cells.items()]
        return [(series.attributes(key), value) for key, value in sums]
