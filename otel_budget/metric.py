"""What the definition of a metric holds, and what Prometheus makes of its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True, eq=False)  # looked up on the call path: by identity
class Metric:
    """One instrument: its name, kind, unit, meaning and attributes.

    Attributes:
        name: The OpenTelemetry name.
        kind: ``counter``, ``gauge`` or ``histogram``.
        unit: In UCUM, with braces for things counted; ``USD`` for money.
        description: One sentence.
        attributes: The attributes it may carry besides the labels.
        labelled: Whether it also carries the labels chosen with ``metric_labels``.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    description: str
    attributes: tuple[str, ...]
    labelled: bool = True

    def prometheus_name(self, *, suffixes: bool = True) -> str:
        """The name in Prometheus; for a histogram, without ``_bucket``, ``_sum`` or ``_count``.

        Args:
            suffixes: Whether the backend appends unit and type, as Prometheus does by default
                (translation strategy ``UnderscoreEscapingWithSuffixes``).

        Source: OpenTelemetry specification, compatibility/prometheus_and_openmetrics.md.
        """
        name = prometheus_label(self.name)
        if not suffixes:
            return name
        unit = _PROMETHEUS_UNITS.get(self.unit, self.unit)
        if unit and not unit.startswith("{") and unit not in name.split("_"):
            name = f"{name}_{unit}"
        return f"{name}_total" if self.kind == "counter" else name


_PROMETHEUS_UNITS: Final = {"s": "seconds", "1": "ratio", "": ""}


def prometheus_label(attribute: str) -> str:
    """The Prometheus label of an attribute, e.g. ``budget_guard_name``."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", attribute)
