"""Which calls have a span under spans="hits", what is on it, and what is offered to a sampler."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from otel_budget import BudgetGate, FlatRates, SessionInfo
from otel_budget.telemetry import offers as offers_module
from otel_budget.telemetry import sessions as sessions_module
from support.backend import Backend
from support.guards import Make, SyncScript, outcome
from support.session_traces import SessionTraces

DENY = {"decision": "deny", "resource": "usd", "reason": "spent"}
SOFT = {"decision": "soft", "resource": "usd", "consumed": 4, "limit": 5}
USAGE = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
INFO = SessionInfo(tenant="acme", model="m", provider="p")
#: Answers to a check, by the decision that they are recorded as.
NOT_ALLOWED: dict[str, Any] = {
    "soft_limit": SOFT,
    "deny": DENY,
    "malformed": {"decision": "perhaps"},
    "error": ValueError("broken"),
    "cancelled": KeyboardInterrupt(),
}


class KeepHits(Sampler):
    """Samples spans that say at their start that they are hits, and no other."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *more: Any, **named: Any
    ) -> SamplingResult:
        attributes = dict((more[1] if more else named.get("attributes")) or {})
        self.seen.append((name, attributes))
        is_hit = attributes.get("budget.decision") in {
            "soft_limit", "deny", "malformed", "error", "late",
        }  # fmt: skip
        decision = Decision.RECORD_AND_SAMPLE if is_hit else Decision.DROP
        return SamplingResult(decision, attributes)

    def get_description(self) -> str:
        return "KeepHits"


def _in_span_of_host(backend: Backend, call: Any, *, sampled: bool = True) -> SpanContext:
    """Make `call` in a span of another process; returns that span."""
    host = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(int(sampled)))
    token = context_api.attach(trace.set_span_in_context(NonRecordingSpan(host)))
    try:
        outcome(call)
    finally:
        context_api.detach(token)
    return host


# -- which calls have one --------------------------------------------------------------------
def test_an_allow_and_a_good_record_are_in_metrics_alone(backend: Backend, make: Make) -> None:
    guard = backend.instrument(
        make.guard(make.allow), spans="hits", session_info=INFO, prices=FlatRates(1.0, 1.0)
    )
    for method in ("check_before_llm", "record_after_llm", "check_before_tool"):
        make.call(guard, method, *make.arguments(method))
    assert backend.span_exporter.get_finished_spans() == ()  # not even a session's root
    assert backend.value("budget.decisions", budget__decision="allow") == 2
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.tokens") == 120
    assert backend.value("budget.cost") == pytest.approx(120e-6)
    assert backend.value("budget.guard.duration") == 3


@pytest.mark.parametrize("decision", NOT_ALLOWED)
def test_every_other_decision_is_drawn_as_it_is_under_all(decision: str, make: Make) -> None:
    drawn: list[ReadableSpan] = []
    for spans in ("all", "hits"):
        backend = Backend()
        answer = NOT_ALLOWED[decision]
        guard = backend.instrument(make.guard(answer), spans=spans, session_info=INFO)
        outcome(lambda guard=guard: make.call(guard, "check_before_llm", "s1", 300))
        (root,) = backend.roots()
        span = backend.span()
        assert span.parent.span_id == root.context.span_id
        assert backend.value("budget.decisions", budget__decision=decision) == 1
        drawn.append(span)
        backend.shutdown()
    started, after = drawn
    assert after.name == started.name
    assert dict(after.attributes) == dict(started.attributes)
    assert after.attributes["budget.decision"] == decision
    assert after.status.status_code is started.status.status_code
    assert after.status.description == started.status.description
    assert [(event.name, dict(event.attributes)) for event in after.events] == [
        (event.name, dict(event.attributes)) for event in started.events
    ]


