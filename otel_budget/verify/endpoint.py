"""Why an export failed: what answers at the endpoint, and what the exporter logged."""

from __future__ import annotations

import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterable
from functools import cache
from typing import Final
from urllib.parse import urlsplit

from otel_budget.verify.hop import Problem, Why

_TIMEOUT: Final = 3.0
_GRPC_STATUS: Final = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "UNIMPLEMENTED": 404,
    "RESOURCE_EXHAUSTED": 429,
}
_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
#: Words for a signal in the exporters' log lines.
_WORDS: Final = {"traces": ("span", "trace"), "metrics": ("metric",), "logs": ("log",)}


@cache
def answers(host: str, port: int) -> str:
    """What answers at a port: ``http``, ``grpc``, ``tls`` or ``other``.

    If nothing does: ``refused``, ``unknown_host``, ``unreachable``, or ``silent`` (it accepts
    connections and never answers).
    """
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            reply = b""
            while len(reply) < 512 and (part := connection.recv(512)):
                reply += part
                if reply[3:4] == b"\x04":  # a frame: the server now waits for us
                    break
    except ConnectionRefusedError:
        return "refused"
    except socket.gaierror:
        return "unknown_host"
    except TimeoutError:
        return "silent" if _accepts(host, port) else "unreachable"
    except OSError:
        return "tls" if _speaks_tls(host, port) else "other"
    if reply.startswith(b"HTTP/1"):
        return "tls" if b"HTTPS" in reply else "http"
    if reply[3:4] == b"\x04" and reply[:2] == b"\x00\x00":  # an HTTP/2 SETTINGS frame
        return "grpc"
    return "tls" if _speaks_tls(host, port) else "other"


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_TIMEOUT).close()
    except OSError:
        return False
    return True


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except OSError:
        return False


def problem(signal: str, endpoint: str, protocol: str, logged: Iterable[str], why: Why) -> Problem:
    """The likely cause and remedy of a failed export to `endpoint`.

    Args:
        signal: ``traces``, ``metrics`` or ``logs``.
        endpoint: A URL.
        protocol: ``http/protobuf`` or ``grpc``.
        logged: Log lines of the SDK's exporters, which contain the status of the answer.
        why: Asked if the collector refuses the signal; takes what was found.
    """
    url = urlsplit(endpoint)
    secure = url.scheme == "https"
    host = url.hostname or "localhost"
    port = url.port or (443 if secure else 80)
    where = f"{host}:{port}"
    listener = answers(host, port)
    detail = f"{endpoint} by {protocol}"
    wrong_place = _wrong_place(where, listener, secure, protocol)
    if wrong_place is not None:
        return Problem(detail, *wrong_place)
    lines = [line for line in logged if any(word in line.lower() for word in _WORDS[signal])]
    status = _status(lines)
    proxy = _proxy(url.scheme, host)
    if proxy and status in (None, 403, 407, 502, 503, 504):
        return Problem(
            f"{detail}: {_last(lines)}",
            f"the exporter goes through the proxy {proxy}, which does not reach the collector",
            f"set NO_PROXY={host} for the application",
        )
    if status is not None:
        detail += f" answered {status}"
    if status in (401, 403):
        return Problem(
            detail,
            "the collector wants a token, but none or a wrong one was sent",
            "set OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20<token>",
        )
    if status in (400, 413):
        return Problem(
            f"{detail}: {_last(lines)}",
            "the receiver does not take such a request: it is larger than its "
            "max_request_body_size, or something on the way changes it",
            "raise max_request_body_size of the collector's receiver, or export less at once "
            "(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE)",
        )
    if status == 404 and protocol != "grpc" and not url.path.endswith(f"/v1/{signal}"):
        return Problem(
            detail,
            "the endpoint of a single signal is used as it is, without a path being added",
            f"add /v1/{signal} to OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT, or set "
            f"{_VARIABLE} alone",
        )
    if status == 404:
        return Problem(
            detail,
            f"the collector has no {signal} pipeline behind this receiver, or the path is wrong",
            f"add `service.pipelines.{signal}` with the otlp receiver to the collector's "
            f"configuration; with http/protobuf {_VARIABLE} is without /v1/{signal}",
        )
    if status in (429, 502, 503, 504):
        return why(detail) or Problem(
            detail,
            "the collector refuses data for now: it is at its memory limit, a queue or the disk of "
            "the audit file is full, or a backend behind it does not answer",
            "look at the collector's log, or pass --collector-metrics URL: they say which",
        )
    if secure:
        return Problem(
            f"{detail}: {_last(lines)}",
            "the endpoint speaks TLS, but the certificate is not trusted, or it asks for a client "
            "certificate",
            "set OTEL_EXPORTER_OTLP_CERTIFICATE to the certificate authority's file"
            + _overriding(protocol),
        )
    return Problem(
        f"{detail}: {_last(lines)}",
        "the endpoint answers, but not as an OTLP receiver",
        f"check {_VARIABLE} and the collector's log",
    )


