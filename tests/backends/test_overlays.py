"""Each overlay on the real programs; each test fails if its overlay does nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.stack import FOLDER, Stack
from otel_budget import semconv
from support import probes
from support.applications import Application, Scripted, deny, soft

pytestmark = pytest.mark.backend
StartStack = Callable[..., Stack]


def messages(spans: list[dict[str, Any]]) -> list[str]:
    """The messages of the threshold events on these spans."""
    return [
        field["value"]
        for span in spans
        for log in span["logs"]
        for field in log["fields"]
        if field["key"] == semconv.MESSAGE
    ]


def a_bit_of_everything(app: Application) -> None:
    inner = Scripted()
    guard = app.instrument(inner)
    for inner.answer in (None, soft(), deny("no"), "nonsense"):
        guard.check_before_llm("s", 10)
    guard.check_before_tool("s", "search")
    guard.record_after_llm("s", {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
    app.flush()


def test_scraping_gives_the_names_and_values_of_otlp(start_stack: StartStack) -> None:
    stack = start_stack(overlays=["scrape"], interval=1)
    by_otlp = stack.add_collector("by-otlp")
    for service, endpoint in (("scrape", stack.otlp_grpc), ("otlp", by_otlp.otlp_grpc)):
        attributes = {"deployment.environment.name": "test"}
        with Application(endpoint, service, attributes=attributes) as app:
            a_bit_of_everything(app)

    def series(service: str) -> dict[str, float | None]:
        found = {}
        for labels, value in probes.query(
            stack.prometheus, f'{{__name__=~"budget_.*",job="{service}"}}'
        ):
            name = labels["__name__"]
            del labels["job"], labels["instance"]
            if "le" in labels:  # "1" by OTLP and "1.0" if scraped: the only difference
                labels["le"] = str(float(labels["le"]))
            # Durations and clocks are measured: the series can be compared, their values cannot.
            measured = name.endswith(("_bucket", "_sum", "_ahead_seconds"))
            found[json.dumps(labels, sort_keys=True)] = None if measured else value
        return found

    otlp = probes.eventually(lambda: series("otlp"))
    assert len({json.loads(labels)["__name__"] for labels in otlp}) > 8
    assert probes.eventually(lambda: series("scrape"), lambda found: found == otlp) == otlp
    assert probes.query(stack.prometheus, 'up{job="otel-budget-scrape"} == 1')


def test_tail_sampling_keeps_every_hit_once_and_a_share_of_the_rest(
    start_stack: StartStack,
) -> None:
    stack = start_stack(
        overlays=["tail-sampling"],
        programs=["jaeger", "otelcol"],
        environment={"OTELCOL_DECISION_WAIT": "2s", "OTELCOL_SAMPLING_PERCENT": "50"},
    )
    count = 40
    with Application(stack.otlp_grpc, "sampled") as app:
        inner = Scripted()
        guard = app.instrument(inner)

        def check(session: str, answer: Any) -> None:
            inner.answer = answer
            guard.check_before_llm(session, 10)

        for number in range(count):
            for _ in range(2):
                check(f"late-{number}", None)
                check(f"quiet-{number}", None)
                check(f"in-time-{number}", None)
            check(f"in-time-{number}", soft() if number % 2 else deny())
        app.flush()
        time.sleep(5)  # by now, every trace has been decided on
        for number in range(count):
            check(f"late-{number}", deny() if number % 2 else soft())
        app.flush()

        hits = Counter({f"late-{n}": 1 for n in range(count)})
        hits.update(f"in-time-{n}" for n in range(count))

        def found_hits() -> Counter[str]:
            return Counter(
                span["tags"][semconv.SESSION_ID]
                for decision in (semconv.DENY, semconv.SOFT_LIMIT)
                for span in probes.spans(stack.jaeger, "sampled", budget__decision=decision)
            )

        assert probes.eventually(found_hits, lambda found: found == hits) == hits
        time.sleep(3)  # by now, a second copy would have arrived
        assert found_hits() == hits

        spans = Counter(
            span["tags"][semconv.SESSION_ID] for span in probes.spans(stack.jaeger, "sampled")
        )
        assert probes.sent_spans(stack.collector_metrics) == spans.total()
        root_and_two_checks = 3
        assert all(spans[f"in-time-{n}"] == root_and_two_checks + 1 for n in range(count))
        quiet = Counter(spans[f"quiet-{n}"] for n in range(count))
        assert set(quiet) == {
            0,
            root_and_two_checks,
        }  # completely or not at all, and some of each kind
        late = Counter(spans[f"late-{n}"] for n in range(count))
        assert set(late) == {1, root_and_two_checks + 1}


def test_without_the_token_nothing_gets_in_and_the_client_reports_it(
    start_stack: StartStack, caplog: pytest.LogCaptureFixture
) -> None:
    stack = start_stack(overlays=["auth"], environment={"OTELCOL_TOKEN": "secret"})
    for service, headers in (("no-token", None), ("wrong", {"authorization": "Bearer guess"})):
        with (
            caplog.at_level(logging.WARNING),
            Application(stack.otlp_grpc, service, headers=headers) as app,
        ):
            a_bit_of_everything(app)
    assert "UNAUTHENTICATED" in caplog.text
    by_http = urllib.request.Request(
        f"{stack.otlp_http}/v1/traces", data=b"", headers={"Content-Type": "application/x-protobuf"}
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(by_http, timeout=5)
    with Application(stack.otlp_grpc, "token", headers={"authorization": "Bearer secret"}) as app:
        a_bit_of_everything(app)
    jobs = "count by (job) (budget_decisions_total)"
    rows = probes.eventually(lambda: probes.query(stack.prometheus, jobs))
    assert [labels for labels, _ in rows] == [{"job": "token"}]
    assert probes.eventually(lambda: probes.spans(stack.jaeger, "token"))
    assert probes.get_json(f"{stack.jaeger}/api/services")["data"] == ["token"]
    services = {
        event["resource"]["service.name"] for event in probes.audit_events(stack.audit_file)
    }
    assert services == {"token"}


def test_gateways_see_whole_traces(start_stack: StartStack) -> None:
    sampling = {"OTELCOL_DECISION_WAIT": "2s", "OTELCOL_SAMPLING_PERCENT": "0"}
    stack = start_stack(overlays=["tail-sampling"], environment=sampling)
    second = stack.add_collector("second", overlays=["tail-sampling"], environment=sampling)
    gateways = [gateway.addresses["OTELCOL_OTLP_GRPC"] for gateway in (stack, second)]
    beside = stack.add_collector(
        "beside",
        overlays=["gateway"],
        environment={"OTELCOL_GATEWAYS": json.dumps(gateways), "OTELCOL_GATEWAY": gateways[0]},
    )
    count = 30
    with Application(beside.otlp_grpc, "by-gateway") as app:
        inner = Scripted()
        guard = app.instrument(inner)
        for inner.answer in (None, None, deny()):
            for number in range(count):
                guard.check_before_llm(f"session-{number}", 10)
            app.flush()  # the spans of one trace come in several requests

        # If a trace is split, a gateway that sees no denial keeps nothing of it.
        whole = {f"session-{number}": 4 for number in range(count)}

        def found(prefix: str = "session") -> dict[str, int]:
            spans = probes.spans(stack.jaeger, "by-gateway")
            sessions = Counter(span["tags"][semconv.SESSION_ID] for span in spans)
            return {session: n for session, n in sessions.items() if session.startswith(prefix)}

        assert probes.eventually(found, lambda spans: spans == whole) == whole
        for gateway in (stack, second):
            accepted = _collector_metric(gateway, "otelcol_receiver_accepted_spans_total")
            assert accepted > 0

        total = 'sum(budget_decisions_total{job="by-gateway"})'
        decisions = probes.eventually(lambda: probes.total(stack.prometheus, total))
        assert decisions == 3 * count
        assert len(probes.audit_events(stack.audit_file)) == count
        assert not beside.audit_file.exists()

        # What belongs to a dead gateway waits for it, even if the Collector before it dies, too.
        stack.kill("second")
        for number in range(count):
            guard.check_before_llm(f"waiting-{number}", 10)
        app.flush()
        stack.kill("beside")
        stack.launch("beside")
        stack.launch("second")
        waited = {f"waiting-{number}": 2 for number in range(count)}
        arrived = probes.eventually(lambda: found("waiting"), lambda spans: spans == waited)
        assert arrived == waited


def _collector_metric(stack: Stack, name: str) -> float:
    with urllib.request.urlopen(stack.collector_metrics, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def log_store(received: list[str], port: int = 0) -> Iterator[int]:
    """A stand-in for a log store: accepts OTLP over HTTP at /otlp/v1/logs, as Loki does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/otlp/v1/logs"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            request = ExportLogsServiceRequest.FromString(body)
            received.extend(
                record.event_name
                for resource in request.resource_logs
                for scope in resource.scope_logs
                for record in scope.log_records
            )
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_threshold_events_also_go_to_a_log_store_once_it_is_there(
    start_stack: StartStack,
) -> None:
    received: list[str] = []
    with log_store(received) as port:
        pass  # the port is known, but nothing listens
    stack = start_stack(
        overlays=["logs-otlp"],
        programs=["otelcol"],
        environment={"LOGS_OTLP_URL": f"http://127.0.0.1:{port}/otlp"},
    )
    with Application(stack.otlp_grpc, "logs") as app:
        inner = Scripted()
        inner.answer = deny()
        app.instrument(inner).check_before_llm("s", 10)
        app.logger_provider.get_logger("other").emit(body="chatter", event_name="other")
        app.logger_provider.force_flush()
        assert len(probes.eventually(lambda: probes.audit_events(stack.audit_file))) == 1
    with log_store(received, port):
        probes.eventually(lambda: received)
    assert received == [semconv.LOG_EVENT_THRESHOLD_HIT]