def test_a_late_answer_is_drawn(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(lambda: time.sleep(0.02)), spans="hits", late_after=0.001)
    guard.check_before_tool("s1", "grep")
    assert backend.span().attributes["budget.decision"] == "late"
    assert backend.span().attributes["budget.tool.name"] == "grep"


@pytest.mark.parametrize(
    ("answer", "usage", "error_type"),
    [(ValueError("full disk"), USAGE, "ValueError"), (None, {"nothing": 1}, "malformed_usage")],
    ids=["raises", "malformed"],
)
def test_a_record_that_is_not_good_is_drawn(
    backend: Backend, answer: Any, usage: Any, error_type: str
) -> None:
    guard = backend.instrument(SyncScript(answer), spans="hits")
    outcome(lambda: guard.record_after_llm("s1", usage))
    span = backend.span("budget.record_after_llm")
    assert span.attributes["error.type"] == error_type
    assert (span.status.status_code is StatusCode.ERROR) == isinstance(answer, ValueError)


def test_running_totals_go_on_without_spans(backend: Backend) -> None:
    script = SyncScript()
    guard = backend.instrument(script, spans="hits", session_info=INFO, prices=FlatRates(1.0, 1.0))
    for _ in range(3):
        guard.record_after_llm("s1", USAGE)
    script.answer = DENY
    guard.check_before_llm("s1", 1)
    (log,) = backend.logs()
    for attributes in (backend.span().attributes, log.attributes):
        assert attributes["budget.session.tokens"] == 33
        assert attributes["budget.session.cost"] == pytest.approx(33e-6)


def test_one_of_two_modes() -> None:
    with pytest.raises(ValueError, match="spans must be 'all' or 'hits', not 'some'"):
        Backend().instrument(SyncScript(), spans="some")


# -- how it is drawn -------------------------------------------------------------------------
def test_all_attributes_are_there_at_the_start_where_a_sampler_sees_them() -> None:
    sampler = KeepHits()
    backend = Backend(sampler)
    guard = backend.instrument(SyncScript(DENY), spans="hits", session_info=INFO)
    _in_span_of_host(backend, lambda: guard.check_before_llm("s1", 300))
    ((name, seen),) = sampler.seen
    assert name == "budget.check_before_llm"
    assert seen == dict(backend.span().attributes)
    assert seen["budget.tenant"] == "acme"
    assert seen["budget.resource"] == "usd"


def test_its_clocks(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(lambda: time.sleep(0.03) or DENY), spans="hits")
    before = time.time_ns()
    guard.check_before_llm("s1", 1)
    span = backend.span()
    assert before <= span.start_time <= before + 25_000_000  # when the guard was called
    ((_, duration),) = backend.points("budget.guard.duration")
    assert span.end_time - span.start_time == pytest.approx(duration.sum * 1e9, abs=1_000)
    assert [event.timestamp for event in span.events] == [span.end_time]


def test_an_exception_carries_the_time_of_the_end(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(ValueError("broken")), spans="hits")
    outcome(lambda: guard.check_before_llm("s1", 1))
    (event,) = backend.span().events
    assert (event.name, event.timestamp) == ("exception", backend.span().end_time)


def test_nothing_is_current_while_the_guard_runs(backend: Backend) -> None:
    tracer = backend.tracer_provider.get_tracer("guard")

    def look_up() -> Any:
        with tracer.start_as_current_span("look-up"):
            return DENY

    guard = backend.instrument(SyncScript(look_up), spans="hits")
    host = _in_span_of_host(backend, lambda: guard.check_before_llm("s1", 1))
    assert backend.span("look-up").parent.span_id == host.span_id
    assert backend.span("budget.check_before_llm").parent.span_id == host.span_id
    guard.check_before_llm("s1", 1)
    assert backend.spans("look-up")[1].parent is None


