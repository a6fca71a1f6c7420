"""Sampling where a gate's body joins its session: the model's spans follow the session's root."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from support.session_traces import USAGE, SessionTraces, context_unchanged


class ByName(Sampler):
    """Drops the spans with these names, and keeps the names that it was asked about."""

    def __init__(self, *dropped: str) -> None:
        self.dropped, self.asked = dropped, list[str]()

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *others: Any, **more: Any
    ) -> SamplingResult:
        self.asked.append(name)
        decides = ALWAYS_OFF if name in self.dropped else ALWAYS_ON
        return decides.should_sample(parent_context, trace_id, name, *others, **more)

    def get_description(self) -> str:
        return "ByName"


def call(traces: SessionTraces, session: str = "s1", **options: Any) -> None:
    with context_unchanged(), traces.gate(**options).llm_call(session, 1) as call:
        with traces.model():
            pass
        call.usage(USAGE)


@pytest.mark.parametrize(
    "sampler", [ParentBased(TraceIdRatioBased(0.0)), ALWAYS_OFF], ids=["ratio 0", "off"]
)
def test_nothing_is_sampled_past_the_hosts_sampler(
    monkeypatch: pytest.MonkeyPatch, sampler: Sampler
) -> None:
    traces = SessionTraces(monkeypatch, sampler)
    call(traces)
    assert traces.spans == []
    assert traces.backend.value("budget.calls") == 1
    traces.backend.shutdown()


def test_a_trace_is_sampled_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = SessionTraces(monkeypatch, ParentBased(TraceIdRatioBased(0.5)))
    for number in range(60):
        call(traces, f"s{number}")
    names: dict[int, list[str]] = {}
    for span in traces.spans:
        names.setdefault(span.context.trace_id, []).append(span.name)
    assert 5 < len(names) < 55
    whole = ["budget.session", "budget.check_before_llm", "chat", "budget.record_after_llm"]
    assert list(names.values()) == [whole] * len(names)
    traces.backend.shutdown()


def test_a_root_sampler_that_drops_roots_by_name_drops_the_models_spans_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_name = ByName("budget.session")
    traces = SessionTraces(monkeypatch, ParentBased(by_name))
    call(traces)
    assert traces.spans == []
    assert by_name.asked == ["budget.session"]
    call(traces, join=False)
    assert [span.name for span in traces.spans] == ["chat"]
    assert by_name.asked == ["budget.session", "chat"]
    traces.backend.shutdown()


def test_a_sampler_without_regard_to_parents_decides_on_each_span(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_name = ByName("budget.session", "budget.check_before_llm", "budget.record_after_llm")
    traces = SessionTraces(monkeypatch, by_name)
    call(traces)
    assert [span.name for span in traces.spans] == ["chat"]
    assert by_name.asked[1:] == ["budget.check_before_llm", "chat", "budget.record_after_llm"]
    traces.backend.shutdown()


def test_a_sampled_root_takes_the_models_spans_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = ByName("chat")
    traces = SessionTraces(monkeypatch, ParentBased(by_name, local_parent_sampled=ALWAYS_ON))
    call(traces)
    assert traces.sessions("chat") == ["s1"]
    assert by_name.asked == ["budget.session"]
    traces.backend.shutdown()
