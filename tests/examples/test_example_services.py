"""The examples of services: a request's tenant and span, and the totals of a forked pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otel_budget.testing import capture_telemetry
from support.otlp_receiver import receiver
from support.paths import ROOT
from support.ports import free_port
from support.processes import start_interruptible


async def test_fastapi_guard_spans_are_children_of_the_requests_span_and_know_its_tenant() -> None:
    from examples import fastapi_service

    served = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(served))
    with capture_telemetry() as telemetry:
        transport = httpx.ASGITransport(fastapi_service.create_app(provider))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = [
                await client.post("/chat", json={"question": "Hello"}, headers={"x-tenant": tenant})
                for tenant in ("acme", "acme", "globex", "acme")
            ]
    provider.shutdown()

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "Tenant acme used 0.0090 of 0.0090 USD this hour" in answers[3].json()["error"]
    servers = {
        span.context.span_id: span
        for span in served.get_finished_spans()
        if span.kind is SpanKind.SERVER and span.context
    }
    assert len(servers) == 4
    parents: Counter[int] = Counter()
    for span in telemetry.spans:
        assert span.name != "budget.session", "the request's trace is the session's"
        assert span.parent is not None
        assert span.context is not None
        server = servers[span.parent.span_id]
        assert server.context is not None
        assert span.context.trace_id == server.context.trace_id
        parents[span.parent.span_id] += 1
    assert sorted(parents.values()) == [1, 2, 2, 2], "a check and a record; the refusal a check"
    for tenant, allowed in (("acme", 2), ("globex", 1)):
        assert telemetry.value("budget.calls", tenant=tenant, agent="chat") == allowed
    assert telemetry.value("budget.decisions", tenant="acme", decision="deny") == 1


@pytest.mark.timeout(180)
def test_fastapi_as_a_server_sends_one_trace_per_request() -> None:
    port = free_port()
    with receiver() as backend:
        server = start_interruptible(
            [
                *(sys.executable, "-m", "uvicorn", "--app-dir", "examples"),
                *("--port", str(port), "--log-level", "warning", "fastapi_service:app"),
            ],
            cwd=ROOT,
            env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url},
        )
        try:
            answer = _post(f"http://127.0.0.1:{port}/chat")
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
        spans = {span.name: span for span in backend.spans()}
    assert answer.json() == {"answer": "You asked: Hello"}
    request = spans["POST /chat"]
    for name in ("budget.check_before_llm", "budget.record_after_llm"):
        assert spans[name].parent_span_id == request.span_id
        assert spans[name].trace_id == request.trace_id
    assert "budget.session" not in spans


def _post(url: str) -> httpx.Response:
    for _ in range(600):
        try:
            return httpx.post(url, json={"question": "Hello"}, headers={"x-tenant": "acme"})
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


@pytest.mark.timeout(180)
def test_a_forked_pool_has_exact_totals_whichever_worker_did_what() -> None:
    with receiver() as backend:
        done = subprocess.run(
            [sys.executable, "examples/worker_pool.py"],
            cwd=ROOT,
            env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "90 of 101 calls made, 90,000 of 90,000 tokens used" in done.stdout
        # Counters are cumulative: the last value of each series of each process.
        calls, decisions = _last(backend, "budget.calls"), _last(backend, "budget.decisions")
        spans = Counter(span.name for span in backend.spans())
    # Workers take tasks as they come: a worker may get none.
    assert 2 <= len(decisions) <= 5, "the parent and its workers, each an instance of its own"
    assert sum(map(sum, calls.values())) == 90
    assert sum(map(sum, decisions.values())) == 101
    assert spans["budget.check_before_llm"] == 101
    assert spans["budget.record_after_llm"] == 90


def _last(backend: Any, name: str) -> dict[str, list[float]]:
    last: dict[str, dict[Any, float]] = {}
    for request in backend.received:
        for resource_metrics in getattr(request, "resource_metrics", ()):
            instance = {p.key: p.value.string_value for p in resource_metrics.resource.attributes}[
                "service.instance.id"
            ]
            for scope in resource_metrics.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.sum.data_points if metric.name == name else ():
                        key = tuple(sorted((p.key, p.value.string_value) for p in point.attributes))
                        last.setdefault(instance, {})[key] = point.as_int or point.as_double
    return {instance: list(series.values()) for instance, series in last.items()}