def test_an_inner_guard_draws_a_sibling_without_the_event(backend: Backend) -> None:
    inner = backend.instrument(SyncScript(DENY), name="inner", spans="hits")
    outer = backend.instrument(
        SyncScript(lambda: inner.check_before_llm("s1", 1)), name="outer", spans="hits"
    )
    host = _in_span_of_host(backend, lambda: outer.check_before_llm("s1", 1))
    spans = {span.attributes["budget.guard.name"]: span for span in backend.spans()}
    assert {span.parent.span_id for span in spans.values()} == {host.span_id}
    assert {name: len(span.events) for name, span in spans.items()} == {"inner": 0, "outer": 1}
    assert backend.value("budget.decisions") == 1


def test_log_event_and_exemplar_point_to_it(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(DENY), spans="hits")
    guard.check_before_llm("s1", 1)
    (log,) = backend.logs()
    span = backend.span().context
    assert (log.trace_id, log.span_id) == (span.trace_id, span.span_id)
    ((_, duration),) = backend.points("budget.guard.duration")
    assert [one.span_id for one in duration.exemplars] == [span.span_id]


def test_the_exemplar_of_an_allow_is_of_the_hosts_span(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), spans="hits")
    with backend.tracer_provider.get_tracer("host").start_as_current_span("turn") as turn:
        guard.check_before_llm("s1", 1)
    ((_, duration),) = backend.points("budget.guard.duration")
    assert [one.span_id for one in duration.exemplars] == [turn.get_span_context().span_id]


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


