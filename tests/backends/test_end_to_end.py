"""The base configuration on the real programs: what is sent arrives completely and once."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.stack import Stack
from otel_budget import BudgetGate, BudgetLevel, semconv
from otel_budget.metric import Metric, prometheus_label
from otel_budget.telemetry.hubs import poll_levels
from support import probes
from support.applications import DELTA, Application, Scripted, deny, soft

pytestmark = pytest.mark.backend


class Levels(Scripted):
    def budget_levels(self) -> Iterable[BudgetLevel]:
        return [
            BudgetLevel(
                "usd", 4.0, 10.0, window="day", window_length=86400, window_remaining=100,
                tenant="acme", agent="coder", reserved=0.5, reserved_age=3.0, shared=True,
                uncounted_calls=0,
            )
        ]  # fmt: skip


def test_every_row_of_the_schema_is_in_prometheus(stack: Stack) -> None:
    """Names, units and attributes are those of `semconv`, whatever they are."""
    with Application(stack.otlp_grpc, "schema") as app:
        inner = Levels()
        guard = app.instrument(inner)
        overflowing = app.instrument(Scripted(), max_label_sets=1)
        for answer in (None, soft(), deny(), "nonsense", ValueError("broken")):
            inner.answer = answer
            try:
                guard.check_before_llm("s", 10)
            except ValueError:
                assert answer is inner.answer
        inner.answer = deny()
        guard.check_before_tool("s", "search")
        guard.record_after_llm("s", {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
        guard.record_after_llm("s", "unreadable")
        overflowing.check_before_llm("s", 1)
        for number in range(2_000):  # beyond every cap on distinct values
            guard.check_before_tool("s", f"tool {number}")
        failing = app.instrument(Scripted(), session_info=lambda _: 1 / 0)
        failing.check_before_llm("s", 1)
        inner.answer = None
        with BudgetGate(guard).llm_call("s", 10):
            pass  # a model call that reports no usage
        poll_levels()
        app.flush()

        missing = {}
        for metric in semconv.METRICS:
            name = metric.prometheus_name() + ("_count" if metric.kind == "histogram" else "")
            rows = probes.eventually(
                lambda name=name: probes.query(stack.prometheus, f'{name}{{job="schema"}}')
            )
            labels = {label for row, _ in rows for label in row} - {
                "__name__", "job", "instance",
            }  # fmt: skip
            expected = set(metric.attributes) | (
                {semconv.TENANT, semconv.AGENT} if metric.labelled else set()
            )
            allowed = {prometheus_label(attribute) for attribute in expected}
            if not rows or not labels <= allowed:
                missing[name] = labels - allowed
        assert missing == {}


@pytest.mark.parametrize("temporality", [None, DELTA], ids=["cumulative", "delta"])
def test_counters_add_up_over_several_exports(stack: Stack, temporality: object) -> None:
    service = f"adds-up-{'delta' if temporality else 'cumulative'}"
    with Application(stack.otlp_grpc, service, temporality=temporality) as app:
        guard = app.instrument(Scripted())
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        for _ in range(3):
            for _ in range(7):
                guard.check_before_llm("s", 100)
                guard.record_after_llm("s", usage)
            app.flush()
            time.sleep(0.01)

        def total(metric: Metric, suffix: str = "") -> float | None:
            name = metric.prometheus_name() + suffix
            return probes.total(stack.prometheus, f'{name}{{job="{service}"}}')

        decisions = probes.eventually(
            lambda: total(semconv.METRIC_DECISIONS), lambda value: value == 21
        )
        assert decisions == 21
        assert total(semconv.METRIC_TOKENS) == 21 * 110
        assert total(semconv.METRIC_COST) == pytest.approx(21 * (300e-6 + 150e-6), abs=1e-9)
        assert total(semconv.METRIC_GUARD_DURATION, "_count") == 42


def test_a_denial_is_in_jaeger_with_its_event_and_in_the_audit_file(stack: Stack) -> None:
    with Application(stack.otlp_grpc, "denials") as app:
        inner = Scripted()
        guard = app.instrument(inner)
        inner.answer = deny("monthly budget spent")
        guard.check_before_llm("session-42", 10)
        # Other logs do not belong in the audit file.
        app.logger_provider.get_logger("other").emit(
            body="chatter", severity_number=SeverityNumber.ERROR, event_name="other.event"
        )
        app.flush()

        found = probes.eventually(
            lambda: probes.spans(
                stack.jaeger, "denials", budget__decision="deny", session__id="session-42"
            )
        )
        assert [span["operationName"] for span in found] == [semconv.SPAN_CHECK_BEFORE_LLM]
        (log,) = found[0]["logs"]
        event = {field["key"]: field["value"] for field in log["fields"]}
        assert event["event"] == semconv.SPAN_EVENT_THRESHOLD_HIT
        assert event[semconv.MESSAGE] == "monthly budget spent"

        def audited() -> list[dict[str, object]]:
            events = probes.audit_events(stack.audit_file)
            return [event for event in events if event["resource"]["service.name"] == "denials"]

        records = probes.eventually(audited)
        assert [record["eventName"] for record in records] == [semconv.LOG_EVENT_THRESHOLD_HIT]
        assert records[0]["attributes"][semconv.SESSION_ID] == "session-42"
        assert records[0]["attributes"][semconv.MESSAGE] == "monthly budget spent"
        assert records[0]["traceId"] == found[0]["traceID"]
        assert records[0]["spanId"] == found[0]["spanID"]


def test_the_collectors_own_metrics_reach_prometheus(stack: Stack) -> None:
    """Under the names that the shipped alert rules use."""
    for name in (
        "otelcol_exporter_queue_size",
        "otelcol_exporter_queue_capacity",
        "otelcol_receiver_accepted_spans_total",
        "otelcol_exporter_sent_metric_points_total",
    ):
        rows = probes.eventually(
            lambda name=name: probes.query(stack.prometheus, f'{name}{{job="otelcol"}}'),
            timeout=45,
        )
        assert rows, name
    programs = {"prometheus", "otelcol", "jaeger", "alertmanager"}

    def up() -> set[str]:
        return {labels["job"] for labels, _ in probes.query(stack.prometheus, "up == 1")}

    assert probes.eventually(up, lambda found: found == programs) == programs


def test_exemplars_lead_from_the_histogram_to_the_trace(stack: Stack) -> None:
    with Application(stack.otlp_grpc, "exemplars") as app:
        guard = app.instrument(Scripted())
        with app.tracer_provider.get_tracer("host").start_as_current_span("turn") as span:
            guard.check_before_llm("s", 10)
        app.flush()
        name = semconv.METRIC_GUARD_DURATION.prometheus_name() + "_bucket"
        now = time.time()
        parameters = {
            "query": f'{name}{{job="exemplars"}}', "start": f"{now - 60}", "end": f"{now + 60}",
        }  # fmt: skip
        answer = probes.eventually(
            lambda: probes.get_json(f"{stack.prometheus}/api/v1/query_exemplars", parameters)[
                "data"
            ]
        )
        traces = {exemplar["labels"]["trace_id"] for row in answer for exemplar in row["exemplars"]}
        assert traces == {f"{span.get_span_context().trace_id:032x}"}


HOUR = 3600 * 10**9


def push(stack: Stack, **ages: int) -> int:
    """Send Prometheus a point of each name, as many nanoseconds old, in a single request."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "ages"
    scope = resource.scope_metrics.add()
    for name, age in ages.items():
        point = scope.metrics.add(name=name).gauge.data_points.add()
        point.as_double = 1.0
        point.time_unix_nano = time.time_ns() - age
    return probes.ask(
        f"{stack.prometheus}/api/v1/otlp/v1/metrics",
        data=request.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
    ).status


def test_prometheus_accepts_what_waited_for_half_a_day(stack: Stack) -> None:
    """This is how long its outage may last without a gap, and why metrics are not batched."""
    assert push(stack, fresh=0) == 200
    assert push(stack, waited=11 * HOUR) == 200
    assert probes.query(stack.prometheus, 'last_over_time(waited{job="ages"}[12h])')
    # If one point is too old, the whole request is refused.
    assert push(stack, innocent=0, too_old=13 * HOUR) == 400
    assert not probes.query(stack.prometheus, '{__name__=~"innocent|too_old"}')


def test_nothing_listens_beyond_loopback(stack: Stack) -> None:
    sockets = _listening_sockets({service.process.pid for service in stack._services.values()})
    assert len(sockets) >= len(stack.addresses) - 1  # all but the scrape overlay's
    assert {host for host, _ in sockets} == {"127.0.0.1"}


def _listening_sockets(pids: set[int]) -> set[tuple[str, int]]:
    """Host and port of every TCP socket on which these processes listen."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != "0A" or fields[9] not in inodes:
                continue
            host, port = fields[1].split(":")
            if table == "tcp":
                host = socket.inet_ntoa(struct.pack("<I", int(host, 16)))
            found.add((host, int(port, 16)))
    return found
