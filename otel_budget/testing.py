"""For your own tests: see what an instrumented guard reports, without any set-up.

>>> with capture_telemetry() as telemetry:  # doctest: +SKIP
...     agent.run("…")
...     assert telemetry.value("budget.decisions", decision="deny") == 1
...     assert telemetry.hits[0].resource == "llm_cost_usd"
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from otel_budget import recorder, semconv
from otel_budget.contract import BudgetThresholdHit
from otel_budget.hub import Hub
from otel_budget.hubs import hub_for, live_hubs
from otel_budget.version import __version__

#: Keywords of `Telemetry.value` and the attributes they stand for.
_ATTRIBUTES: Final = {
    attribute.removeprefix("budget.").replace(".", "_"): attribute
    for metric in semconv.METRICS
    for attribute in (*metric.attributes, *semconv.LABELS.values())
} | {"model": semconv.METRIC_MODEL, "provider": semconv.METRIC_PROVIDER}


class Telemetry:
    """What was captured. It can be read inside the block and after it."""

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
        """Every soft limit and denial, in order, as the runtime's event."""
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
        """The metrics by name, collected now (or at the end of the block), from 0 at its start."""
        data = self._final or self._collect()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def _collect(self) -> MetricsData | None:
        self._hub.levels.poll(1.0, now=True)
        return self._reader.get_metrics_data()

    def value(self, metric: str, **attributes: str) -> float | None:
        """A metric's value, relative to the start of the block.

        Args:
            metric: Its name, e.g. ``budget.decisions``.
            attributes: What its series must carry: ``decision="deny"``, ``tenant="acme"``,
                ``model=…``; dots become underscores, as in ``token_type="input"``.

        Returns:
            The sum over the matching series of a counter, the number of durations of a histogram
            (0 if there is none); for a gauge its value, None if there is none.

        Raises:
            ValueError: There is no such metric or attribute, or several gauges match.
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
    return BudgetThresholdHit(
        kind=attributes[semconv.KIND],
        resource=attributes[semconv.RESOURCE],
        consumed=attributes[semconv.CONSUMED],
        limit=attributes[semconv.LIMIT],
        message=attributes.get(semconv.MESSAGE),
    )


@contextmanager
def capture_telemetry(*, spans: bool = True) -> Iterator[Telemetry]:
    """Capture what every instrumented guard of this process reports inside the block.

    It goes before the guards' own providers, whenever they were instrumented, and leaves the
    global ones alone; nothing is exported meanwhile. Blocks may be nested; the inner one captures.

    Args:
        spans: False captures metrics only, in memory that does not grow with the calls.
    """
    captured, logs, reader = (
        InMemorySpanExporter(),
        InMemoryLogRecordExporter(),  # type: ignore[no-untyped-call]
        InMemoryMetricReader(),
    )
    with _sdk_enabled():
        sampler = ALWAYS_ON if spans else ALWAYS_OFF
        tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        logger_provider = LoggerProvider(shutdown_on_exit=False)
        meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    if spans:
        tracer_provider.add_span_processor(SimpleSpanProcessor(captured))
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    hub = hub_for(meter_provider)
    for other in live_hubs():
        if other is not hub:
            hub.tallies.max_label_sets = max(
                hub.tallies.max_label_sets, other.tallies.max_label_sets
            )
            hub.levels.adopt(other.levels)
    telemetry = Telemetry(captured, logs, reader, hub)
    outer = recorder.override
    recorder.override = recorder.Destination(
        tracer_provider.get_tracer(semconv.SCOPE_NAME, __version__),
        logger_provider.get_logger(semconv.SCOPE_NAME, __version__),
        hub,
        id(tracer_provider),
    )
    try:
        yield telemetry
    finally:
        recorder.override = outer
        telemetry._final = telemetry._collect()
        for provider in (meter_provider, tracer_provider, logger_provider):
            provider.shutdown()


@contextmanager
def observe_global(*, spans: bool = True) -> Iterator[Telemetry]:
    """Read along what guards report to the global SDK providers, which go on exporting it.

    Values count from the start of the process, not of the block. For the commands' ``--otlp``.

    Args:
        spans: Whether spans and log events are kept, too.
    """
    captured, logs, reader = (
        InMemorySpanExporter(),
        InMemoryLogRecordExporter(),  # type: ignore[no-untyped-call]
        InMemoryMetricReader(),
    )
    tracer_provider: Any = trace.get_tracer_provider()
    logger_provider: Any = _logs.get_logger_provider()
    meter_provider: Any = metrics.get_meter_provider()
    if spans:  # an SDK offers no way to take a processor away again; the exporters can be closed
        tracer_provider.add_span_processor(SimpleSpanProcessor(captured))
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    meter_provider.add_metric_reader(reader)
    telemetry = Telemetry(captured, logs, reader, hub_for(None))
    try:
        yield telemetry
    finally:
        telemetry._final = telemetry._collect()
        meter_provider.remove_metric_reader(reader)
        captured.shutdown()
        logs.shutdown()


@contextmanager
def _sdk_enabled() -> Iterator[None]:
    """Test environments often switch the SDK off; what is captured here is not exported."""
    disabled = os.environ.pop("OTEL_SDK_DISABLED", None)
    try:
        yield
    finally:
        if disabled is not None:
            os.environ["OTEL_SDK_DISABLED"] = disabled
