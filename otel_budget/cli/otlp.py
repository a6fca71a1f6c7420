"""The option ``--otlp [URL]``: also send a command's telemetry to a collector."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from opentelemetry import _logs, metrics, trace

from otel_budget.cli.terminal import CommandError

_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_FALLBACK: Final = "http://localhost:4318"
_URL: Final = re.compile(r"^(\w+://|[\w.-]+:\d+$)")

Otlp = Annotated[
    str | None,
    typer.Option(
        "--otlp",
        metavar="[URL]",
        help=f"Also send the telemetry to a collector (default: ${_VARIABLE}, else {_FALLBACK}).",
        show_default=False,
    ),
]


def with_default_url(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the default URL after an ``--otlp`` that has none."""
    filled: list[str] = []
    for index, argument in enumerate(arguments):
        filled.append(argument)
        if argument == "--otlp" and not _URL.match("".join(arguments[index + 1 : index + 2])):
            filled.append(os.environ.get(_VARIABLE) or _FALLBACK)
    return filled


@contextmanager
def sending(url: str, service_name: str) -> Iterator[Callable[[], None]]:
    """Set up the global providers to send to `url`, and check that everything is delivered.

    Yields:
        A function that exports what is queued, to be called now and then by code that makes calls
        faster than batches are exported.

    Raises:
        CommandError: Nothing listens there, or not everything was accepted.
    """
    from otel_budget.sdk import configure

    _check_listening(url)
    try:
        telemetry = configure(service_name, endpoint=url, patience=10.0)
    except (ValueError, ModuleNotFoundError) as error:
        raise CommandError(str(error)) from None

    _check_set_up()

    def flush() -> None:
        telemetry.force_flush(10.0)

    try:
        yield flush
    finally:
        losses = telemetry.shutdown(10.0)
    if losses:
        raise CommandError(
            f"the collector at {url} did not accept everything; lost: {losses}. See its log, or "
            "run `otel-budget verify`.",
            code=1,
        )


def _check_set_up() -> None:
    providers = {
        "traces": hasattr(trace.get_tracer_provider(), "add_span_processor"),
        "metrics": hasattr(metrics.get_meter_provider(), "add_metric_reader"),
        "logs": hasattr(_logs.get_logger_provider(), "add_log_record_processor"),
    }
    missing = [signal for signal, is_set_up in providers.items() if not is_set_up]
    if missing:
        raise CommandError(
            f"--otlp needs {' and '.join(missing)}, which OTEL_SDK_DISABLED or "
            "OTEL_*_EXPORTER=none switches off: unset it."
        )


def _check_listening(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in {"http", "https"} else None
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host = None
    if not host:
        raise CommandError(f"--otlp {url} is not a URL such as {_FALLBACK}.")
    try:
        socket.create_connection((host, port), timeout=3.0).close()
    except OSError as error:
        raise CommandError(
            f"nothing listens at {url} ({error.strerror or error}): start a collector there, or "
            "name another with --otlp URL."
        ) from None
