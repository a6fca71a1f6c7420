"""The overlay `redaction`: of what is sent, only what is listed is stored in clear."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from collector.stack import FOLDER, Stack
from otel_budget import SessionInfo, semconv
from support import probes
from support.applications import Application, Scripted, deny

#: What identifies a person or can be any text; every other name of `semconv` passes in clear.
PRIVATE = {
    semconv.SESSION_ID, semconv.PRINCIPAL, semconv.CORRELATION_ID, semconv.TOOL_NAME,
    semconv.MESSAGE, semconv.EXCEPTION_MESSAGE, semconv.EXCEPTION_STACKTRACE,
}  # fmt: skip


def test_the_list_has_every_attribute_of_ours_but_the_private_ones() -> None:
    overlay = yaml.safe_load((FOLDER / "overlays" / "redaction.yaml").read_text())
    groups = overlay["processors"]["transform/redact"]["trace_statements"]
    clear = set(re.findall(r'"([\w.]+)"', groups[0]["statements"][1])) - {"clear"}
    names = {
        value
        for name, value in vars(semconv).items()
        if name.isupper() and isinstance(value, str) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", value)
    }
    ours = names - {v for n, v in vars(semconv).items() if n.startswith(("SPAN_", "LOG_EVENT_"))}
    assert clear >= ours - PRIVATE
    assert not clear & PRIVATE


#: Attributes of links pass through the Collector's queue; no store keeps them.
LINK = "link"


class Secrets:
    """Texts that must not be stored, each of them its own."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._numbers = itertools.count(70001)

    def text(self, what: str) -> str:
        self.sent.append(f"{what}-{next(self._numbers)}")
        return self.sent[-1]

    def number(self) -> int:
        number = next(self._numbers) * 10**9 + 123456789
        self.sent.append(str(number))
        return number


def send(stack: Stack, secrets: Secrets, session: str) -> None:
    """Send a secret in every place that a guard or its host can write to."""
    secret = secrets.text
    resource = {
        "session.id": secret("resource-session"), semconv.PRINCIPAL: secret("resource-principal"),
        "process.command_line": secret("command"),
    }  # fmt: skip
    with Application(stack.otlp_grpc, "private", attributes=resource) as app:
        guarded(app, secrets, session)
        host(app, secrets)
        app.flush()
        exemplar(stack, app, secrets)


def guarded(app: Application, secrets: Secrets, session: str) -> None:
    secret = secrets.text
    info = SessionInfo(
        tenant="acme", agent="coder", principal=secret("principal"),
        correlation_id=secret("correlation"), model="test-model", provider="openai",
    )  # fmt: skip
    inner = Scripted()
    guard = app.instrument(inner, session_info=info, metric_labels=("tenant", "principal"))
    inner.answer = deny(secret("message"))
    guard.check_before_llm(session, 10)
    guard.check_before_tool(session, secret("tool"))
    inner.answer = RuntimeError(secret("exception"))
    with pytest.raises(RuntimeError):
        guard.check_before_llm(session, 10)


def host(app: Application, secrets: Secrets) -> None:
    secret = secrets.text
    parent = SpanContext(
        1,
        2,
        is_remote=True,
        trace_flags=TraceFlags(1),
        trace_state=TraceState([("v", secret("state"))]),
    )
    link = Link(SpanContext(3, 4, is_remote=True), {"user.id": secret(LINK)})
    tracer = app.tracer_provider.get_tracer("host", attributes={"owner": secret("scope")})
    attributes: dict[str, Any] = {
        "user.id": secret("user"), "enduser.id": secrets.number(),
        "gen_ai.prompt": secret("prompt"),
        "tags": [secret("first"), secret("second")], "http.route": "/turns/{id}",
    }  # fmt: skip
    within = set_span_in_context(NonRecordingSpan(parent), Context())
    with tracer.start_as_current_span(
        "turn", within, attributes=attributes, links=[link], record_exception=False
    ) as span:
        span.add_event("said", {"text": secret("event"), "user.id": secrets.number()})
        span.record_exception(ValueError(secret("raised")))
        span.set_status(Status(StatusCode.ERROR, secret("status")))
    meter = app.meter_provider.get_meter("host", attributes={"owner": secret("meter-scope")})
    meter.create_counter("host.turns").add(
        1, {"user.id": secret("label"), "shard": secrets.number()}
    )
    app.logger_provider.get_logger("host", attributes={"owner": secret("logger")}).emit(
        event_name=semconv.LOG_EVENT_THRESHOLD_HIT,
        body={"text": secret("body")},
        attributes={"enduser.id": secret("log"), "parts": [secret("part"), {"x": secret("deep")}]},
    )


