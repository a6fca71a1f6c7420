"""The SDK that everything in a process reports to, and a count of what a call emits to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk import metrics as instruments
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    InMemoryMetricReader,
    Metric,
    Sum,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from benchmarks.adapter import Discard

KINDS = ("span", "event", "counter", "up-down counter", "gauge", "histogram")

#: A point tells what happened since the last collection, a gauge's whether it was set.
_DELTA: dict[type, AggregationTemporality] = dict.fromkeys(
    (
        instruments.Counter,
        instruments.UpDownCounter,
        instruments.Histogram,
        instruments.ObservableCounter,
        instruments.ObservableUpDownCounter,
        instruments._Gauge,
    ),
    AggregationTemporality.DELTA,
)


class _Exporter(Discard):
    """Keeps spans while they are counted, and discards them while calls are timed."""

    def __init__(self) -> None:
        self.keeping = False
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.keeping:
            self.spans.extend(spans)
        return SpanExportResult.SUCCESS


class Pipeline:
    """The process's global providers: every span is sampled, nothing leaves the process."""

    def __init__(self) -> None:
        self._exporter = _Exporter()
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._reader = InMemoryMetricReader(preferred_temporality=_DELTA)
        self._spans = BatchSpanProcessor(self._exporter, max_queue_size=100_000)
        self._events = BatchLogRecordProcessor(self._logs)
        tracer_provider = TracerProvider(sampler=ALWAYS_ON)
        tracer_provider.add_span_processor(self._spans)
        logger_provider = LoggerProvider()
        logger_provider.add_log_record_processor(self._events)
        trace.set_tracer_provider(tracer_provider)
        metrics.set_meter_provider(instruments.MeterProvider([self._reader]))
        _logs.set_logger_provider(logger_provider)

    def flush(self) -> None:
        """Empty everything, so that no timing pays for the calls of another."""
        self._collect()

    def count(self, call: Callable[[], object]) -> dict[str, int]:
        """What one call emits: spans, their events and log records, and points of metrics.

        What is reported without a call, such as an observed level, is not its own.
        """
        call()  # What only a first call does is left out.
        self._exporter.keeping = True
        self._collect()
        idle = self._collect()
        call()
        counts: Counter[str] = Counter()
        for (kind, _), number in (self._collect() - idle).items():
            counts[kind] += number
        self._exporter.keeping = False
        return dict(counts)

    def _collect(self) -> Counter[tuple[str, object]]:
        """What came since the last time, by kind and by what tells its points apart."""
        self._spans.force_flush()
        self._events.force_flush()
        found: Counter[tuple[str, object]] = Counter()
        spans, self._exporter.spans = self._exporter.spans, []
        for span in spans:
            found["span", span.name] += 1
            found["event", span.name] += len(span.events)
        found["event", ""] += len(self._logs.get_finished_logs())
        self._logs.clear()
        for metric in self._metrics():
            for kind, number, labels in _points(metric):
                found[kind, (metric.name, labels)] += number
        return +found

    def _metrics(self) -> Iterator[Metric]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                yield from scope.metrics


def _points(metric: Metric) -> Iterator[tuple[str, int, object]]:
    """Every point of a metric: its kind, how many were recorded, its labels."""
    data = metric.data
    if isinstance(data, Sum):
        kind = "counter" if data.is_monotonic else "up-down counter"
        for point in data.data_points:
            yield kind, int(point.value != 0), frozenset((point.attributes or {}).items())
    elif isinstance(data, Gauge):
        for gauge in data.data_points:
            yield "gauge", 1, frozenset((gauge.attributes or {}).items())
    else:
        for recorded in data.data_points:
            yield "histogram", recorded.count, frozenset((recorded.attributes or {}).items())
