"""The metrics of the telemetry schema (design 4). The names are spelt out here on purpose."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry.context import Context

from otel_budget import BudgetGate, BudgetLevel, SessionInfo, call_info, semconv
from otel_budget.telemetry.hubs import poll_levels
from support.backend import Backend
from support.guards import METHODS, Make, SyncScript, outcome
from support.schema import CALL, LABELS, RATES, instrumented, labelled, series_of

INSTRUMENTS = {
    "budget.decisions": ("Sum", "{decision}"),
    "budget.threshold_hits": ("Sum", "{hit}"),
    "budget.tokens": ("Sum", "{token}"),
    "budget.cost": ("Sum", "USD"),
    "budget.calls": ("Sum", "{call}"),
    "budget.unpriced_calls": ("Sum", "{call}"),
    "budget.estimated_tokens": ("Sum", "{token}"),
    "budget.consumed": ("Gauge", ""),
    "budget.limit": ("Gauge", ""),
    "budget.utilization": ("Gauge", ""),
    "budget.window.length": ("Gauge", "s"),
    "budget.reserved": ("Gauge", ""),
    "budget.reservation.age": ("Gauge", "s"),
    "budget.window.remaining": ("Gauge", "s"),
    "budget.uncounted_calls": ("Gauge", "{call}"),
    "budget.guard.duration": ("Histogram", "s"),
    "budget.guard.errors": ("Sum", "{error}"),
    "budget.telemetry.errors": ("Sum", "{error}"),
    "budget.label_overflows": ("Sum", "{overflow}"),
}


class Everything:
    """A guard that makes every instrument report."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        if estimated_prompt_tokens == 0:
            raise RuntimeError("no")
        return {"decision": "soft", "resource": "r", "consumed": 1, "limit": 2}

    def record_after_llm(self, session_id: str, usage: Any) -> None: ...

    def budget_levels(self) -> Any:
        yield BudgetLevel("r", 1, 2, window="day", window_length=86_400, window_remaining=60)
        yield "rubbish" if self else None
        raise RuntimeError("no more")


