"""The series of a metric, in the process: their keys, their sums, their attributes as exported."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.context import Context, create_key, set_value
from opentelemetry.metrics import Observation

from otel_budget import semconv
from otel_budget.metric import Metric
from otel_budget.sanitize import INT64_MAX, MAX_COST

#: Not empty: in place of an empty context the SDK takes the current one, which at a collection can
#: be that of a span which has nothing to do with what is collected.
NO_SPAN: Final = set_value(create_key("otel-budget-no-span"), True, Context())

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
    """The sum of one series, for as long as its tallies last, and what was read of it last."""

    __slots__ = ("attributes", "read", "series", "value")

    def __init__(self, series: Series, attributes: dict[str, str]) -> None:
        self.series = series
        #: As exported.
        self.attributes = attributes
        self.value: float = 0
        #: A sum and its observation, together: most sums are the same at the next collection.
        self.read: tuple[float, Observation] = (0, Observation(0, attributes, NO_SPAN))

    def observe(self, value: float) -> Observation:
        """Make the observation of a sum that is not the one read last."""
        observation = Observation(value, self.attributes, NO_SPAN)
        self.read = (value, observation)
        return observation


class Series:
    """All series of one metric."""

    __slots__ = (
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

    def new_cell(self, key: Key) -> Cell:
        """A cell for a series that has none."""
        attributes = dict(key[0].pairs)
        named = zip(self.metric.attributes, key[1:], strict=True)
        attributes.update((name, value) for name, value in named if value is not None)
        return Cell(self, attributes)


#: The attributes whose values are all exported, as 0 at first, once one of them is counted.
_ZEROS: Final = {
    semconv.DECISION: semconv.DECISIONS,
    semconv.KIND: semconv.KINDS,
    semconv.TOKEN_TYPE: semconv.TOKEN_TYPES,
}
