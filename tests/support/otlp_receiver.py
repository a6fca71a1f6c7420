"""A receiver of OTLP on loopback that decodes what it is sent, and can answer with errors."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Receiver:
    """Keeps what has arrived. `status` holds the HTTP status to answer with, by path."""

    def __init__(self, port: int = 0) -> None:
        self.status: dict[str, int] = {}
        self.received: list[Any] = []
        self.authorization: set[str | None] = set()
        #: The instance ids that arrived on each connection.
        self.connections: dict[Any, set[str]] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections are kept, as a Collector keeps them

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status = receiver.status.get(self.path, 200 if self.path in REQUESTS else 404)
                if status == 200:
                    receiver.authorization.add(self.headers.get("Authorization"))
                    request = REQUESTS[self.path].FromString(body)
                    receiver.received.append(request)
                    receiver.connections.setdefault(self.client_address, set()).update(
                        pair.value.string_value
                        for part in _parts(request)
                        for pair in part.resource.attributes
                        if pair.key == "service.instance.id"
                    )
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def resources(self) -> list[dict[str, str]]:
        """The attributes of every resource that sent something."""
        return [
            {pair.key: pair.value.string_value for pair in part.resource.attributes}
            for request in list(self.received)
            for part in _parts(request)
        ]

    def spans(self) -> list[Any]:
        return [
            span
            for request in list(self.received)
            if isinstance(request, ExportTraceServiceRequest)
            for part in request.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]

    def log_records(self) -> list[Any]:
        return [
            record
            for request in list(self.received)
            if isinstance(request, ExportLogsServiceRequest)
            for part in request.resource_logs
            for scope in part.scope_logs
            for record in scope.log_records
        ]

    def sums(self, name: str) -> dict[str, list[float]]:
        """By instance id, the values of a sum, in the order of arrival."""
        found: dict[str, list[float]] = {}
        for request in list(self.received):
            if not isinstance(request, ExportMetricsServiceRequest):
                continue
            for part in request.resource_metrics:
                attributes = {p.key: p.value.string_value for p in part.resource.attributes}
                for scope in part.scope_metrics:
                    for metric in scope.metrics:
                        if metric.name == name:
                            found.setdefault(attributes["service.instance.id"], []).extend(
                                point.as_int or point.as_double for point in metric.sum.data_points
                            )
        return found


def _parts(request: Any) -> list[Any]:
    for field in ("resource_spans", "resource_metrics", "resource_logs"):
        if hasattr(request, field):
            return list(getattr(request, field))
    raise TypeError(request)


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver that accepts everything, until its `status` is set."""
    running = Receiver(port)
    thread = threading.Thread(target=running.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        running.server.server_close()
        thread.join(5)