def test_these_are_the_instruments(backend: Backend) -> None:
    class Level(Everything):
        def budget_levels(self) -> Any:
            window = {"window": "day", "window_length": 86_400, "window_remaining": 60}
            return [BudgetLevel("r", 1, 2, **window, reserved=0, reserved_age=1, uncounted_calls=1)]

    guard = instrumented(backend, Level(), max_label_sets=1)
    failing = instrumented(
        backend, Everything(), session_info=lambda _: "rubbish", prices=None, max_label_sets=1
    )
    guard.check_before_llm("s", 1)
    outcome(lambda: guard.check_before_llm("s", 0))
    guard.record_after_llm("s", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
    failing.record_after_llm("s", {})
    with call_info(tenant="another"):
        guard.check_before_llm("s", 1)
    poll_levels()
    metrics = backend.collect()
    # Only a gate counts calls without usage.
    found = {
        name: (type(metric.data).__name__, metric.unit)
        for name, metric in metrics.items()
        if name != "budget.calls_without_usage"
    }
    assert found == INSTRUMENTS
    for name, (kind, _) in INSTRUMENTS.items():
        if kind == "Sum":
            assert metrics[name].data.is_monotonic
        assert metrics[name].description
    data = backend.reader.get_metrics_data()
    (scope,) = data.resource_metrics[0].scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("otel_budget", version("otel-budget"))


DECISIONS = ("allow", "soft_limit", "deny", "malformed", "error", "late", "cancelled")

#: The values of each attribute in the test below: no value fits two attributes with free values.
VALUES = {
    "budget.decision_point": {"llm", "tool", "usage"},
    "budget.decision": {*DECISIONS, "recorded"},
    "budget.kind": {"soft", "hard"},
    "budget.resource": {"the-resource"},
    "budget.tool.name": {"the-tool"},
    "budget.token.type": {"input", "output", "cache_read", "cache_write"},
    "gen_ai.request.model": {"the-model"},
    "gen_ai.provider.name": {"the-provider"},
    "budget.cost.source": {"local"},
    "budget.reason": {"no_prices", "not_reported"},
    "error.type": {"RuntimeError"},
    "budget.guard.name": {"the-guard"},
    "budget.component": {"budget_levels"},
    "budget.label": {"labels"},
    "budget.window": {"the-window"},
    "budget.unit": {"the-unit"},
    "budget.source": {"guard", "soft_limit"},
    "budget.shared": {"true"},
    "budget.cause": {"reserved"},
}
LABEL_VALUES = {
    "budget.tenant": {"the-tenant", "_other_"},
    "budget.agent": {"the-agent", "_other_"},
    "budget.principal": {"the-principal", "_other_"},
}


def test_every_attribute_of_every_metric_has_its_own_values(backend: Backend) -> None:
    """Series keys hold values in the order of the metric's attributes: none may be swapped."""

    class Guard(SyncScript):
        def budget_levels(self) -> Any:
            if self.answer is None:
                raise RuntimeError("no")
            who = ("the-tenant", "the-agent", "the-principal")
            of_window = ("the-unit", "the-window", 60, 30)
            return [
                BudgetLevel(
                    "the-resource", 1, 2, *of_window, *who, 1, 10, shared=True, uncounted_calls=3
                )
            ]

    options: dict[str, Any] = {
        "name": "the-guard",
        "session_info": SessionInfo("the-tenant", "the-principal", "the-agent", "the-correlation",
                                    "the-model", "the-provider"),
        "metric_labels": ("tenant", "agent", "principal"),
        "max_label_sets": 1,
    }  # fmt: skip
    script = Guard({"decision": "soft", "resource": "the-resource", "consumed": 1, "limit": 2})
    guard = backend.instrument(script, prices=RATES, **options)
    unpriced = backend.instrument(Guard(), prices=None, **options)
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    guard.check_before_llm("s", 1)
    guard.check_before_tool("s", "the-tool")
    warning = script.answer
    denial = {"decision": "deny", "resource": "the-resource", "reason": "no"}
    script.answer = denial | {"window": "the-window", "cause": "reserved"}
    guard.check_before_tool("s", "the-tool")
    script.answer = warning
    guard.record_after_llm("s", usage)
    unpriced.record_after_llm("s", usage)
    with call_info(tenant="another"):
        guard.check_before_llm("s", 1)
    with BudgetGate(guard).llm_call("s", 1):
        pass  # no usage is reported
    poll_levels()
    script.answer = RuntimeError("no")
    for method, argument in (("llm", 1), ("tool", "the-tool")):
        outcome(lambda m=method, a=argument: getattr(guard, f"check_before_{m}")("s", a))
    for metric in semconv.METRICS:
        points = backend.points(metric.name)
        allowed = {attribute: VALUES[attribute] for attribute in metric.attributes}
        if metric.labelled:
            allowed |= LABEL_VALUES
        carried = {attribute for attributes, _ in points for attribute in attributes}
        assert carried == set(allowed), metric.name
        for attributes, _ in points:
            for attribute, value in attributes.items():
                assert value in allowed[attribute], (metric.name, attribute, value)


@pytest.mark.parametrize(("method", "point"), [("llm", "llm"), ("tool", "tool")])
def test_decisions_with_zeros_for_what_has_not_happened(
    backend: Backend, make: Make, method: str, point: str
) -> None:
    guard = instrumented(backend, make.guard(make.deny()))
    for _ in range(3):
        make.call(guard, f"check_before_{method}", *make.arguments(f"check_before_{method}"))
    assert series_of(backend, "budget.decisions") == {
        labelled(LABELS, budget__decision_point=point, budget__decision=decision): 3
        * (decision == "deny")
        for decision in DECISIONS
    }


def test_threshold_hits_by_kind_and_resource_and_tool(backend: Backend, make: Make) -> None:
    deny = instrumented(backend, make.guard(make.deny("tools")))
    soft = instrumented(backend, make.guard(make.soft("usd")))
    make.call(deny, "check_before_tool", "s", "rm")
    make.call(soft, "check_before_llm", "s", 1)
    make.call(soft, "check_before_llm", "s", 1)
    tool = {**LABELS, "budget.decision_point": "tool", "budget.resource": "tools"}
    llm = {**LABELS, "budget.decision_point": "llm", "budget.resource": "usd"}
    assert series_of(backend, "budget.threshold_hits") == {
        labelled(tool, budget__tool__name="rm", budget__kind="hard"): 1,
        labelled(tool, budget__tool__name="rm", budget__kind="soft"): 0,
        labelled(llm, budget__kind="soft"): 2,
        labelled(llm, budget__kind="hard"): 0,
    }


def test_tokens_by_disjoint_type_and_calls_and_cost(backend: Backend, make: Make) -> None:
    guard = instrumented(backend, make.guard())
    for _ in range(2):
        usage = make.usage(100, 20, cache_read_tokens=30)
        make.call(guard, "record_after_llm", "s", usage)
    tokens = {"input": 200, "output": 40, "cache_read": 60, "cache_write": 0}
    key = {**LABELS, **CALL}
    assert series_of(backend, "budget.tokens") == {
        labelled(key, budget__token__type=kind): count for kind, count in tokens.items()
    }
    assert series_of(backend, "budget.calls") == {labelled(key): 2}
    assert series_of(backend, "budget.cost") == {
        labelled(key, budget__cost__source="local"): pytest.approx(2 * 143 / 1e6)
    }
    assert series_of(backend, "budget.unpriced_calls") == {}


def test_usage_counts_even_if_the_guards_own_record_raises(backend: Backend, make: Make) -> None:
    guard = instrumented(backend, make.guard(RuntimeError("redis is gone")))
    outcome(lambda: make.call(guard, "record_after_llm", "s", make.usage()))
    assert backend.value("budget.tokens") == 120
    assert backend.value("budget.cost") == pytest.approx(140 / 1e6)
    assert backend.value("budget.guard.duration", budget__decision="error") == 1


def test_usage_counts_as_reported_even_if_the_guard_changes_it(backend: Backend) -> None:
    class Consuming:
        def record_after_llm(self, session_id: str, usage: dict[str, Any]) -> None:
            usage.clear()

    guard = instrumented(backend, Consuming())
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    guard.record_after_llm("s", usage)
    assert usage == {}
    assert backend.value("budget.tokens") == 120


def test_a_usage_that_cannot_be_read_is_one_call_and_no_tokens(backend: Backend) -> None:
    guard = instrumented(backend, SyncScript())
    guard.record_after_llm("s", {"prompt_tokens": -1})
    assert series_of(backend, "budget.calls") == {labelled({**LABELS, **CALL}): 1}
    assert series_of(backend, "budget.tokens") == {}
    assert series_of(backend, "budget.cost") == {}
    assert series_of(backend, "budget.unpriced_calls") == {
        labelled({**LABELS, **CALL}, budget__reason="malformed_usage"): 1
    }


def test_undecided_cache_accounting_counts_the_prompt_only(backend: Backend) -> None:
    guard = instrumented(backend, SyncScript(), session_info=SessionInfo(provider="aws.bedrock"))
    guard.record_after_llm(
        "s",
        {
            "prompt_tokens": 350,
            "completion_tokens": 20,
            "total_tokens": 370,
            "cache_read_tokens": 300,
            "cache_write_tokens": 40,
        },
    )
    assert backend.value("budget.tokens", budget__token__type="input") == 350
    assert backend.value("budget.tokens") == 370
    assert backend.value("budget.unpriced_calls", budget__reason="cache_accounting") == 1
    assert backend.series("budget.cost") == []


def test_estimated_tokens_of_checks_that_let_the_call_proceed(backend: Backend, make: Make) -> None:
    def rubbish() -> Any:
        return "rubbish"

    for answer in (make.allow, make.soft(), make.deny(), rubbish, RuntimeError("x")):
        guard = instrumented(backend, make.guard(answer))
        outcome(lambda g=guard: make.call(g, "check_before_llm", "s", 1_000))
        outcome(lambda g=guard: make.call(g, "check_before_tool", "s", "t"))
    assert series_of(backend, "budget.estimated_tokens") == {labelled({**LABELS, **CALL}): 2_000}


def test_durations_without_tenant_or_agent_and_with_their_exemplars(
    backend: Backend, make: Make
) -> None:
    guard = instrumented(backend, make.guard(make.allow))
    for method in METHODS:
        make.call(guard, method, *make.arguments(method))
    points = {
        a["budget.decision_point"]: (a, p) for a, p in backend.points("budget.guard.duration")
    }
    assert {point: a for point, (a, _) in points.items()} == {
        point: {
            "budget.decision_point": point,
            "budget.decision": "recorded" if point == "usage" else "allow",
            "budget.guard.name": "daily",
        }
        for point in ("llm", "usage", "tool")
    }
    spans = {span.attributes["budget.decision_point"]: span for span in backend.spans()}
    for point, (_, data) in points.items():
        assert data.count == 1
        assert data.explicit_bounds[0] == 0.0001
        assert data.explicit_bounds[-1] == 10
        (exemplar,) = data.exemplars
        assert exemplar.span_id == spans[point].context.span_id
        assert exemplar.trace_id == spans[point].context.trace_id


def test_a_collection_inside_a_span_makes_it_no_exemplar(backend: Backend) -> None:
    class Leveled(SyncScript):
        def budget_levels(self) -> list[BudgetLevel]:
            return [BudgetLevel("usd", 1, 2)]

    guard = instrumented(backend, Leveled())
    poll_levels()
    guard.check_before_llm("s", 1)
    hub = guard._otel_budget_settings.destination.hub
    hub.enqueue(0.1, {"budget.decision_point": "llm"}, Context())  # measured in no span
    with backend.tracer_provider.get_tracer("host").start_as_current_span("host") as host:
        points = {name: metric.data.data_points for name, metric in backend.collect().items()}
    assert points.keys() >= {"budget.decisions", "budget.consumed", "budget.guard.duration"}
    marked = {
        name
        for name, series in points.items()
        for point in series
        for exemplar in point.exemplars
        if exemplar.span_id == host.get_span_context().span_id
    }
    assert marked == set()


def test_guard_errors_are_exceptions_only(backend: Backend, make: Make) -> None:
    for error in (ValueError("x"), ValueError("y"), SystemExit(1)):
        guard = instrumented(backend, make.guard(error))
        if make.asynchronous and not isinstance(error, Exception):
            coroutine = guard.check_before_llm("s", 1)
            coroutine.send(None)
            outcome(lambda c=coroutine: c.send(None))
        else:
            outcome(lambda g=guard: make.call(g, "check_before_llm", "s", 1))
    assert series_of(backend, "budget.guard.errors") == {
        labelled(
            {},
            budget__decision_point="llm",
            error__type="ValueError",
            budget__guard__name="daily",
        ): 2
    }


def test_telemetry_errors_name_the_component(backend: Backend) -> None:
    def resolver(_: str) -> Any:
        raise RuntimeError("no")

    guard = instrumented(backend, SyncScript(), session_info=resolver)
    guard.check_before_llm("s", 1)
    assert series_of(backend, "budget.telemetry.errors") == {
        labelled({}, budget__component="session_info"): 1
    }


def test_label_overflows_name_the_label(backend: Backend) -> None:
    guard = instrumented(backend, SyncScript({"decision": "deny", "resource": "r", "reason": "x"}))
    for number in range(150):
        guard.check_before_tool("s", f"tool-{number}")
    assert set(series_of(backend, "budget.label_overflows")) == {
        labelled({}, budget__label="budget.tool.name")
    }
    tools = {a["budget.tool.name"] for a, _ in backend.series("budget.threshold_hits")}
    assert len(tools) == 101
    assert backend.value("budget.threshold_hits", budget__tool__name="_other_") == 50


@pytest.mark.parametrize(
    ("estimate", "tokens"),
    [(10.25, 10), (10.75, 11), (Decimal("99.5"), 100), (Fraction(7, 2), 4), (-0.75, 0), ("9", 0)],
)
def test_an_estimate_that_is_no_whole_number_is_rounded(
    backend: Backend, make: Make, estimate: Any, tokens: int
) -> None:
    guard = backend.instrument(make.guard(make.allow))
    make.call(guard, "check_before_llm", "s", estimate)
    assert backend.value("budget.estimated_tokens") == tokens
    attributes = backend.span().attributes
    assert attributes.get("budget.estimated_prompt_tokens", 0) == tokens
