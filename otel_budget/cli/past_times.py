"""Gives spans and log events the time of a log that is replayed, by OpenTelemetry's API alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import Logger, LoggerProvider
from opentelemetry.trace import Span, Tracer, TracerProvider


class PastTracerProvider(TracerProvider):
    """A tracer provider whose spans begin at the log's time, and last as long as they did.

    Args:
        inner: The provider that exports.
        clock: The log's time in seconds since the epoch.
    """

    def __init__(self, inner: TracerProvider, clock: Callable[[], float]) -> None:
        self._inner, self._clock = inner, clock

    def get_tracer(self, *arguments: Any, **named: Any) -> Tracer:
        """A tracer of the inner provider, with the log's times."""
        return _PastTracer(self._inner.get_tracer(*arguments, **named), self._clock)


class _PastTracer(Tracer):
    def __init__(self, inner: Tracer, clock: Callable[[], float]) -> None:
        self._inner, self._clock = inner, clock

    def start_span(self, *arguments: Any, **named: Any) -> Span:
        now = time.time_ns()
        shift = round(self._clock() * 1e9) - now
        named["start_time"] = (named.get("start_time") or now) + shift
        return _PastSpan(self._inner.start_span(*arguments, **named), shift)

    @contextmanager
    def start_as_current_span(  # type: ignore[override]
        self, *arguments: Any, **named: Any
    ) -> Iterator[Span]:
        with trace.use_span(self.start_span(*arguments, **named), end_on_exit=True) as span:
            yield span


class _PastSpan(Span):
    """A span whose times are moved by so many nanoseconds."""

    def __init__(self, inner: Span, shift: int) -> None:
        self._inner, self._shift = inner, shift

    def _moved(self, at: int | None) -> int:
        return (time.time_ns() if at is None else at) + self._shift

    def end(self, end_time: int | None = None) -> None:
        self._inner.end(self._moved(end_time))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self._inner.add_event(name, attributes, self._moved(timestamp))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._inner.record_exception(exception, attributes, self._moved(timestamp), escaped)

    def get_span_context(self) -> trace.SpanContext:
        return self._inner.get_span_context()

    def set_attributes(self, attributes: Any) -> None:
        self._inner.set_attributes(attributes)

    def set_attribute(self, key: str, value: Any) -> None:
        self._inner.set_attribute(key, value)

    def update_name(self, name: str) -> None:
        self._inner.update_name(name)

    def is_recording(self) -> bool:
        return self._inner.is_recording()

    def set_status(self, status: Any, description: str | None = None) -> None:
        self._inner.set_status(status, description)


class PastLoggerProvider(LoggerProvider):
    """A logger provider whose events carry the log's time; they are observed now."""

    def __init__(self, inner: LoggerProvider, clock: Callable[[], float]) -> None:
        self._inner, self._clock = inner, clock

    def get_logger(self, name: str, *arguments: Any, **named: Any) -> Logger:
        """A logger of the inner provider, with the log's times."""
        return _PastLogger(name, self._inner.get_logger(name, *arguments, **named), self._clock)


class _PastLogger(Logger):
    def __init__(self, name: str, inner: Logger, clock: Callable[[], float]) -> None:
        super().__init__(name)
        self._inner, self._clock = inner, clock

    def enabled(self, *arguments: Any, **named: Any) -> bool:
        return self._inner.enabled(*arguments, **named)

    def emit(self, *arguments: Any, **named: Any) -> None:
        if "timestamp" in named:
            named["timestamp"] = round(self._clock() * 1e9)
        self._inner.emit(*arguments, **named)
