"""The spans of the telemetry schema (design 4). The names are spelt out here on purpose."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from support.backend import Backend
from support.guards import METHODS, Make, SyncScript
from support.schema import WHO, instrumented


def test_spans_of_an_allowed_round(backend: Backend, make: Make) -> None:
    guard = instrumented(backend, make.guard(make.allow))
    make.call(guard, "check_before_llm", "s1", 1_000)
    usage = make.usage(100, 20, cache_read_tokens=30, cache_write_tokens=4)
    make.call(guard, "record_after_llm", "s1", usage)
    make.call(guard, "check_before_tool", "s1", "web_search")
    check, record, tool = backend.spans()
    assert [check.name, record.name, tool.name] == [f"budget.{method}" for method in METHODS]
    assert dict(check.attributes) == {
        **WHO,
        "budget.decision_point": "llm",
        "budget.decision": "allow",
        "budget.estimated_prompt_tokens": 1_000,
    }
    assert dict(tool.attributes) == {
        **WHO,
        "budget.decision_point": "tool",
        "budget.decision": "allow",
        "budget.tool.name": "web_search",
    }
    cost = pytest.approx((100 + 40 + 3 + 5) / 1e6)
    assert dict(record.attributes) == {
        **WHO,
        "budget.decision_point": "usage",
        "budget.usage.input_tokens": 100,
        "budget.usage.output_tokens": 20,
        "budget.usage.cache_read_tokens": 30,
        "budget.usage.cache_write_tokens": 4,
        "budget.usage.total_tokens": 120,
        "budget.cost": cost,
        "budget.cost.source": "local",
        "budget.session.cost": cost,
        "budget.session.tokens": 154,
    }
    for span in backend.spans():
        assert span.kind is SpanKind.INTERNAL
        assert span.status.status_code is StatusCode.UNSET
        assert span.events == ()
        scope = span.instrumentation_scope
        assert (scope.name, scope.version) == ("otel_budget", version("otel-budget"))


def test_spans_of_hits(backend: Backend, make: Make) -> None:
    soft = instrumented(backend, make.guard(make.soft("llm_cost_usd", 4.0, 5.0, "80 %")))
    deny = instrumented(backend, make.guard(make.deny("tools", "not allowed")))
    make.call(soft, "record_after_llm", "s1", make.usage())
    make.call(soft, "check_before_llm", "s1", 1)
    make.call(deny, "check_before_tool", "s1", "rm")
    _, warned, denied = backend.spans()
    totals = {"budget.session.cost": pytest.approx(140 / 1e6), "budget.session.tokens": 120}
    assert dict(warned.attributes) == {
        **WHO,
        **totals,
        "budget.decision_point": "llm",
        "budget.decision": "soft_limit",
        "budget.estimated_prompt_tokens": 1,
        "budget.resource": "llm_cost_usd",
        "budget.consumed": 4.0,
        "budget.limit": 5.0,
        "budget.utilization": 0.8,
        "budget.numbers_from": "decision",
    }
    assert dict(denied.attributes) == {
        **WHO,
        **totals,
        "budget.decision_point": "tool",
        "budget.decision": "deny",
        "budget.tool.name": "rm",
        "budget.resource": "tools",
    }
    # A denial is not an error: the guard does its job.
    assert {span.status.status_code for span in (warned, denied)} == {StatusCode.UNSET}


def test_no_span_attribute_belongs_to_a_model_call(backend: Backend, make: Make) -> None:
    guard = instrumented(backend, make.guard(make.soft()))
    for method in METHODS:
        make.call(guard, method, *make.arguments(method))
    for span in (*backend.spans(), *backend.roots()):
        assert not [key for key in span.attributes if key.startswith("gen_ai.")]


def test_unknown_attributes_are_absent(backend: Backend) -> None:
    guard = backend.instrument(SyncScript({"decision": "allow"}))
    guard.check_before_llm("s1", None)
    guard.record_after_llm("s1", "rubbish")
    check, record = backend.spans()
    assert dict(check.attributes) == {
        "session.id": "s1",
        "budget.guard.name": "SyncScript",
        "budget.decision_point": "llm",
        "budget.decision": "allow",
    }
    assert "budget.cost" not in record.attributes
    assert "budget.usage.input_tokens" not in record.attributes
    assert record.attributes["budget.session.tokens"] == 0


def test_identity_attributes_are_set_at_the_spans_start_for_samplers() -> None:
    from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

    seen: list[dict[str, Any]] = []

    class Seeing(Sampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
            attributes = kwargs.get("attributes", args[4] if len(args) > 4 else None)
            seen.append(dict(attributes or {}))
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

        def get_description(self) -> str:
            return "seeing"

    backend = Backend(sampler=Seeing())
    instrumented(backend, SyncScript()).check_before_tool("s1", "rm")
    root, check = seen
    assert root == WHO
    assert check == {**WHO, "budget.decision_point": "tool", "budget.tool.name": "rm"}
    backend.shutdown()
