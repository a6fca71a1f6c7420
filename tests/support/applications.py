"""Applications for the tests: in this process, or under load in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_budget import FlatRates, SessionInfo, instrument

DELTA = dict.fromkeys((Counter, ObservableCounter, Histogram), AggregationTemporality.DELTA)
PRICES = FlatRates(input=3.0, output=15.0)


class Application:
    """Providers that send to one Collector, and `flush` to make them send now.

    Args:
        endpoint: The Collector's, for gRPC.
        service: The service's name.
        temporality: That of the metrics' exporter.
        headers: Of every exporter.
        attributes: Of the resource.
        traces: Further arguments of the tracer provider.
    """

    def __init__(
        self,
        endpoint: str,
        service: str,
        *,
        temporality: Any = None,
        headers: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        **traces: Any,
    ) -> None:
        options: Any = {"endpoint": endpoint, "insecure": True, "headers": headers, "timeout": 5}
        resource = Resource.create({"service.name": service, **(attributes or {})})
        self.service = service
        self.tracer_provider = TracerProvider(resource=resource, **traces)
        self.tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**options)))
        self.reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(**options, preferred_temporality=temporality),
            export_interval_millis=3_600_000,  # only when flushed
        )
        self.meter_provider = MeterProvider([self.reader], resource=resource)
        self.logger_provider = LoggerProvider(resource=resource)
        self.logger_provider.add_log_record_processor(
            BatchLogRecordProcessor(OTLPLogExporter(**options))
        )

    def instrument(self, guard: Any, **options: Any) -> Any:
        """`otel_budget.instrument` with these providers, a tenant, a model and prices."""
        info = SessionInfo(
            tenant="acme", agent="coder", principal="ann", model="test-model", provider="openai"
        )
        return instrument(
            guard,
            **{
                "name": "test",
                "session_info": info,
                "prices": PRICES,
                "tracer_provider": self.tracer_provider,
                "meter_provider": self.meter_provider,
                "logger_provider": self.logger_provider,
            }
            | options,
        )

    def flush(self) -> None:
        """Send everything now."""
        self.tracer_provider.force_flush()
        self.logger_provider.force_flush()
        self.meter_provider.force_flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
        self.logger_provider.shutdown()


class Scripted:
    """A synchronous dict guard that answers with its `answer`, or raises it."""

    def __init__(self) -> None:
        self.answer: Any = None

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return self.answer

    def record_after_llm(self, session_id: str, usage: Any) -> None:
        return None


def deny(reason: str = "too much") -> dict[str, Any]:
    return {"decision": "deny", "resource": "usd", "reason": reason}


def soft(message: str = "nearly") -> dict[str, Any]:
    return {
        "decision": "soft", "resource": "usd", "consumed": 8.0, "limit": 10.0, "message": message,
    }  # fmt: skip


class LoadApp:
    """`load_app.py` as a process, with further variables, which keeps its books in a file.

    Args:
        endpoint: The Collector's, for HTTP.
        service: The first argument of the program: its name.
        books: The second: where it keeps its books.
        more: Further arguments.
        program: Another one than ``load_app.py``.
        waits: Whether to wait until it is ready; if not, call `wait_started`.
        variables: Further variables of its environment.
    """

    def __init__(
        self,
        endpoint: str,
        service: str,
        books: Path,
        *more: str,
        program: str = "load_app.py",
        waits: bool = True,
        **variables: str,
    ) -> None:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            "OTEL_BLRP_SCHEDULE_DELAY": "500",
            **variables,
        }
        self.service = service
        self._books = books
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("OTEL_")}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(program)), service, str(books), *more],
            env={**inherited, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if waits:
            self.wait_started()

    def wait_started(self) -> None:
        """Wait until it has imported all and is ready."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "started\n"

    def mark(self, phase: str) -> None:
        """Time calls under this name from now on."""
        self.send(f"mark {phase}")

    def set_clock(self, ahead: int) -> None:
        """Set its clock so many seconds ahead of the true one; it needs `another_time`."""
        self.send(f"clock {ahead}")

    def finish(self) -> dict[str, Any]:
        """Stop the load, let the application shut down, and return its books."""
        self.send("finish")
        return self._ended()

    def terminate(self) -> dict[str, Any]:
        """End the application by SIGTERM in the middle of the load, and return its books."""
        self.process.terminate()
        return self._ended()

    def kill(self) -> dict[str, Any]:
        """``kill -9`` the application, and return its books as of its last whole cycle."""
        self.process.kill()
        return self._ended()

    def send(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _ended(self) -> dict[str, Any]:
        self.wait_ended()
        books: dict[str, Any] = json.loads(self._books.read_text())
        return books

    def wait_ended(self) -> None:
        """Wait until it has ended by itself; after 40 seconds it is killed, and this raises."""
        try:
            self.process.communicate(timeout=40)
        finally:
            self.close()

    def close(self) -> None:
        """Make sure that the process is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
