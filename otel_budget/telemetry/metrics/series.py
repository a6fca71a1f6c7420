"""The series of a metric, in the process: their keys, their sums, their attributes as exported."""

from __future__ import annotations

from typing import Any, Final

from otel_budget import semconv
from otel_budget.metric import Metric
from otel_budget.sanitize import INT64_MAX, MAX_COST

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
    """The sum of one series, which stays for as long as its tallies."""

    __slots__ = ("series", "value")

    def __init__(self, series: Series) -> None:
        self.series = series
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
    )

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.cells: dict[Key, Cell] = {}
        self.ceiling: float = MAX_COST if metric.unit == "USD" else INT64_MAX
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
