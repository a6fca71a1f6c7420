"""`instrument` apart from its promises: what it refuses, copies, and spans around the guard."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from opentelemetry import baggage, context, trace

from otel_budget import Allow, SyncBudgetGuard, call_info, instrument
from support.backend import Backend
from support.guards import METHODS, Make, SyncScript


# -- what is refused, and copies -------------------------------------------------------------
class Mixed:
    def check_before_llm(self, session_id: str, tokens: int) -> None: ...

    async def record_after_llm(self, session_id: str, usage: Any) -> None: ...


@pytest.mark.parametrize(
    ("guard", "options", "error", "message"),
    [
        (Mixed(), {}, TypeError, r"record_after_llm.*check_before_llm"),
        (object(), {}, TypeError, "check_before_llm"),
        (SyncScript(), {"metric_labels": ("session_id",)}, ValueError, "session_id"),
        (SyncScript(), {"metric_labels": "tenant"}, TypeError, "tenant"),
        (SyncScript(), {"max_label_sets": 0}, ValueError, "max_label_sets"),
        (SyncScript(), {"max_label_sets": 1.5}, TypeError, "max_label_sets"),
        (SyncScript(), {"events": "all"}, ValueError, "events"),
        (SyncScript(), {"late_after": -1}, ValueError, "late_after"),
        (SyncScript(), {"late_after": "soon"}, TypeError, "late_after"),
        (SyncScript(), {"late_after": float("nan")}, ValueError, "late_after"),
        (SyncScript(), {"prices": "free"}, TypeError, "prices"),
        (SyncScript, {}, TypeError, r"SyncScript is a class.*SyncScript\(…\)"),
    ],
)
def test_a_wrong_guard_or_option_is_a_clear_error(
    backend: Backend, guard: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        backend.instrument(guard, **options)


def test_copies_of_an_instrumented_guard_are_instrumented_copies(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), metric_labels=(label for label in ("tenant",)))
    guard.asked.append("before")
    shallow, deep = copy.copy(guard), copy.deepcopy({"g": guard})["g"]
    assert shallow.asked is guard.asked
    assert deep.asked == guard.asked
    assert deep.asked is not guard.asked
    for copied in (shallow, deep):
        with call_info(tenant="acme"):
            copied.check_before_llm("s", 1)
    assert backend.value("budget.decisions", budget__tenant="acme") == 2
    again = pickle.loads(pickle.dumps(instrument(SyncBudgetGuard(), prices=None)))
    assert again.check_before_llm("s", 1) == Allow()
    assert type(again) is not SyncBudgetGuard


# -- traces around the guard -----------------------------------------------------------------
def test_the_guards_own_spans_are_children_and_the_callers_context_comes_back(
    backend: Backend, make: Make
) -> None:
    tracer = backend.tracer_provider.get_tracer("redis")
    bag: list[Any] = []

    def work() -> Any:
        bag.append(baggage.get_baggage("user"))
        with tracer.start_as_current_span("GET"):
            return make.allow

    guard = backend.instrument(make.guard(work))
    token = context.attach(baggage.set_baggage("user", "u1"))
    try:
        for method in METHODS:
            make.call(guard, method, *make.arguments(method))
        assert not trace.get_current_span().get_span_context().is_valid
    finally:
        context.detach(token)
    assert bag == ["u1"] * 3
    ours = {span.context.span_id for span in backend.spans() if span.name != "GET"}
    assert {span.parent.span_id for span in backend.spans("GET")} == ours