def test_all_overlays_of_one_collector_work_together(start_stack: StartStack) -> None:
    # Of these, one is for other Collectors and one for another store.
    others = {"gateway", "distributed-store"}
    names = {file.stem for file in (FOLDER / "overlays").glob("*.yaml")} - others
    received: list[str] = []
    with log_store(received) as port:
        stack = start_stack(
            overlays=sorted(names),
            interval=1,
            environment={
                "OTELCOL_TOKEN": "secret",
                "OTELCOL_DECISION_WAIT": "1s",
                "OTELCOL_SAMPLING_PERCENT": "0",
                "LOGS_OTLP_URL": f"http://127.0.0.1:{port}/otlp",
            },
        )
        headers = {"authorization": "Bearer secret"}
        with Application(stack.otlp_grpc, "together", headers=headers) as app:
            a_bit_of_everything(app)
        hashed = hashlib.sha256(b"s").hexdigest()
        spans = probes.eventually(
            lambda: probes.spans(stack.jaeger, "together"), lambda found: len(found) == 7
        )
        assert Counter(span["tags"].get(semconv.DECISION) for span in spans) == {
            "allow": 1, "soft_limit": 1, "deny": 1, "malformed": 2, None: 2,
        }  # fmt: skip
        assert {span["tags"][semconv.SESSION_ID] for span in spans} == {hashed}
        assert messages(spans) == ["redacted", "redacted"]
        assert probes.eventually(lambda: len(received), lambda n: n == 2) == 2
        assert len(probes.audit_events(stack.audit_file)) == 2
        decisions = 'sum(budget_decisions_total{job="together"})'
        assert probes.eventually(lambda: probes.total(stack.prometheus, decisions)) == 5