def _wrong_place(where: str, listener: str, secure: bool, protocol: str) -> tuple[str, str] | None:
    """Cause and remedy if what listens at `where` does not speak the exporter's protocol."""
    match listener:
        case "refused" | "unreachable":
            return (
                f"nothing listens on {where}",
                f"start the collector, or correct {_VARIABLE} (4318 is the usual port of "
                "http/protobuf, 4317 that of grpc)",
            )
        case "unknown_host":
            return f"the host of {where} is unknown", f"correct {_VARIABLE}"
        case "silent":
            return (
                f"{where} accepts connections and never answers",
                "look at the collector: it hangs, or something else listens there",
            )
        case "tls" if not secure:
            return (
                f"{where} speaks TLS, and the exporter does not",
                f"write https:// in {_VARIABLE}",
            )
        case "http" | "grpc" if secure:
            return (
                f"the exporter speaks TLS, and {where} does not",
                f"write http:// in {_VARIABLE}, or give the collector's receiver a certificate",
            )
        case "grpc" if protocol != "grpc":
            return (
                f"{where} is a gRPC receiver, and the exporter speaks HTTP",
                f"use the HTTP port (usually 4318) in {_VARIABLE}, or set "
                "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            )
        case "http" if protocol == "grpc":
            return (
                f"{where} is an HTTP receiver, and the exporter speaks gRPC, which is the default "
                "under opentelemetry-instrument",
                f"use the gRPC port (usually 4317) in {_VARIABLE}, or set "
                "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            )
    return None


def _proxy(scheme: str, host: str) -> str:
    """The proxy that the environment names for a host, without its login; empty if none."""
    if urllib.request.proxy_bypass(host):
        return ""
    return urllib.request.getproxies().get(scheme, "").rpartition("@")[2]


def _overriding(protocol: str) -> str:
    # The HTTP exporter uses requests, where these override the exporter's own setting.
    names = [name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)]
    if protocol == "grpc" or not names:
        return ""
    return f", and unset {' and '.join(names)}, which the HTTP exporter reads first"


def _status(lines: list[str]) -> int | None:
    for line in reversed(lines):
        grpc = re.search(r"StatusCode\.([A-Z_]+)", line)
        if grpc and grpc[1] in _GRPC_STATUS:
            return _GRPC_STATUS[grpc[1]]
        http = re.search(r"code: (\d{3})\b", line)
        if http:
            return int(http[1])
        named = re.search(r"Transient error (.+?) encountered", line)
        if named and ("Too Many" in named[1] or "Unavailable" in named[1]):
            return 503
    return None


def _last(lines: list[str]) -> str:
    """The most useful line of the log: why the exporter retried, not that it gave up."""
    reasons = [line for line in lines if line.startswith("Transient error")] or lines
    return reasons[-1][:300] if reasons else "the export failed"
