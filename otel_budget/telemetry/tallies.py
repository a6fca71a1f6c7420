"""In-process counting: series, their caps, their sums. No OpenTelemetry here.

The call path adds to dictionaries; the hub's instruments read them at collection. Metric attributes
are limited here and nowhere else: label sets and values beyond their caps become ``_other_``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from otel_budget import semconv
from otel_budget.metric import Metric
from otel_budget.sanitize import INT64_MAX, MAX_COST

#: Series that one instrument may have. Beyond 2,000 the SDK drops them silently.
MAX_SERIES: Final = 1_800
#: Headroom within `MAX_SERIES` for the ``_other_`` series: each outcome of each set of label names.
_RESERVED: Final = 200
#: How many distinct values of an attribute are kept. Tool and model names come from outside.
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
#: Keys of another hub's whose translation is remembered: all that it can have at a time.
_MAX_FOREIGN: Final = 2_000
#: Amounts up to this need no check: no process lives long enough for their sum to reach int64.
_LARGE: Final = 2**32

Pairs = tuple[tuple[str, str], ...]


class Labels:
    """One label set (tenant, agent, principal). Equal sets are one object, compared by identity."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


NO_LABELS: Final = Labels(())

#: The key of a series: its labels, then its attribute values in the metric's order, None if absent.
Key = tuple[Any, ...]


