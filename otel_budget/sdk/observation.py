"""Observing what guards report to the global providers, for the commands' ``--otlp``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_budget.sdk.captured import CapturedTelemetry
from otel_budget.telemetry.hubs import hub_for


@contextmanager
def observe_global(*, spans: bool = True) -> Iterator[CapturedTelemetry]:
    """Observe what guards report to the global SDK providers, which go on exporting it.

    Values count from the start of the process, not of the block.

    Args:
        spans: Whether to capture spans and log events, too.
    """
    captured, logs, reader = (
        InMemorySpanExporter(),
        InMemoryLogRecordExporter(),  # type: ignore[no-untyped-call]
        InMemoryMetricReader(),
    )
    tracer_provider: Any = trace.get_tracer_provider()
    logger_provider: Any = _logs.get_logger_provider()
    meter_provider: Any = metrics.get_meter_provider()
    if spans:  # the SDK cannot remove a processor again, but its exporter can be shut down
        tracer_provider.add_span_processor(SimpleSpanProcessor(captured))
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    meter_provider.add_metric_reader(reader)
    telemetry = CapturedTelemetry(captured, logs, reader, hub_for(None))
    try:
        yield telemetry
    finally:
        telemetry.close()
        meter_provider.remove_metric_reader(reader)
        captured.shutdown()
        logs.shutdown()
