"""The guards' telemetry as captured by in-memory exporters and a reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_budget import semconv
from otel_budget.contract import BudgetThresholdHit, Deny, SoftLimit
from otel_budget.contract.decisions import detail_names
from otel_budget.telemetry.hub import Hub

#: Keywords of `CapturedTelemetry.value` and the attributes they stand for.
_ATTRIBUTES: Final = {
    attribute.removeprefix("budget.").replace(".", "_"): attribute
    for metric in semconv.METRICS
    for attribute in (*metric.attributes, *semconv.LABELS.values())
} | {"model": semconv.METRIC_MODEL, "provider": semconv.METRIC_PROVIDER}


class CapturedTelemetry:
    """Captured telemetry, to be read inside the block or after it."""

    def __init__(
        self,
        spans: InMemorySpanExporter,
        logs: InMemoryLogRecordExporter,
        reader: InMemoryMetricReader,
        hub: Hub,
    ) -> None:
        self._spans = spans
        self._logs = logs
        self._reader = reader
        self._hub = hub
        self._final: MetricsData | None = None

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The finished spans, in the order in which they ended."""
        return self._spans.get_finished_spans()

    @property
    def logs(self) -> Sequence[ReadableLogRecord]:
        """The log events, in the order in which they were written."""
        return self._logs.get_finished_logs()

    @property
    def hits(self) -> list[BudgetThresholdHit]:
        """Every soft limit and denial as the runtime's event, in order of time."""
        timed: list[tuple[int, BudgetThresholdHit]] = []
        seen: set[int] = set()
        for span in self.spans:
            for event in span.events:
                if event.name == semconv.SPAN_EVENT_THRESHOLD_HIT:
                    timed.append((event.timestamp, _hit(event.attributes or {})))
                    seen.add(span.context.span_id)
        for entry in self.logs:
            record = entry.log_record
            if record.event_name == semconv.LOG_EVENT_THRESHOLD_HIT and record.span_id not in seen:
                timed.append((record.timestamp or 0, _hit(record.attributes or {})))
        return [hit for _, hit in sorted(timed, key=lambda pair: pair[0])]

    def metrics(self) -> dict[str, Metric]:
        """The metrics by name, from the start of the block until now (or until its end)."""
        data = self._final or self._collect()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def close(self) -> None:
        """Keep the metrics as of now, to be read after their provider is gone."""
        self._final = self._collect()

    def _collect(self) -> MetricsData | None:
        self._hub.poller.poll(1.0, now=True)
        return self._reader.get_metrics_data()

    def value(self, metric: str, **attributes: str) -> float | None:
        """A metric's value in its own unit, counted from the start of the block.

        Args:
            metric: The metric's name, e.g. ``budget.decisions``.
            attributes: Attributes that a series must have: ``decision="deny"``, ``tenant="acme"``,
                ``model=…``; dots become underscores, as in ``token_type="input"``.

        Returns:
            For a counter, the sum over the matching series; for a histogram, the number of
            durations (both 0 if no series matches); for a gauge, its value (or None).

        Raises:
            ValueError: There is no such metric or attribute, or several series of a gauge match.
        """
        definitions = {definition.name: definition for definition in semconv.METRICS}
        definition = definitions.get(metric)
        if definition is None:
            raise ValueError(f"there is no metric {metric!r}; there are {', '.join(definitions)}")
        wanted = {_attribute(keyword): value for keyword, value in attributes.items()}
        found = self.metrics().get(metric)
        points: list[Any] = [
            point
            for point in (found.data.data_points if found is not None else ())
            if wanted.items() <= dict(point.attributes or {}).items()
        ]
        if definition.kind == "histogram":
            return float(sum(point.count for point in points))
        if definition.kind == "counter":
            return float(sum(point.value for point in points))
        if len(points) > 1:
            raise ValueError(f"{len(points)} series of {metric} match: name more attributes")
        return float(points[0].value) if points else None


def _attribute(keyword: str) -> str:
    attribute = _ATTRIBUTES.get(keyword)
    if attribute is None:
        keywords = ", ".join(sorted(_ATTRIBUTES))
        raise ValueError(f"there is no attribute {keyword!r}; there are {keywords}")
    return attribute


def _hit(attributes: Any) -> BudgetThresholdHit:
    named = semconv.DETAIL_ATTRIBUTES.items()
    details = {name: attributes.get(attribute) for name, attribute in named}
    known = {name: value for name, value in details.items() if name in detail_names(Deny)}
    resource, message = attributes[semconv.RESOURCE], attributes.get(semconv.MESSAGE)
    if attributes[semconv.KIND] == semconv.KIND_HARD:
        return BudgetThresholdHit.of(Deny(resource=resource, reason=message or "", **known))
    del known["cause"]
    # The runtime's zeros: a stand-in for a failing guard has no numbers of its own.
    for name in ("consumed", "limit"):
        known[name] = known[name] or 0.0
    return BudgetThresholdHit.of(SoftLimit(resource=resource, message=message, **known))
