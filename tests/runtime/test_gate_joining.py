"""A gate's body joins its session's trace (design 5): where, and what stands in which trace."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_budget import BudgetExhausted, BudgetGate
from otel_budget.runtime import joining
from support.backend import Backend
from support.gate_guards import make_call
from support.guards import Make, SyncScript
from support.session_traces import (
    ALLOW,
    USAGE,
    SessionTraces,
    context_unchanged,
    nothing_is_current,
)


# -- where it joins ------------------------------------------------------------------------
async def test_the_models_span_stands_between_check_and_record(
    traces: SessionTraces, make: Make
) -> None:
    gate = traces.gate(traces.guard(make.guard(make.allow)))
    with context_unchanged():
        async with gate.llm_call("s1", 1_000) as call:
            with traces.model():
                await asyncio.sleep(0)
            call.usage(make.usage())
    (root,) = traces.roots()
    check = traces.named("budget.check_before_llm")
    chat, record = traces.named("chat"), traces.named("budget.record_after_llm")
    assert {span.context.trace_id for span in traces.spans} == {root.context.trace_id}
    assert [span.parent.span_id for span in (check, chat, record)] == [root.context.span_id] * 3
    assert check.end_time <= chat.start_time
    assert chat.end_time <= record.start_time


@pytest.mark.parametrize("point", ["llm", "tool"])
def test_the_body_of_a_sync_call_joins(traces: SessionTraces, point: str) -> None:
    with context_unchanged(), make_call(traces.gate(), point), traces.model():
        pass
    assert traces.sessions("chat") == ["s1"]


def test_every_span_of_the_body_is_in_the_trace(traces: SessionTraces) -> None:
    with traces.gate().tool_call("s1", "t"):
        with traces.model("first"), traces.model("inside"):
            pass
        with traces.model("second"):
            pass
    (root,) = traces.roots()
    for name, parent in (("first", root), ("inside", traces.named("first")), ("second", root)):
        assert traces.named(name).parent.span_id == parent.context.span_id


def test_the_plain_methods_leave_the_context_alone(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged():
        gate.check_llm_sync("s1", 1)
        gate.record_llm_sync("s1", USAGE)


def test_a_provider_that_is_set_later_is_joined(
    traces: SessionTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    gate = traces.gate()
    with gate.tool_call("s1", "t"), traces.model("before"), context_unchanged():
        pass
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", traces.backend.tracer_provider)
    with gate.tool_call("s1", "t"), traces.model():
        pass
    assert traces.sessions("chat") == ["s1"]
    assert traces.sessions("before") == []


def test_the_global_provider_may_be_given_by_name(traces: SessionTraces) -> None:
    guard = traces.guard(tracer_provider=traces.backend.tracer_provider)
    with traces.gate(guard).tool_call("s1", "t"), traces.model():
        pass
    assert traces.sessions("chat") == ["s1"]


# -- where it does not ---------------------------------------------------------------------
def test_join_false_turns_it_off(traces: SessionTraces) -> None:
    with traces.gate(join=False).tool_call("s1", "t"), traces.model():
        pass
    assert traces.sessions("chat") == [None]
    assert traces.named("chat").parent is None
    with context_unchanged(), traces.gate(join=False).tool_call("s1", "t"), context_unchanged():
        pass


def test_a_guard_that_is_not_instrumented_joins_nothing(traces: SessionTraces) -> None:
    before = get_current()
    with BudgetGate(SyncScript(ALLOW)).tool_call("s1", "t"), traces.model():
        assert traces.roots() == []
    with BudgetGate(SyncScript(ALLOW)).tool_call("s1", "t"):
        assert get_current() is before
    assert traces.named("chat").parent is None


def test_a_guard_with_a_tracer_provider_of_its_own_joins_nothing(
    traces: SessionTraces, backend: Backend
) -> None:
    before = get_current()
    with traces.gate(backend.instrument(SyncScript(ALLOW))).tool_call("s1", "t"):
        assert get_current() is before
        with traces.model():
            pass
    assert traces.named("chat").parent is None
    assert len(backend.roots()) == 1


def test_without_a_global_provider_there_is_nothing_to_join(
    traces: SessionTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    before = get_current()
    with traces.gate().tool_call("s1", "t"):
        assert get_current() is before


def test_a_provider_whose_spans_are_not_valid_is_not_joined(
    traces: SessionTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", trace.NoOpTracerProvider())
    before = get_current()
    with traces.gate().tool_call("s1", "t"):
        assert get_current() is before


def test_under_a_span_of_the_host_all_are_its_children(
    traces: SessionTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "check_own_spans", lambda: None)
    gate = traces.gate()
    with traces.model("turn"):
        before = get_current()
        with gate.llm_call("s1", 1) as call:
            assert get_current() is before
            with traces.model():
                pass
            call.usage(USAGE)
        assert get_current() is before
    turn = traces.named("turn")
    children = [span.name for span in traces.spans if span.parent is not None]
    assert children == ["budget.check_before_llm", "chat", "budget.record_after_llm"]
    assert {span.context.trace_id for span in traces.spans} == {turn.context.trace_id}
    assert traces.backend.roots() == []


def test_under_a_caller_in_another_process_the_body_does_not_join(
    traces: SessionTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "check_own_spans", lambda: None)
    caller = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    token = attach(set_span_in_context(NonRecordingSpan(caller)))
    try:
        with traces.gate().tool_call("s1", "t"), traces.model():
            pass
    finally:
        detach(token)
    assert traces.named("chat").parent == caller
    assert traces.backend.roots() == []


def test_a_refusal_has_no_body(traces: SessionTraces, make: Make) -> None:
    gate = traces.gate(traces.guard(SyncScript(make.deny())))
    with context_unchanged(), pytest.raises(BudgetExhausted), gate.tool_call("s1", "t"):
        pass


# -- how a body ends -----------------------------------------------------------------------
def test_an_exception_in_the_body(traces: SessionTraces) -> None:
    with (
        context_unchanged(),
        pytest.raises(ZeroDivisionError),
        traces.gate().llm_call("s1", 1),
        traces.model(),
    ):
        raise ZeroDivisionError
    assert traces.sessions("chat") == ["s1"]


async def test_a_cancelled_body(traces: SessionTraces) -> None:
    gate = traces.gate()

    async def body() -> None:
        before = get_current()
        try:
            async with gate.llm_call("s1", 1):
                with traces.model():
                    await asyncio.sleep(60)
        finally:
            assert get_current() is before

    with context_unchanged():
        task = asyncio.create_task(body())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert traces.sessions("chat") == ["s1"]


def test_what_the_host_attached_in_the_body_and_left_there_stays(traces: SessionTraces) -> None:
    before = get_current()
    with traces.gate().tool_call("s1", "t"):
        token = attach(baggage.set_baggage("user", "u1"))
    assert baggage.get_baggage("user") == "u1"
    with traces.model():
        pass
    assert traces.sessions("chat") == [None]
    with traces.gate().tool_call("s2", "t"), traces.model("next"):
        assert baggage.get_baggage("user") == "u1"
    assert baggage.get_baggage("user") == "u1"
    assert traces.sessions("next") == ["s2"]
    detach(token)
    with traces.gate().tool_call("s2", "t"):
        pass
    assert get_current() is before


def test_the_callers_baggage_reaches_the_root_and_the_body(traces: SessionTraces) -> None:
    seen: list[Any] = []

    class Reading(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            seen.append((span.name, baggage.get_baggage("user", parent_context)))

    traces.backend.tracer_provider.add_span_processor(Reading())
    token = attach(baggage.set_baggage("user", "u1"))
    try:
        with context_unchanged(), traces.gate().tool_call("s1", "t"), traces.model():
            assert baggage.get_baggage("user") == "u1"
    finally:
        detach(token)
    names = ("budget.session", "budget.check_before_tool", "chat")
    assert seen == [(name, "u1") for name in names]


# -- guards and gates in a body ------------------------------------------------------------
def test_a_sub_agent_has_its_own_trace(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged(), gate.tool_call("s1", "ask the sub-agent"):
        with traces.model("before"):
            pass
        with context_unchanged(), gate.llm_call("s2", 1) as call:
            with traces.model("within"):
                pass
            call.usage(USAGE)
        with traces.model("after"):
            pass
    assert [traces.sessions(name) for name in ("before", "within", "after")] == [
        ["s1"],
        ["s2"],
        ["s1"],
    ]
    assert traces.sessions("budget.record_after_llm") == ["s2"]


def test_a_sub_agent_of_the_same_session_and_one_behind_another_guard(
    traces: SessionTraces, backend: Backend
) -> None:
    gate = traces.gate()
    other = traces.gate(traces.guard(meter_provider=backend.meter_provider, name="other"))
    with context_unchanged(), gate.tool_call("s1", "t"):
        with gate.llm_call("s1", 1) as call, traces.model("same"):
            call.usage(USAGE)
        with context_unchanged(), other.llm_call("s3", 1) as call, traces.model("other"):
            call.usage(USAGE)
        with traces.model("after"):
            pass
    assert traces.sessions("same") == ["s1"]
    assert traces.sessions("other") == ["s3"]
    assert traces.sessions("after") == ["s1"]
    assert [len(traces.roots(session)) for session in ("s1", "s3")] == [1, 1]


def test_a_guard_asked_in_a_body_is_no_child_of_another_sessions_root(
    traces: SessionTraces, backend: Backend
) -> None:
    elsewhere = backend.instrument(SyncScript(ALLOW))
    plain = traces.guard()
    with traces.gate().tool_call("s1", "t"):
        plain.check_before_llm("s2", 1)
        plain.check_before_llm("s1", 1)
        elsewhere.check_before_llm("s1", 1)
        elsewhere.check_before_llm("s2", 1)
    assert sorted(map(str, traces.sessions("budget.check_before_llm"))) == ["s1", "s2"]
    assert [root.parent for root in backend.roots()] == [None, None]
    assert [span.parent.span_id for span in backend.spans()] == [
        root.context.span_id for root in backend.roots()
    ]


def test_under_a_span_of_the_model_a_guard_is_its_child_as_ever(
    traces: SessionTraces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "check_own_spans", lambda: None)
    gate = traces.gate()
    with gate.tool_call("s1", "t"), traces.model():
        current = get_current()
        with gate.llm_call("s2", 1):
            assert get_current() is current
    check, chat = traces.named("budget.check_before_llm"), traces.named("chat")
    assert check.parent.span_id == chat.context.span_id
    assert traces.roots("s2") == []


# -- a thousand spans ----------------------------------------------------------------------
def test_two_thousand_tool_checks_in_one_body(traces: SessionTraces) -> None:
    gate = traces.gate()
    with context_unchanged(), gate.llm_call("s1", 1) as call:
        for number in range(2_000):
            gate.check_tool_sync("s1", "t")
            if number % 500 == 0:
                with traces.model():
                    pass
        call.usage(USAGE)
    roots = traces.roots()
    children = dict.fromkeys((root.context.span_id for root in roots), 0)
    for span in traces.spans:
        if span.name.startswith("budget.") and span.parent is not None:
            children[span.parent.span_id] += 1
    # The body counts as two.
    assert list(children.values()) == [998, 1_000, 4]
    for last, root in itertools.pairwise(roots):
        assert [link.context.span_id for link in root.links] == [last.context.span_id]
    first = roots[0].context.trace_id
    assert {span.context.trace_id for span in traces.spans if span.name == "chat"} == {first}


def test_bodies_alone_fill_a_trace_too(traces: SessionTraces) -> None:
    gate = traces.gate()
    for _ in range(667):  # a check and a body are three
        with gate.tool_call("s1", "t"), traces.model():
            pass
    ids = [root.context.trace_id for root in traces.roots()]
    in_trace = [span.context.trace_id for span in traces.spans if span.name == "chat"]
    # The third root is due because the body that started the second counts as two there, too.
    assert [in_trace.count(trace_id) for trace_id in ids] == [333, 333, 1]


# -- nothing of it reaches the host --------------------------------------------------------
def test_a_failure_to_join_is_counted_and_the_body_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traces = SessionTraces(monkeypatch)
    gate = traces.gate()

    def fail(*arguments: Any) -> Any:
        raise OSError

    for name, errors in (("attach", 1), ("get_current", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(joining, name, fail)
            with context_unchanged(), gate.tool_call("s1", "t"), traces.model():
                pass
        assert traces.backend.value("budget.telemetry.errors", budget__component="span") == errors
    with context_unchanged():
        with monkeypatch.context() as patch:
            with gate.tool_call("s1", "t"):
                patch.setattr(joining, "get_current", fail)
            assert nothing_is_current()
        with gate.tool_call("s1", "t"):  # what the last one could not take back
            pass
    assert traces.backend.value("budget.telemetry.errors") == 3
    traces.backend.shutdown()


def test_a_tracer_that_fails_only_for_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if span.name == "budget.session":
                raise OSError

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Failing())
    traces = SessionTraces(monkeypatch)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    with context_unchanged(), traces.gate().llm_call("s1", 1) as call, traces.model():
        call.usage(USAGE)
    assert traces.backend.value("budget.calls") == 1
    assert traces.backend.value("budget.telemetry.errors") >= 2
    traces.backend.shutdown()
