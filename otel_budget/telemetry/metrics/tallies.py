"""The sums of all counters: the call path adds to them, the hub's instruments read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from otel_budget import semconv
from otel_budget.metric import Metric
from otel_budget.telemetry.metrics.admission import VALUE_CAPS, Admission
from otel_budget.telemetry.metrics.series import NO_LABELS, Cell, Key, Labels, Series

#: Keys of another hub's whose translation is remembered: all that it can have at a time.
_MAX_FOREIGN: Final = 2_000
#: Amounts up to this need no check: no process lives long enough for their sum to reach int64.
_LARGE: Final = 2**32

#: A sum, and the amount to add to it.
Addition = tuple[Cell, float]


class Tallies(Admission):
    """The sums of one hub: ``tallies[METRIC_COST]`` holds the series of that counter.

    Args:
        max_label_sets: How many distinct label sets are kept.
    """

    def __init__(self, max_label_sets: int) -> None:
        super().__init__()
        self.max_label_sets = max_label_sets
        #: Whether the sum over all series of some metric is close to its ceiling.
        self._near_ceiling = False
        self._series = {
            metric: Series(metric) for metric in semconv.METRICS if metric.kind == "counter"
        }

    def __getitem__(self, counter: Metric) -> Series:
        return self._series[counter]

    def has_room(self, label_sets: int) -> bool:
        """Whether there may be more than `label_sets` label sets."""
        return label_sets < self.max_label_sets

    def count_overflow(self, label: str, value: object) -> None:
        """Count that `value` became ``_other_``; a value that comes again counts again."""
        self.add([(self.cell(semconv.METRIC_LABEL_OVERFLOWS, NO_LABELS, label), 1)])

    # -- counting --------------------------------------------------------------------------
    def cell(self, counter: Metric, labels: Labels, *values: str | None) -> Cell:
        """The sum of one series, which is 0 and is exported from now on if it is new.

        Args:
            counter: The metric.
            labels: The label set.
            values: The other attributes' values, in the order of the metric's declaration.
        """
        series, key = self._series[counter], (labels, *values)
        cell = series.cells.get(key)
        return series.cells[self.admit(series, key)] if cell is None else cell

    def add(self, additions: Iterable[Addition]) -> None:
        """Add to several sums at once. The sum over a metric's series stops at its ceiling."""
        with self._lock:
            for cell, amount in additions:
                if amount > _LARGE or self._near_ceiling:
                    amount = self._fitting_part(cell.series, amount)  # noqa: PLW2901
                cell.value += amount

    def _fitting_part(self, series: Series, amount: float) -> float:
        """The part of `amount` that fits below the ceiling of the sum over all series.

        The ceiling holds for that sum because a view may add series up.
        """
        total = sum(cell.value for cell in series.cells.values())
        self._near_ceiling |= total + amount > series.ceiling / 2
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
        self.add(
            [(self.cell(counter, *self.own_key(series, key)), amount) for key, amount in moved]
        )

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
