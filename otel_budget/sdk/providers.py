"""Providers of the SDK, each with its deliveries: batched, patient, and counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from otel_budget.sdk.delivery import Delivery, SignalPipeline
from otel_budget.sdk.exporters import INSTALL, Signal, first
from otel_budget.sdk.hits import is_hit
from otel_budget.telemetry.hub import is_proxy

try:
    from opentelemetry import _logs, metrics, trace
    from opentelemetry.sdk._logs import LoggerProvider, ReadWriteLogRecord
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        MetricExporter,
        MetricReader,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        f"otel_budget.sdk needs the OpenTelemetry SDK, which is not installed; {INSTALL}.",
        name=_missing.name,
    ) from None


class _SpanDelivery(Delivery, SpanExporter):
    def export(self, spans: Any) -> Any:
        return self.deliver(spans, len(spans))

    def shutdown(self) -> None:
        self.close()


class _LogDelivery(Delivery, LogRecordExporter):
    def export(self, batch: Any) -> Any:
        return self.deliver(batch, len(batch))

    def shutdown(self) -> None:
        self.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _MetricDelivery(Delivery, MetricExporter):
    def __init__(self, make: Callable[[], Any]) -> None:
        Delivery.__init__(self, make)
        # The reader reads these two from its exporter.
        MetricExporter.__init__(
            self,
            preferred_temporality=self._exporter._preferred_temporality,
            preferred_aggregation=self._exporter._preferred_aggregation,
        )

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> Any:
        return self.deliver(metrics_data, 0, timeout_millis=timeout_millis)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.close()


class _BoundedFlush:
    """Keeps a flush's time limit: the SDK's own ends when the delivery does, after minutes perhaps.

    Args:
        flush: The SDK's; one at a time, however often a host asks.
    """

    def __init__(self, flush: Callable[[], bool]) -> None:
        self._run = flush
        self._thread: threading.Thread | None = None

    def __call__(self, timeout_millis: int | None) -> bool:
        seconds = 30.0 if timeout_millis is None else timeout_millis / 1e3
        deadline = time.monotonic() + seconds
        while True:
            thread, is_mine = self._thread, False
            if thread is None or not thread.is_alive():
                thread, is_mine = threading.Thread(target=self._run, daemon=True), True
                try:
                    thread.start()
                except RuntimeError:  # from Python 3.12 on, no thread can be started at exit
                    return self._run()
                self._thread = thread
            thread.join(max(0.0, deadline - time.monotonic()))
            if is_mine or thread.is_alive():
                return not thread.is_alive()


class _SpanProcessor(BatchSpanProcessor):
    """Batches the hits of guards, or all other spans: what waits for a collector holds up nothing.

    Args:
        delivery: Of its spans.
        hits: Whether they are hits.
    """

    def __init__(self, delivery: _SpanDelivery, *, hits: bool) -> None:
        self._delivery = delivery
        self._hits = hits
        super().__init__(delivery)
        self._flush = _BoundedFlush(super().force_flush)

    def on_end(self, span: ReadableSpan) -> None:
        if is_hit(span.name, span.attributes) is not self._hits:
            return
        if span.context and span.context.trace_flags.sampled:
            self._delivery.offer()
        super().on_end(span)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        return self._flush(timeout_millis)


class _LogProcessor(BatchLogRecordProcessor):
    def __init__(self, delivery: _LogDelivery) -> None:
        self._delivery = delivery
        super().__init__(delivery)
        self._flush = _BoundedFlush(super().force_flush)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self._delivery.offer()
        super().on_emit(log_record)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        return self._flush(timeout_millis)


def is_free(signal: Signal) -> bool:
    """Whether no provider of `signal` has been set up."""
    return is_proxy(
        {
            "traces": trace.get_tracer_provider,
            "metrics": metrics.get_meter_provider,
            "logs": _logs.get_logger_provider,
        }[signal]()
    )


def pipeline_of(
    signal: Signal,
    makers: Iterable[Callable[[], Any]],
    resource: Resource,
    *,
    sampler: Sampler | None,
    patience: float,
) -> SignalPipeline:
    """Make and set the provider of `signal`, with its deliveries to each exporter."""
    if signal == "traces":
        spans: list[tuple[_SpanDelivery, _SpanDelivery]] = []
        tracer_provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        for make in makers:
            hits, others = _SpanDelivery(make, patience), _SpanDelivery(make)
            tracer_provider.add_span_processor(_SpanProcessor(hits, hits=True))
            tracer_provider.add_span_processor(_SpanProcessor(others, hits=False))
            spans.append((hits, others))
        trace.set_tracer_provider(tracer_provider)
        return SignalPipeline(signal, tracer_provider, spans)
    if signal == "metrics":
        points: list[_MetricDelivery] = []
        readers: list[MetricReader] = []
        for make in makers:
            exporter = make()
            if isinstance(exporter, MetricReader):  # such as that of Prometheus, which pulls
                readers.append(exporter)
                continue
            points.append(_MetricDelivery(first(exporter, make)))
            readers.append(PeriodicExportingMetricReader(points[-1]))
        meter_provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        metrics.set_meter_provider(meter_provider)
        return SignalPipeline(signal, meter_provider, [(point,) for point in points])
    events = [_LogDelivery(make, patience) for make in makers]
    logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for log_delivery in events:
        logger_provider.add_log_record_processor(_LogProcessor(log_delivery))
    _logs.set_logger_provider(logger_provider)
    return SignalPipeline(signal, logger_provider, [(event,) for event in events])


def resource_of(service_name: str | None) -> Resource:
    """The resource described by the ``OTEL_*`` variables; `service_name` overrides theirs."""
    return Resource.create({SERVICE_NAME: service_name} if service_name else {})
