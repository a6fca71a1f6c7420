"""Limits of metric attributes, here and nowhere else: what is beyond a cap becomes ``_other_``."""

from __future__ import annotations

import threading
from typing import Final

from otel_budget import semconv
from otel_budget.telemetry.metrics.series import NO_LABELS, Cell, Key, Labels, Pairs, Series

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
                    cells[member] = Cell(series)
            return key
