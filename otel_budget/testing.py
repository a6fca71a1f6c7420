"""For your own tests: see what an instrumented guard reports, without setting anything up.

>>> with capture_telemetry() as telemetry:  # doctest: +SKIP
...     agent.run("…")
...     assert telemetry.value("budget.decisions", decision="deny") == 1
...     assert telemetry.hits[0].resource == "llm_cost_usd"
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "otel_budget.testing needs the OpenTelemetry SDK, which is not installed; install it with: "
        "pip install 'otel-budget[sdk]'.",
        name=_missing.name,
    ) from None

from otel_budget import semconv
from otel_budget.sdk.captured import CapturedTelemetry
from otel_budget.telemetry import settings
from otel_budget.telemetry.hubs import hub_for, live_hubs
from otel_budget.telemetry.sessions import namespace_of
from otel_budget.version import __version__

__all__ = ["CapturedTelemetry", "capture_telemetry"]


@contextmanager
def capture_telemetry(*, spans: bool = True) -> Iterator[CapturedTelemetry]:
    """Capture what every instrumented guard of this process reports inside the block.

    It takes the place of the guards' own providers, whenever they were instrumented, and leaves the
    global ones alone; nothing is exported meanwhile. If blocks are nested, the inner one captures.

    Args:
        spans: Whether to capture spans and log events, too; their memory grows with the calls,
            that of metrics does not.
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
            hub.poller.adopt(other.poller)
    telemetry = CapturedTelemetry(captured, logs, reader, hub)
    outer = settings.override
    settings.override = settings.Destination(
        tracer_provider.get_tracer(semconv.SCOPE_NAME, __version__),
        logger_provider.get_logger(semconv.SCOPE_NAME, __version__),
        hub,
        namespace_of(tracer_provider),
    )
    try:
        yield telemetry
    finally:
        settings.override = outer
        telemetry.close()
        for provider in (meter_provider, tracer_provider, logger_provider):
            provider.shutdown()


@contextmanager
def _sdk_enabled() -> Iterator[None]:
    """Test environments often switch the SDK off; nothing captured here is exported."""
    disabled = os.environ.pop("OTEL_SDK_DISABLED", None)
    try:
        yield
    finally:
        if disabled is not None:
            os.environ["OTEL_SDK_DISABLED"] = disabled
