"""Traces that read well (design 5): one trace per session where no span is active."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_budget.telemetry import sessions as sessions_module
from support.backend import Backend
from support.guards import METHODS, Make, SyncScript

ALLOW = {"decision": "allow"}


class Clock:
    now = 10_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sessions_module, "time", clock)
    return clock


def _traces(backend: Backend) -> set[int]:
    return {span.context.trace_id for span in backend.spans()}


def test_the_decisions_of_one_session_share_one_trace(backend: Backend, make: Make) -> None:
    guard = backend.instrument(make.guard(make.allow))
    other = backend.instrument(make.guard(make.allow), name="other")
    for asked in (guard, other):
        for method in METHODS:
            make.call(asked, method, *make.arguments(method, "s1"))
    make.call(guard, "check_before_llm", "s2", 1)
    first, second = backend.roots()
    assert (first.parent, second.parent) == (None, None)
    assert first.attributes["session.id"] == "s1"
    assert second.attributes["session.id"] == "s2"
    parents = [span.parent.span_id for span in backend.spans()]
    assert parents == [first.context.span_id] * 6 + [second.context.span_id]
    assert _traces(backend) == {first.context.trace_id, second.context.trace_id}
    assert first.links == ()


def test_inside_an_active_span_there_is_no_root(backend: Backend, make: Make) -> None:
    guard = backend.instrument(make.guard(make.allow))
    with backend.tracer_provider.get_tracer("host").start_as_current_span("turn") as turn:
        for method in METHODS:
            make.call(guard, method, *make.arguments(method))
    assert backend.roots() == []
    ours = [span for span in backend.spans() if span.name != "turn"]
    assert {span.parent.span_id for span in ours} == {turn.get_span_context().span_id}


def test_the_root_is_exported_before_the_guard_is_even_asked(backend: Backend) -> None:
    roots: list[int] = []
    guard = backend.instrument(SyncScript(lambda: roots.append(len(backend.roots()))))
    guard.check_before_llm("s", 1)
    assert roots == [1]


def test_the_callers_baggage_reaches_both_spans(backend: Backend) -> None:
    seen: list[Any] = []

    class Reading(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            seen.append((span.name, baggage.get_baggage("user", parent_context)))

    backend.tracer_provider.add_span_processor(Reading())
    guard = backend.instrument(SyncScript(ALLOW))
    token = context.attach(baggage.set_baggage("user", "u1"))
    try:
        guard.check_before_llm("s", 1)
    finally:
        context.detach(token)
    assert seen == [("budget.session", "u1"), ("budget.check_before_llm", "u1")]


def test_after_a_thousand_spans_a_session_gets_a_new_root_linked_to_the_last(
    backend: Backend,
) -> None:
    guard = backend.instrument(SyncScript(ALLOW))
    for _ in range(2_500):
        guard.check_before_llm("s", 1)
    roots = backend.roots()
    children: dict[int, int] = {}
    for span in backend.spans():
        children[span.parent.span_id] = children.get(span.parent.span_id, 0) + 1
    assert [children[root.context.span_id] for root in roots] == [1_000, 1_000, 500]
    assert len({root.context.trace_id for root in roots}) == 3
    for last, root in itertools.pairwise(roots):
        (link,) = root.links
        assert link.context.span_id == last.context.span_id


def test_after_an_hour_a_session_gets_a_new_root(backend: Backend, clock: Clock) -> None:
    guard = backend.instrument(SyncScript(ALLOW))
    for _ in range(3):
        guard.check_before_llm("s", 1)
        clock.now += 1_799
    assert len(backend.roots()) == 1
    clock.now += 10
    guard.check_before_llm("s", 1)
    assert len(backend.roots()) == 2


def test_the_least_recently_used_session_is_forgotten(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 3)
    guard = backend.instrument(SyncScript(ALLOW))
    for session in ("a", "b", "c", "a", "d", "a", "b"):
        guard.check_before_llm(session, 1)
    assert [r.attributes["session.id"] for r in backend.roots()] == ["a", "b", "c", "d", "b"]


def test_a_blocking_processor_holds_up_no_other_session(backend: Backend) -> None:
    blocked, release = threading.Event(), threading.Event()

    class Blocking(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            if span.attributes["session.id"] == "slow":
                blocked.set()
                release.wait(30)

    backend.tracer_provider.add_span_processor(Blocking())
    guard = backend.instrument(SyncScript(ALLOW))
    slow = threading.Thread(target=guard.check_before_llm, args=("slow", 1))
    slow.start()
    try:
        assert blocked.wait(10)
        done = threading.Event()

        def others() -> None:
            for number in range(6):
                guard.check_before_llm(f"s{number}", 1)
            done.set()

        thread = threading.Thread(target=others)
        thread.start()
        assert done.wait(10), "waits for another session's root"
        thread.join()
        assert slow.is_alive()
    finally:
        release.set()
        slow.join()


def test_threads_that_open_a_session_together_share_its_root(backend: Backend) -> None:
    start = threading.Barrier(16)
    guard = backend.instrument(SyncScript(ALLOW))

    def call() -> None:
        start.wait()
        guard.check_before_llm("s", 1)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (root,) = backend.roots()
    assert _traces(backend) == {root.context.trace_id}


def test_a_session_has_one_root_per_tracer_provider(backend: Backend) -> None:
    other = Backend()
    for traced in (backend, other):
        guard = traced.instrument(SyncScript(ALLOW), meter_provider=backend.meter_provider)
        guard.check_before_llm("s", 1)
    assert len(backend.roots()) == len(other.roots()) == 1
    assert backend.roots()[0].context.trace_id != other.roots()[0].context.trace_id
    assert backend.span().parent.span_id == backend.roots()[0].context.span_id
    assert other.span().parent.span_id == other.roots()[0].context.span_id
    other.shutdown()


def test_running_totals_are_kept_per_session(backend: Backend, make: Make) -> None:
    from otel_budget import FlatRates

    guard = backend.instrument(make.guard(make.deny()), prices=FlatRates(1, 1))
    for session in ("a", "a", "b"):
        make.call(guard, "record_after_llm", session, make.usage(100, 20))
    make.call(guard, "check_before_llm", "a", 1)
    totals = [
        (span.attributes["budget.session.tokens"], span.attributes["budget.session.cost"])
        for span in backend.spans()
    ]
    assert totals == [
        (120, pytest.approx(120e-6)),
        (240, pytest.approx(240e-6)),
        (120, pytest.approx(120e-6)),
        (240, pytest.approx(240e-6)),
    ]


def test_a_providers_sessions_are_not_those_of_one_that_is_gone(backend: Backend) -> None:
    """A new provider often gets the address of the last one."""
    addresses = set()
    for _ in range(30):
        tracer_provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
        tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        addresses.add(id(tracer_provider))
        guard = backend.instrument(SyncScript(ALLOW), tracer_provider=tracer_provider)
        guard.check_before_llm("s", 1)
        exported = exporter.get_finished_spans()
        assert [span.name for span in exported] == ["budget.session", "budget.check_before_llm"]
        assert exported[1].parent == exported[0].context
        gone = weakref.ref(tracer_provider)
        del guard, tracer_provider, exporter, exported
        gc.collect()
        assert gone() is None, "its sessions keep a provider alive"
    if len(addresses) == 30:
        pytest.skip("no provider got the address of another")


def test_guards_of_one_provider_share_its_sessions(backend: Backend) -> None:
    class Slotted:  # cannot be referred to weakly
        __slots__ = ("get_tracer",)

    slotted = Slotted()
    slotted.get_tracer = backend.tracer_provider.get_tracer
    for provider in (slotted, slotted, backend.tracer_provider, backend.tracer_provider):
        guard = backend.instrument(SyncScript(ALLOW), tracer_provider=provider)
        guard.check_before_llm("s", 1)
    assert len(backend.roots()) == 2
