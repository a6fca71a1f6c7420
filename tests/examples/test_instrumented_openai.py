"""The real OpenAI client under a public instrumentation: its span between check and record."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from opentelemetry.context import get_current
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from otel_budget import BudgetGate
from support.session_traces import SessionTraces, unexpected_logs

USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
REQUEST: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}
STREAM: dict[str, Any] = {**REQUEST, "stream": True, "stream_options": {"include_usage": True}}


class FakeOpenAI(BaseHTTPRequestHandler):
    """Answers every request with one short completion, as JSON or as a stream."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        about = {"id": "c1", "created": 1, "model": request["model"]}
        self.send_response(200)
        if request.get("stream"):
            self.send_header("content-type", "text/event-stream")
            chunk = {**about, "object": "chat.completion.chunk"}
            delta = {"index": 0, "delta": {"role": "assistant", "content": "Hello"}}
            chunks = [
                {**chunk, "choices": [{**delta, "finish_reason": None}]},
                {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                {**chunk, "choices": [], "usage": USAGE},
            ]
            lines = [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]
            body = "".join(f"data: {line}\n\n" for line in lines).encode()
        else:
            self.send_header("content-type", "application/json")
            message = {"role": "assistant", "content": "Hello"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {**about, "object": "chat.completion", "choices": [choice], "usage": USAGE}
            body = json.dumps(answer).encode()
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Write nothing."""


@pytest.fixture
def server() -> Iterator[dict[str, Any]]:
    """How a client reaches the fake."""
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeOpenAI) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/v1"
            yield {"base_url": url, "api_key": "none", "max_retries": 0}
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def traces(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[SessionTraces]:
    caplog.set_level("WARNING")
    traces = SessionTraces(monkeypatch)
    OpenAIInstrumentor().instrument()
    try:
        yield traces
    finally:
        OpenAIInstrumentor().uninstrument()
        traces.backend.shutdown()
    assert unexpected_logs(caplog.get_records("call")) == []


def _one_trace(traces: SessionTraces) -> None:
    (root,) = traces.roots()
    check = traces.named("budget.check_before_llm")
    chat, record = traces.named("chat gpt-5-mini"), traces.named("budget.record_after_llm")
    assert {span.context.trace_id for span in traces.spans} == {root.context.trace_id}
    assert [span.parent.span_id for span in (check, chat, record)] == [root.context.span_id] * 3
    assert check.end_time <= chat.start_time
    assert chat.end_time <= record.start_time
    for span, prefix in ((chat, "gen_ai"), (record, "budget")):
        attributes = span.attributes or {}
        used = [attributes[f"{prefix}.usage.{which}_tokens"] for which in ("input", "output")]
        assert used == [12, 3]


def test_check_model_and_record_stand_in_one_trace(
    traces: SessionTraces, server: dict[str, Any]
) -> None:
    before = get_current()
    with OpenAI(**server) as client, traces.gate().llm_call("s1", 10) as call:
        call.usage(client.chat.completions.create(**REQUEST).usage)
    _one_trace(traces)
    assert get_current() is before


async def test_the_same_with_the_async_client(
    traces: SessionTraces, server: dict[str, Any]
) -> None:
    before = get_current()
    async with AsyncOpenAI(**server) as client, traces.gate().llm_call("s1", 10) as call:
        call.usage((await client.chat.completions.create(**REQUEST)).usage)
    _one_trace(traces)
    assert get_current() is before


async def _answer(gate: BudgetGate, server: dict[str, Any]) -> AsyncIterator[str]:
    async with AsyncOpenAI(**server) as client, gate.llm_call("s1", 10) as call:
        async for chunk in await client.chat.completions.create(**STREAM):
            call.usage(chunk.usage)
            for choice in chunk.choices:
                yield choice.delta.content or ""


async def test_the_same_with_a_stream(traces: SessionTraces, server: dict[str, Any]) -> None:
    before = get_current()
    assert "".join([part async for part in _answer(traces.gate(), server)]) == "Hello"
    _one_trace(traces)
    assert get_current() is before


def test_without_joining_the_models_span_stands_alone(
    traces: SessionTraces, server: dict[str, Any]
) -> None:
    with OpenAI(**server) as client, traces.gate(join=False).llm_call("s1", 10) as call:
        call.usage(client.chat.completions.create(**REQUEST).usage)
    assert traces.sessions("chat gpt-5-mini") == [None]
