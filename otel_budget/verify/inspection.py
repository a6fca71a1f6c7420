"""Reads from a process's providers what it has set up, without importing the SDK."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import _logs, metrics, trace

from otel_budget.telemetry.hub import is_proxy

Exporting = dict[str, list[dict[str, Any]]]


def providers() -> dict[str, Any]:
    """The global providers that were set, by signal."""
    by_signal = {
        "traces": trace.get_tracer_provider(),
        "metrics": metrics.get_meter_provider(),
        "logs": _logs.get_logger_provider(),
    }
    return {
        signal: provider
        for signal, provider in by_signal.items()
        if not is_proxy(provider) and "NoOp" not in type(provider).__name__
    }


def processors(signal: str, provider: Any) -> list[Any]:
    """The span processors, metric readers or log processors of an SDK's provider."""
    if signal == "metrics":
        return list(getattr(provider, "_metric_readers", ()))
    inner, field = {
        "traces": ("_active_span_processor", "_span_processors"),
        "logs": ("_multi_log_record_processor", "_log_record_processors"),
    }[signal]
    return list(getattr(getattr(provider, inner, None), field, ()))


def exporter_of(processor: Any) -> Any:
    """The exporter behind a processor or reader, or None."""
    batch = getattr(processor, "_batch_processor", processor)
    for field in ("_exporter", "span_exporter"):
        exporter = getattr(batch, field, None)
        if exporter is not None:
            return exporter
    return None


def describe(by_signal: dict[str, Any]) -> dict[str, Any]:
    """Resource, processors, exporters, sampler and temporality by signal, ready for JSON."""
    description: dict[str, Any] = {}
    for signal, provider in by_signal.items():
        resource = getattr(provider, "resource", None) or getattr(
            getattr(provider, "_sdk_config", None), "resource", None
        )
        entry = description[signal] = {
            "provider": type(provider).__name__,
            "resource": {k: str(v) for k, v in getattr(resource, "attributes", {}).items()},
            "processors": [type(p).__name__ for p in processors(signal, provider)],
            "exporters": [
                _exporter(exporter)
                for processor in processors(signal, provider)
                if (exporter := exporter_of(processor)) is not None
            ],
        }
        if signal == "traces" and hasattr(provider, "sampler"):
            entry["sampler"] = provider.sampler.get_description()
        if signal == "metrics":
            entry["interval"] = max(
                (
                    getattr(reader, "_export_interval_millis", 0.0) / 1000
                    for reader in processors(signal, provider)
                ),
                default=0.0,
            )
            entry["temporality"] = sorted(
                {
                    value.name.lower()
                    for reader in processors(signal, provider)
                    for kind, value in getattr(reader, "_instrument_class_temporality", {}).items()
                    if kind.__name__.endswith("ObservableCounter")
                }
            )
    return description


def _exporter(exporter: Any) -> dict[str, Any]:
    inner = getattr(exporter, "_exporter", exporter)  # our deliveries wrap one
    module = type(inner).__module__
    endpoint = getattr(inner, "_endpoint", None)
    if endpoint is None:
        return {"exporter": type(inner).__name__}
    grpc = ".grpc" in module
    if grpc and "://" not in endpoint:
        scheme = "http" if getattr(inner, "_insecure", True) else "https"
        endpoint = f"{scheme}://{endpoint}"
    return {
        "exporter": type(inner).__name__,
        "endpoint": endpoint,
        "protocol": "grpc" if grpc else "http/protobuf",
    }


class Watch:
    """Records every export: outcome, time, and whether it ran on the guarded thread.

    Args:
        by_signal: What `providers` returned.
    """

    def __init__(self, by_signal: dict[str, Any]) -> None:
        self.exports: Exporting = {signal: [] for signal in by_signal}
        self.logged: list[str] = []
        self._guarded: int | None = None
        for signal, provider in by_signal.items():
            for processor in processors(signal, provider):
                exporter = exporter_of(processor)
                if exporter is not None:
                    exporter.export = self._watched(signal, exporter.export)
        # The gRPC exporters share a logger whose filter passes only the first signal's error.
        for name in logging.root.manager.loggerDict:
            if name.startswith("opentelemetry."):
                logging.getLogger(name).filters.clear()
        logging.getLogger("opentelemetry").addHandler(_LineHandler(self.logged))

    def __enter__(self) -> None:
        self._guarded = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self._guarded = None

    def _watched(self, signal: str, export: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            entry: dict[str, Any] = {
                "result": "UNFINISHED",
                "blocked_the_caller": threading.get_ident() == self._guarded,
            }
            self.exports[signal].append(entry)
            try:
                result = export(*args, **kwargs)
                entry["result"] = result.name
                return result
            except BaseException as error:
                entry["result"] = f"{type(error).__name__}: {error}"
                raise
            finally:
                entry["seconds"] = time.monotonic() - started

        return watched


class _LineHandler(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) < 100:
            self._lines.append(record.getMessage())
