"""The exporters that the ``OTEL_*`` variables ask for, with a clear error for invalid ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Literal
from urllib.parse import urlsplit

Signal = Literal["traces", "metrics", "logs"]
Protocol = Literal["http/protobuf", "grpc"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "metrics", "logs")
INSTALL: Final = "install it with: pip install 'otel-budget[otlp]'"
_ENTRY_POINTS: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
#: Why an exporter is missing, and what brings it, by entry point.
_MISSING: Final = {
    "otlp_proto_http": f"The exporter of OTLP by HTTP is not installed; {INSTALL}",
    "otlp_proto_grpc": "The exporter of OTLP by gRPC is not installed; install it with: pip "
    "install 'otel-budget[grpc]', or use http/protobuf (port 4318)",
}


def exporters(
    signal: Signal, endpoint: str | None, protocol: str | None
) -> list[Callable[[], Any]]:
    """Factories of a signal's exporters; each makes its first one now, so that errors come now."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = [name.strip() for name in (os.environ.get(variable) or "otlp").split(",")]
    return [
        _exporter(signal, name, variable, endpoint, protocol) for name in names if name != "none"
    ]


def _exporter(
    signal: Signal, name: str, variable: str, endpoint: str | None, protocol: str | None
) -> Callable[[], Any]:
    options: Mapping[str, Any] = {}
    entry_point = name
    if name in ("otlp", *_ENTRY_POINTS.values()):
        wanted = protocol or next((p for p, e in _ENTRY_POINTS.items() if e == name), None)
        source, wanted = ("protocol", wanted) if wanted else _from_environment(signal, "PROTOCOL")
        wanted = wanted or "http/protobuf"
        if wanted not in _ENTRY_POINTS:
            raise ValueError(
                f"{source} is {wanted!r}, which is not supported: use http/protobuf (port 4318) "
                "or grpc (port 4317)."
            )
        entry_point = _ENTRY_POINTS[wanted]
        if endpoint is None:
            _check_endpoint(*_from_environment(signal, "ENDPOINT"), wanted)
        else:
            _check_endpoint("endpoint", endpoint, wanted)
            path = "" if wanted == "grpc" else f"/v1/{signal}"
            options = {"endpoint": endpoint.rstrip("/") + path}
    found = entry_points(group=f"opentelemetry_{signal}_exporter", name=entry_point)
    if not found:
        if entry_point in _MISSING:
            raise ModuleNotFoundError(f"{_MISSING[entry_point]}.")
        raise ValueError(
            f"{variable} is {name!r}, but no exporter of that name is installed: use otlp, "
            "console or none."
        )
    kind: Any = next(iter(found)).load()
    try:
        made = kind(**options)
    except Exception as error:
        raise ValueError(
            f"The {name} exporter for {signal} could not be set up: {error}"
        ) from error
    return first(made, lambda: kind(**options))


def _from_environment(signal: Signal, what: str) -> tuple[str, str | None]:
    """The variable that applies, and its value."""
    general = f"OTEL_EXPORTER_OTLP_{what}"
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}", general):
        value = os.environ.get(variable, "").strip()
        if value:
            return variable, value
    return general, None


def _check_endpoint(source: str, value: str | None, protocol: str) -> None:
    if value is None:
        return
    grpc = protocol == "grpc"
    example = "http://localhost:4317" if grpc else "http://localhost:4318"
    try:
        # gRPC also takes a bare host:port, which urlsplit reads as such only after slashes.
        url = urlsplit(value if "://" in value or not grpc else f"//{value}")
        good = bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good or url.scheme not in (("http", "https", "") if grpc else ("http", "https")):
        raise ValueError(f"{source} is {value!r}, which is not a URL such as {example}.")


def first(made: Any, make: Callable[[], Any]) -> Callable[[], Any]:
    """A factory that returns `made` at the first call and new ones afterwards."""
    waiting = [made]
    return lambda: waiting.pop() if waiting else make()
