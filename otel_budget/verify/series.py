"""What Prometheus has of the canary, and who sent it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_budget.metric import Metric, prometheus_label
from otel_budget.verify import clocks, http

#: Recorded series and alerts, which have the canary's tenant too, are none that it sent.
_COMPUTED: Final = re.compile(r".*:.*|ALERTS.*")

Series = list[tuple[dict[str, str], float]]


@dataclass(frozen=True, slots=True)
class Sender:
    """What the canary's series must say of it.

    Attributes:
        tenant: The canary's tenant.
        instances: The distinct instances that sent the canary.
        resource: The resource of their metrics.
        delta: Whether they export deltas.
        ahead: By how many seconds their clock is ahead of Prometheus', if that is known.
    """

    tenant: str
    instances: frozenset[str | None]
    resource: Mapping[str, str]
    delta: bool = False
    ahead: float | None = None

    @property
    def job(self) -> str | None:
        """The label ``job`` that Prometheus makes of the resource."""
        name, namespace = (self.resource.get(f"service.{key}") for key in ("name", "namespace"))
        return f"{namespace}/{name}" if name and namespace else name


def query(url: str, selector: str, sender: Sender) -> Series:
    """The series of a selector now. Raises what `http.get_json` does, KeyError or TypeError."""
    parameters = {"query": selector}
    if sender.ahead is not None and 0 < sender.ahead <= clocks.TOLERATED:
        parameters["time"] = str(time.time())  # Prometheus' own now comes a little later
    answer: dict[str, Any] = http.get_json(f"{url}/api/v1/query", parameters)
    return [
        (row["metric"], float(row["value"][1]))
        for row in answer["data"]["result"]
        if not _COMPUTED.fullmatch(row["metric"]["__name__"])
    ]


def labels_of(metric: Metric, attributes: Mapping[str, str]) -> dict[str, str]:
    """The labels of a metric's series, its name among them."""
    labels = {prometheus_label(name): value for name, value in attributes.items()}
    return labels | {"__name__": metric.prometheus_name()}


def otlp_status(url: str) -> int:
    """What Prometheus' OTLP receiver answers to an empty request: 404 if it is off."""
    headers = {"Content-Type": "application/x-protobuf"}
    return http.ask(f"{url}/api/v1/otlp/v1/metrics", data=b"", headers=headers).status