def test_a_soft_limit_is_drawn_once_a_minute_like_its_log_event(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(sessions_module, "time", clock)
    inner = backend.instrument(SyncScript(SOFT), name="inner", spans="hits")
    guard = backend.instrument(
        SyncScript(lambda: inner.check_before_llm("s1", 1)), name="outer", spans="hits"
    )
    for _ in range(5):
        guard.check_before_llm("s1", 1)
    guard.check_before_llm("s2", 1)
    names = [span.attributes["budget.guard.name"] for span in backend.spans()]
    assert names == ["inner", "outer", "outer"]  # neither guard takes the other's turn
    clock.now += 60
    guard.check_before_llm("s1", 1)
    assert len(backend.spans()) == 5
    assert len(backend.logs()) == 3
    assert backend.value("budget.threshold_hits", budget__kind="soft") == 7


def test_a_tracer_that_fails_costs_the_span_alone(backend: Backend) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            raise OSError(name)

    class Provider(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            return Failing()

    guard = backend.instrument(SyncScript(DENY), spans="hits", tracer_provider=Provider())
    assert guard.check_before_llm("s1", 1) is DENY
    assert backend.value("budget.decisions", budget__decision="deny") == 1
    assert backend.value("budget.telemetry.errors", budget__component="span") == 1
    assert len(backend.logs()) == 1


# -- the gate's body -------------------------------------------------------------------------
def test_a_body_joins_a_root_that_is_there_and_starts_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traces = SessionTraces(monkeypatch)
    script = SyncScript()
    gate = BudgetGate(traces.guard(script, spans="hits"))
    with gate.llm_call("s1", 1) as call, traces.model("before"):
        call.usage(USAGE)
    assert traces.roots() == []
    script.answer = SOFT
    with gate.llm_call("s1", 1) as call, traces.model("after"):
        call.usage(USAGE)
    assert traces.sessions("before") == [None]
    assert traces.sessions("after") == ["s1"]
    traces.check_own_spans()
    traces.backend.shutdown()


# -- offered once more -----------------------------------------------------------------------
def _unsampled(decision: str, **options: Any) -> Backend:
    """A backend that has seen a check in an unsampled span, by a sampler that keeps hits."""
    backend = Backend(KeepHits())
    guard = backend.instrument(SyncScript(NOT_ALLOWED[decision]), **options)
    _in_span_of_host(backend, lambda: guard.check_before_llm("s1", 1), sampled=False)
    return backend


@pytest.mark.parametrize("spans", ["all", "hits"])
@pytest.mark.parametrize("decision", ["soft_limit", "deny", "malformed", "error"])
def test_a_hit_that_is_not_sampled_is_offered_once_more(spans: str, decision: str) -> None:
    backend = _unsampled(decision, spans=spans)
    span = backend.span()
    assert span.attributes["budget.decision"] == decision
    assert (span.parent.trace_id, span.parent.span_id) == (7, 8)
    assert span.end_time >= span.start_time
    backend.shutdown()


@pytest.mark.parametrize("spans", ["all", "hits"])
def test_a_record_that_the_guard_failed_to_make_is_offered_once_more(spans: str) -> None:
    backend = Backend(KeepHits())
    guard = backend.instrument(SyncScript(ValueError("full disk")), spans=spans)
    _in_span_of_host(backend, lambda: guard.record_after_llm("s1", USAGE), sampled=False)
    span = backend.span("budget.record_after_llm")
    assert span.attributes["budget.decision"] == "error"
    assert span.attributes["budget.usage.input_tokens"] == 10
    assert backend.value("budget.tokens") == 11
    backend.shutdown()


@pytest.mark.parametrize("spans", ["all", "hits"])
def test_a_call_given_up_on_is_no_hit(spans: str) -> None:
    backend = _unsampled("cancelled", spans=spans)
    assert backend.spans() == []
    backend.shutdown()


def test_a_hit_that_is_sampled_is_not_drawn_again(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(DENY))
    guard.check_before_llm("s1", 1)
    assert len(backend.spans()) == 1


def test_what_is_kept_is_never_current_so_nothing_inherits_it() -> None:
    sampler = KeepHits()
    backend = Backend(ParentBased(sampler, local_parent_not_sampled=sampler))
    tracer = backend.tracer_provider.get_tracer("guard")

    def look_up() -> Any:
        tracer.start_span("look-up").end()
        return DENY

    guard = backend.instrument(SyncScript(look_up))
    guard.check_before_llm("s1", 1)
    tracer.start_span("afterwards").end()
    (kept,) = backend.spans()
    assert kept.name == "budget.check_before_llm"
    assert backend.roots() == []  # the session's root was not sampled, nor is it now
    backend.shutdown()


# -- a storm ---------------------------------------------------------------------------------
@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(offers_module, "time", clock)
    return clock


def _storm(backend: Backend, checks: int, *, sampled: bool, **options: Any) -> Sequence[Any]:
    guard = backend.instrument(SyncScript(DENY), **options)
    for _ in range(checks):
        _in_span_of_host(backend, lambda: guard.check_before_llm("s1", 1), sampled=sampled)
    return backend.spans()


@pytest.mark.parametrize("spans", ["all", "hits"])
def test_at_most_fifty_a_second_are_kept_and_the_rest_is_counted(
    spans: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Backend(KeepHits())
    assert len(_storm(backend, 120, sampled=False, spans=spans)) == 50
    clock.now += 1
    assert len(_storm(backend, 10, sampled=False, spans=spans)) == 60
    assert backend.value("budget.telemetry.errors", budget__component="span") == 70
    assert backend.value("budget.threshold_hits") == 130
    assert len(backend.logs()) == 130
    (line,) = caplog.messages
    assert "more than 50 spans of hits a second" in line
    backend.shutdown()


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("spans", ["all", "hits"])
def test_what_is_sampled_anyway_is_not_limited(spans: str, backend: Backend) -> None:
    assert len(_storm(backend, 120, sampled=True, spans=spans)) == 120
    assert backend.value("budget.telemetry.errors") == 0


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("spans", ["all", "hits"])
def test_a_sampler_that_keeps_no_hits_loses_none(spans: str) -> None:
    backend = Backend(ALWAYS_OFF)
    assert _storm(backend, 120, sampled=False, spans=spans) == []
    assert backend.value("budget.telemetry.errors") == 0
    backend.shutdown()