class Cell:
    """The sum of one series."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Series:
    """All series of one metric."""

    __slots__ = (
        "_attributes",
        "_outcomes",
        "ceiling",
        "cells",
        "foreign",
        "metric",
        "near_ceiling",
    )

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.cells: dict[Key, Cell] = {}
        self.ceiling: float = MAX_COST if metric.unit == "USD" else INT64_MAX
        #: Whether the sum over all series is close to the ceiling.
        self.near_ceiling = False
        #: Keys of another hub's, and what they are here.
        self.foreign: dict[Key, Key] = {}
        self._attributes: dict[Key, dict[str, str]] = {}
        # The key's index of an attribute whose other values are exported as 0, and all its values.
        self._outcomes = next(
            (
                (1 + metric.attributes.index(attribute), values)
                for attribute, values in _ZEROS.items()
                if attribute in metric.attributes and metric.labelled
            ),
            None,
        )

    def family(self, key: Key) -> list[Key]:
        """`key` and the keys of its other outcomes."""
        if self._outcomes is None:
            return [key]
        index, values = self._outcomes
        return [(*key[:index], value, *key[index + 1 :]) for value in values]

    def attributes(self, key: Key) -> dict[str, str]:
        """The attributes of a series, as exported."""
        attributes = self._attributes.get(key)
        if attributes is None:
            attributes = dict(key[0].pairs)
            named = zip(self.metric.attributes, key[1:], strict=True)
            attributes.update((name, value) for name, value in named if value is not None)
            self._attributes[key] = attributes
        return attributes


#: The attributes whose values are all exported, as 0 at first, once one of them is counted.
_ZEROS: Final = {
    semconv.DECISION: semconv.DECISIONS,
    semconv.KIND: semconv.KINDS,
    semconv.TOKEN_TYPE: semconv.TOKEN_TYPES,
}


class Admission:
    """Which label sets, values and series metrics may have; all others become ``_other_``."""

    def __init__(self) -> None:
        # Reentrant: a signal handler or a finalizer may run a guard on the thread that holds it.
        self._lock = threading.RLock()
        self._labels: dict[Pairs, Labels] = {}
        self._other: dict[tuple[str, ...], Labels] = {}
        self._values: dict[str, set[str]] = {attribute: set() for attribute in VALUE_CAPS}

    # -- added by each kind ----------------------------------------------------------------
    def has_room(self, label_sets: int) -> bool:
        """Whether there may be more than `label_sets` label sets."""
        raise NotImplementedError

    def count_overflow(self, label: str, value: object) -> None:
        """Count that `value` became ``_other_``.

        Args:
            label: An attribute, or ``labels`` or ``series``.
            value: What was asked for.
        """
        raise NotImplementedError

    # -- limits on attributes --------------------------------------------------------------
    def labels(self, pairs: Pairs) -> Labels:
        """The label set of `pairs`; beyond the cap, the one whose values are all ``_other_``."""
        if not pairs:
            return NO_LABELS
        labels = self._labels.get(pairs)
        if labels is not None:
            return labels
        with self._lock:
            if pairs in self._labels or self.has_room(len(self._labels)):
                return self._labels.setdefault(pairs, Labels(pairs))
            self.count_overflow(semconv.OVERFLOW_LABELS, pairs)
            return self.other_labels(pairs)

    def other_labels(self, pairs: Pairs) -> Labels:
        """The label set with the names of `pairs` whose values are all ``_other_``."""
        names = tuple(name for name, _ in pairs)
        other = Labels(tuple((name, semconv.OTHER) for name in names))
        return self._other.setdefault(names, other)

    def value(self, attribute: str, value: str | None) -> str | None:
        """`value` of a capped attribute, or ``_other_`` once its cap is reached."""
        if value is None:
            return None
        admitted = self._values[attribute]
        if value in admitted:
            return value
        with self._lock:
            if value in admitted or len(admitted) < VALUE_CAPS[attribute]:
                admitted.add(value)
                return value
            self.count_overflow(attribute, value)
            return semconv.OTHER

    def admit(self, series: Series, key: Key) -> Key:
        """The key to count `key` under. A new series starts at 0, as do its other outcomes."""
        cells = series.cells
        if key in cells:
            return key
        with self._lock:
            family = series.family(key)
            if len(cells) + len(family) > MAX_SERIES - _RESERVED:
                self.count_overflow(semconv.OVERFLOW_SERIES, key)
                capped = (
                    semconv.OTHER if value is not None and attribute in VALUE_CAPS else value
                    for attribute, value in zip(series.metric.attributes, key[1:], strict=True)
                )
                key = (self.other_labels(key[0].pairs), *capped)
                family = series.family(key)
            for member in (key, *family):
                if member not in cells:
                    cells[member] = Cell()
            return key


#: A series collection, a key in it, and the amount to add.
Addition = tuple[Series, Key, float]


class Tallies(Admission):
    """The sums of one hub: ``tallies[METRIC_COST]`` holds the series of that counter.

    Args:
        max_label_sets: How many distinct label sets are kept.

    Attributes:
        series: The same by metric, for the call path: a look-up there makes no call.
    """

    def __init__(self, max_label_sets: int) -> None:
        super().__init__()
        self.max_label_sets = max_label_sets
        self.series = {
            metric: Series(metric) for metric in semconv.METRICS if metric.kind == "counter"
        }

    def __getitem__(self, counter: Metric) -> Series:
        return self.series[counter]

    def has_room(self, label_sets: int) -> bool:
        """Whether there may be more than `label_sets` label sets."""
        return label_sets < self.max_label_sets

    def count_overflow(self, label: str, value: object) -> None:
        """Count that `value` became ``_other_``; a value that comes again counts again."""
        self.add([(self[semconv.METRIC_LABEL_OVERFLOWS], (NO_LABELS, label), 1)])

    # -- counting --------------------------------------------------------------------------
    def add(self, additions: Iterable[Addition]) -> None:
        """Add to several series at once. The sum over a metric's series stops at its ceiling."""
        with self._lock:
            for series, key, amount in additions:
                cell = series.cells.get(key)
                if cell is None:
                    cell = series.cells[self.admit(series, key)]
                if amount > _LARGE or series.near_ceiling:
                    amount = self._fitting_part(series, amount)  # noqa: PLW2901
                cell.value += amount

    def _fitting_part(self, series: Series, amount: float) -> float:
        """The part of `amount` that fits below the ceiling of the sum over all series.

        The ceiling holds for that sum because a view may add series up.
        """
        total = sum(cell.value for cell in series.cells.values())
        series.near_ceiling = total + amount > series.ceiling / 2
        return min(amount, max(0, series.ceiling - total))

    # -- another hub's ---------------------------------------------------------------------
    def take_over(self, other: Tallies, counter: Metric) -> None:
        """Move the sums of another hub's counter here, where one cap holds for both."""
        series = self[counter]
        moved: list[tuple[Key, float]] = []
        with other._lock:
            for key, cell in other[counter].cells.items():
                if cell.value or key not in series.foreign:
                    moved.append((key, cell.value))
                    cell.value = 0
        self.add([(series, self.own_key(series, key), amount) for key, amount in moved])

    def own_key(self, series: Series, key: Key) -> Key:
        """What a key of another hub's series is in `series`."""
        own = series.foreign.get(key)
        if own is None:
            if len(series.foreign) >= _MAX_FOREIGN:
                series.foreign.clear()
            values = zip(series.metric.attributes, key[1:], strict=True)
            own = series.foreign[key] = (
                self.labels(key[0].pairs),
                *(
                    self.value(attribute, value) if attribute in VALUE_CAPS else value
                    for attribute, value in values
                ),
            )
        return own

    # -- reading ---------------------------------------------------------------------------
    def read(self, series: Series) -> Sequence[tuple[dict[str, str], float]]:
        """The attributes and the sum of every series of a metric."""
        with self._lock:
            sums = [(key, cell.value) for key, cell in series.cells.items()]
        return [(series.attributes(key), value) for key, value in sums]
