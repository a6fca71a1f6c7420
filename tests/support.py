"""What the adapter's tests share: a real SDK in memory, and guards of every make.

Names of the telemetry are spelt out in the tests, never taken from `semconv`: that is what fails
when one changes.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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

from otel_budget import Allow, Deny, SoftLimit, TokenUsage, instrument

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "otel_budget"

CHECKS = ("check_before_llm", "check_before_tool")
METHODS = ("check_before_llm", "record_after_llm", "check_before_tool")


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
        """The sum over the series that carry `wanted`; `__` in a keyword is a dot."""
        asked = {key.replace("__", "."): value for key, value in wanted.items()}
        return sum(
            getattr(point, "value", None) if hasattr(point, "value") else point.count
            for attributes, point in self.points(name)
            if asked.items() <= attributes.items()
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


class SyncScript:
    """A synchronous guard that answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def _answer(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.asked.append((method, args, kwargs))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if inspect.isfunction(self.answer) else self.answer

    def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("check_before_llm", args, kwargs)

    def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("record_after_llm", args, kwargs)

    def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("check_before_tool", args, kwargs)


class AsyncScript(SyncScript):
    """The same, asynchronous."""

    async def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer("check_before_llm", args, kwargs)

    async def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer("record_after_llm", args, kwargs)

    async def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer("check_before_tool", args, kwargs)


@dataclass(frozen=True)
class Make:
    """One of the four kinds of guard: sync or async, typed or dict."""

    asynchronous: bool
    typed: bool

    def __str__(self) -> str:
        return f"{'async' if self.asynchronous else 'sync'}-{'typed' if self.typed else 'dict'}"

    def guard(self, answer: Any = None) -> SyncScript:
        return AsyncScript(answer) if self.asynchronous else SyncScript(answer)

    @property
    def allow(self) -> Any:
        return Allow() if self.typed else {"decision": "allow"}

    def soft(
        self,
        resource: str = "llm_cost_usd",
        consumed: float = 4.0,
        limit: float = 5.0,
        message: str | None = None,
    ) -> Any:
        if self.typed:
            return SoftLimit(resource=resource, consumed=consumed, limit=limit, message=message)
        answer: dict[str, Any] = {
            "decision": "soft",
            "resource": resource,
            "consumed": consumed,
            "limit": limit,
        }
        return answer if message is None else {**answer, "message": message}

    def deny(self, resource: str = "llm_cost_usd", reason: str = "spent") -> Any:
        if self.typed:
            return Deny(resource=resource, reason=reason)
        return {"decision": "deny", "resource": resource, "reason": reason}

    def usage(self, prompt: int = 100, completion: int = 20, **more: Any) -> Any:
        fields = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            **more,
        }
        if self.typed:
            return TokenUsage(**fields)
        return {"cache_read_tokens": None, "cache_write_tokens": None, **fields}

    def call(self, guard: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a guard's method to its end, as its host would."""
        if self.asynchronous:
            return run(getattr(guard, method)(*args, **kwargs))
        return getattr(guard, method)(*args, **kwargs)

    def arguments(self, method: str, session: Any = "s1") -> tuple[Any, Any]:
        second = {
            "check_before_llm": 1_000,
            "check_before_tool": "web_search",
            "record_after_llm": self.usage(),
        }
        return session, second[method]


MAKES = [Make(asynchronous, typed) for asynchronous in (False, True) for typed in (True, False)]


def run(coroutine: Any) -> Any:
    """Drive a coroutine on a loop of its own."""
    return asyncio.run(coroutine)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returned, or the exception object it raised."""
    try:
        return call()
    except BaseException as error:
        return error


def python(
    script: str, *arguments: str, timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter; the test fails with what it wrote if it failed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    path = os.pathsep.join([*sys.path, str(ROOT), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**inherited, "PYTHONPATH": path, **environment},
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
