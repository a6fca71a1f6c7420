"""A real SDK in memory: what was sent to it, and its encoding as OTLP."""

from __future__ import annotations

from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from otel_budget import instrument


class Backend:
    """Three SDK providers with in-memory exporters, and what has arrived there."""

    def __init__(self, sampler: Sampler = ALWAYS_ON, **meter_options: Any) -> None:
        self.span_exporter = InMemorySpanExporter()
        self.log_exporter = InMemoryLogRecordExporter()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.span_exporter))
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self.log_exporter))
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False, **meter_options)

    def instrument(self, guard: Any, **options: Any) -> Any:
        options.setdefault("prices", None)
        options.setdefault("tracer_provider", self.tracer_provider)
        options.setdefault("meter_provider", self.meter_provider)
        options.setdefault("logger_provider", self.logger_provider)
        return instrument(guard, **options)

    # -- spans and log events --------------------------------------------------------------
    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        return [
            span
            for span in self.span_exporter.get_finished_spans()
            if (span.name == name if name else span.name != "budget.session")
        ]

    def span(self, name: str | None = None) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def roots(self) -> list[ReadableSpan]:
        return self.spans("budget.session")

    def logs(self) -> list[Any]:
        return [entry.log_record for entry in self.log_exporter.get_finished_logs()]

    # -- metrics ---------------------------------------------------------------------------
    def collect(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        metric = self.collect().get(name)
        return [
            (dict(point.attributes), point) for point in (metric.data.data_points if metric else ())
        ]

    def series(self, name: str) -> list[tuple[dict[str, Any], float]]:
        return [(attributes, point.value) for attributes, point in self.points(name)]

    def value(self, name: str, **wanted: str) -> float:
        """The sum over the series with the attributes `wanted`; `__` in a keyword is a dot."""
        attributes_wanted = {key.replace("__", "."): value for key, value in wanted.items()}
        return sum(
            getattr(point, "value", None) if hasattr(point, "value") else point.count
            for attributes, point in self.points(name)
            if attributes_wanted.items() <= attributes.items()
        )

    def encode(self) -> bytes:
        """Everything recorded as OTLP; raises where an exporter would."""
        data = self.reader.get_metrics_data()
        return b"".join(
            (
                encode_spans(self.span_exporter.get_finished_spans()).SerializeToString(),
                encode_logs(self.log_exporter.get_finished_logs()).SerializeToString(),
                b"" if data is None else encode_metrics(data).SerializeToString(),
            )
        )

    def shutdown(self) -> None:
        for provider in (self.meter_provider, self.tracer_provider, self.logger_provider):
            provider.shutdown()
