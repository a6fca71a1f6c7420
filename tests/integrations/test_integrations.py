"""The table: each way to use an integration, and what may become of a call."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from adapters import ADAPTERS, Adapter, Call
from otel_budget import (
    Allow,
    BudgetExhausted,
    BudgetGate,
    Deny,
    GenAIPrices,
    SessionInfo,
    SoftLimit,
    SyncBudgetGuard,
    call_info,
)
from support.model_server import ANSWER, COMPLETION, PROMPT, ModelServer
from support.session_traces import SessionTraces

PRICES = GenAIPrices()
SOFT = SoftLimit(resource="llm_cost_usd", consumed=4.0, limit=5.0)
DENIED = Deny(resource="llm_cost_usd", reason="spent")
FORBIDDEN = Deny(resource="tools", reason="no shell")
USAGE = {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION}


class ReservingGuard(SyncBudgetGuard):
    """Answers every model call alike, forbids the tool ``shell``, and counts its reservations."""

    def __init__(self, decision: Any = None) -> None:
        self.decision = decision or Allow()
        self.reserved: Counter[str] = Counter()
        self.recorded: list[tuple[str, Any]] = []
        self.estimates: list[int] = []
        self._lock = threading.Lock()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        with self._lock:
            self.estimates.append(estimated_prompt_tokens)
            if not isinstance(self.decision, Deny):
                self.reserved[session_id] += 1
        return self.decision

    def record_after_llm(self, session_id: str, usage: Any) -> None:
        with self._lock:
            self.reserved[session_id] -= 1
            self.recorded.append((session_id, usage))

    def release_llm(self, session_id: str) -> None:
        with self._lock:
            self.reserved[session_id] -= 1

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return FORBIDDEN if tool_name == "shell" else Allow()


class Host:
    """A guard behind a gate, what it reports, and the model server."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, server: ModelServer) -> None:
        self.traces = SessionTraces(monkeypatch)
        self.backend = self.traces.backend
        self.server = server
        self.guard = ReservingGuard()
        instrumented = self.traces.guard(
            self.guard, session_info=SessionInfo(agent="bot"), prices=PRICES
        )
        self.gate = BudgetGate(instrumented)

    def call(self, adapter: Adapter, prompt: str = "Hello", **options: Any) -> Call:
        return Call(self.gate, self.server.url, prompt, **options)

    def calls(self, **attributes: str) -> float:
        return self.backend.value("budget.calls", **attributes)

    def decisions(self, point: str = "llm") -> dict[str, float]:
        counted: Counter[str] = Counter()
        for attributes, value in self.backend.series("budget.decisions"):
            if attributes["budget.decision_point"] == point:
                counted[attributes["budget.decision"]] += value
        return {word: value for word, value in counted.items() if value}

    async def nothing_is_reserved(self) -> bool:
        """Whether all reservations end; a stream that was left is told of by another thread."""
        for _ in range(200):
            if not any(self.guard.reserved.values()):
                return True
            gc.collect()
            await asyncio.sleep(0.01)
        return False


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, server: ModelServer) -> Iterator[Host]:
    OpenAIInstrumentor().instrument()
    host = Host(monkeypatch, server)
    try:
        yield host
    finally:
        OpenAIInstrumentor().uninstrument()
        host.backend.shutdown()
    assert host.backend.value("budget.telemetry.errors") == 0


def cases(**wanted: bool) -> Any:
    chosen = [a for a in ADAPTERS if all(getattr(a, name) == v for name, v in wanted.items())]
    return pytest.mark.parametrize("adapter", chosen, ids=str)


@cases()
async def test_an_allowed_call_is_answered_recorded_priced_and_traced(
    host: Host, adapter: Adapter
) -> None:
    model = adapter.models[0]
    with call_info(tenant="acme"):
        assert await adapter(host.call(adapter)) == ANSWER
    assert host.server.models == [model]
    assert host.decisions() == {"allow": 1}
    about = {"budget__tenant": "acme", "gen_ai__request__model": model}
    assert host.calls(**about) == 1
    assert host.backend.value("budget.tokens", **about) == PROMPT + COMPLETION
    assert host.backend.value("budget.cost", **about) == pytest.approx(price(model))
    assert [session for session, _ in host.guard.recorded] == ["s1"]
    assert 0 < host.guard.estimates[0] < 200
    assert await host.nothing_is_reserved()
    # The session's spans and the model's own stand in one trace.
    names = [span.name for span in host.traces.spans]
    assert names[0] == "budget.session"
    assert {*names} >= {"budget.check_before_llm", "budget.record_after_llm"}
    assert any(name.startswith("chat ") for name in names) == adapter.has_spans, names
    assert len({span.context.trace_id for span in host.traces.spans if span.context}) == 1