def exemplar(stack: Stack, app: Application, secrets: Secrets) -> None:
    """Send an exemplar with the attribute that a view has taken from its metric."""
    exporter = OTLPMetricExporter(endpoint=stack.otlp_grpc, insecure=True)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter)],
        views=[View(instrument_name="host.seconds", attribute_keys=set())],
    )
    with app.tracer_provider.get_tracer("host").start_as_current_span("measured"):
        seconds = provider.get_meter("host").create_histogram("host.seconds")
        seconds.record(1.0, {"user.id": secrets.text("exemplar")})
    provider.shutdown()


def written(file: Path) -> str:
    """What is in a file but its holes: Jaeger's has two gigabytes of them."""
    parts, at = [], 0
    with file.open("rb") as opened, suppress(OSError):  # raised behind the last data
        while True:
            at = os.lseek(opened.fileno(), at, os.SEEK_DATA)
            end = os.lseek(opened.fileno(), at, os.SEEK_HOLE)
            parts.append(os.pread(opened.fileno(), end - at, at))
            at = end
    return b"".join(parts).decode(errors="replace")


def stored(stack: Stack) -> Iterator[tuple[str, str]]:
    """Everything that is kept, as its program tells it and as it is on disk."""
    for file in sorted(stack.directory.rglob("*")):
        if file.is_file() and file.parts[len(stack.directory.parts)] != "logs":
            yield str(file.relative_to(stack.directory)), written(file)
    series = probes.query(stack.prometheus, '{__name__=~".+"}')
    yield "series of Prometheus", json.dumps(series)
    exemplars = probes.get_json(
        f"{stack.prometheus}/api/v1/query_exemplars", {"query": '{__name__=~".+"}'}
    )
    yield "exemplars of Prometheus", json.dumps(exemplars)
    yield "traces of Jaeger", json.dumps(probes.traces(stack.jaeger, "private", {}))


@pytest.mark.backend
def test_no_secret_is_stored(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack(overlays=["redaction"], environment={"OTELCOL_REDACTION_SALT": "pepper"})
    secrets = Secrets()
    session = secrets.text("session")
    send(stack, secrets, session)
    hashed = hashlib.sha256(f"pepper{session}".encode()).hexdigest()
    found = probes.eventually(
        lambda: probes.spans(stack.jaeger, "private"), lambda spans: len(spans) == 6
    )
    events = probes.eventually(
        lambda: probes.audit_events(stack.audit_file), lambda events: len(events) == 3
    )
    rows = probes.eventually(
        lambda: probes.query(
            stack.prometheus, '{__name__=~"budget_decisions_total|host_turns_total"}'
        ),
        lambda rows: len({labels["__name__"] for labels, _ in rows}) == 2,
    )
    # What is left can be followed and counted.
    ours = [span for span in found if span["operationName"].startswith("budget.")]
    (turn,) = [span for span in found if span["operationName"] == "turn"]
    assert {span["tags"][semconv.SESSION_ID] for span in ours} == {hashed}
    assert {event["attributes"].get(semconv.SESSION_ID) for event in events} == {hashed, None}
    assert {event["attributes"].get(semconv.MESSAGE) for event in events} == {"redacted", None}
    assert {labels.get("budget_tenant") for labels, _ in rows} == {"acme", None}
    assert turn["tags"]["http.route"] == "/turns/{id}"
    assert len({span["tags"][semconv.CORRELATION_ID] for span in ours}) == 1

    exemplars = probes.eventually(
        lambda: probes.get_json(
            f"{stack.prometheus}/api/v1/query_exemplars", {"query": "host_seconds_bucket"}
        )["data"]
    )
    assert exemplars[0]["exemplars"][0]["labels"].keys() >= {"trace_id", "span_id"}

    # The search finds what may be there, in each of the three stores and in what they tell.
    kept = dict(stored(stack))
    holding = {place.partition("/")[0] for place, content in kept.items() if "acme" in content}
    assert holding >= {
        "jaeger", "prometheus-data", "audit", "series of Prometheus",
        "traces of Jaeger",
    }  # fmt: skip
    leaks = {
        (place, text)
        for place, content in kept.items()
        for text in secrets.sent
        if text in content and not (place.startswith("queue") and text.startswith(LINK))
    }
    assert leaks == set()