def price(model: str) -> float:
    from otel_budget import BillableCall

    provider = "anthropic" if "claude" in model else "openai"
    cost = PRICES.cost_usd(BillableCall(model, provider, PROMPT, COMPLETION, 0, 0))
    assert cost
    return cost


@cases()
async def test_a_soft_limit_swaps_to_the_cheaper_model_and_its_price(
    host: Host, adapter: Adapter
) -> None:
    host.guard.decision = SOFT
    cheaper = adapter.models[1]
    assert await adapter(host.call(adapter, cheaper=cheaper)) == ANSWER
    assert host.server.models == [cheaper]
    assert host.decisions() == {"soft_limit": 1}
    assert host.backend.value("budget.cost") == pytest.approx(price(cheaper))
    assert host.calls(gen_ai__request__model=cheaper) == 1


@cases()
async def test_a_denied_call_is_not_made(host: Host, adapter: Adapter) -> None:
    host.guard.decision = DENIED
    with pytest.raises(BudgetExhausted, match="spent"):
        await adapter(host.call(adapter))
    assert host.server.requests == []
    assert host.decisions() == {"deny": 1}
    assert host.calls() == 0


@cases()
async def test_a_failed_call_records_nothing_and_releases_its_reservation(
    host: Host, adapter: Adapter
) -> None:
    with pytest.raises(Exception, match="out of order") as caught:
        await adapter(host.call(adapter, "fail"))
    assert not isinstance(caught.value, BudgetExhausted)
    assert host.decisions() == {"allow": 1}
    assert host.calls() == 0
    assert await host.nothing_is_reserved()


@cases(may_lack_usage=True)
async def test_a_call_without_usage_is_answered_and_counted_as_such(
    host: Host, adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "otel_budget"):
        assert await adapter(host.call(adapter, "silent")) == ANSWER
    assert host.calls() == 0
    assert host.backend.value("budget.calls_without_usage", budget__reason="not_reported") == 1
    assert "without call.usage" in caplog.text
    assert await host.nothing_is_reserved()


@cases(is_stream=True)
async def test_an_abandoned_stream_is_counted_and_releases_its_reservation(
    host: Host, adapter: Adapter
) -> None:
    assert await adapter(host.call(adapter, "endless", left=True)) == "left"
    assert await host.nothing_is_reserved()
    assert host.calls() == 0
    assert host.backend.value("budget.calls_without_usage", budget__reason="abandoned") == 1


@cases(runs_tools=True)
async def test_a_tool_runs_within_the_budget(host: Host, adapter: Adapter) -> None:
    assert ANSWER in await adapter(host.call(adapter, "search"))
    assert host.decisions("tool") == {"allow": 1}
    assert host.calls() == 2


@cases(runs_tools=True)
async def test_a_refused_tool_is_told_to_the_model_and_the_run_goes_on(
    host: Host, adapter: Adapter
) -> None:
    assert ANSWER in await adapter(host.call(adapter, "shell"))
    assert host.decisions("tool") == {"deny": 1}
    assert "no shell" in str(host.server.requests[1])
    assert host.calls() == 2


@cases()
async def test_two_at_once_are_two_sessions(host: Host, adapter: Adapter) -> None:
    asking = (adapter(host.call(adapter, session=session)) for session in ("s1", "s2"))
    assert await asyncio.gather(*asking) == [ANSWER, ANSWER]
    assert sorted(session for session, _ in host.guard.recorded) == ["s1", "s2"]
    for session in ("s1", "s2"):
        assert len(host.traces.roots(session)) == 1
    host.traces.check_own_spans()


@cases()
async def test_under_a_hosts_span_all_of_them_are_in_its_trace(
    host: Host, adapter: Adapter
) -> None:
    host.guard.decision = SOFT
    with host.traces.model("request") as request:
        await adapter(host.call(adapter))
    assert host.server.models == [adapter.models[0]], "without a cheaper model nothing changes"
    assert host.traces.roots() == []
    traces = {span.context.trace_id for span in host.traces.spans if span.context}
    assert traces == {request.get_span_context().trace_id}
