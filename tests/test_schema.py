"""Every row of the telemetry schema (design 4). The names are spelt out here on purpose."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.trace import SpanKind, StatusCode
from support import METHODS, Backend, Make, SyncScript, outcome

from otel_budget import BudgetGate, BudgetLevel, FlatRates, SessionInfo, call_info, semconv
from otel_budget.hubs import poll_levels

INFO = SessionInfo(
    tenant="acme",
    principal="u1",
    agent="coder",
    correlation_id="c-7",
    model="claude-sonnet-4-5",
    provider="anthropic",
)
WHO = {
    "session.id": "s1",
    "budget.tenant": "acme",
    "budget.principal": "u1",
    "budget.agent": "coder",
    "budget.correlation_id": "c-7",
    "budget.model": "claude-sonnet-4-5",
    "budget.provider": "anthropic",
    "budget.guard.name": "daily",
}
LABELS = {"budget.tenant": "acme", "budget.agent": "coder"}
CALL = {"gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.provider.name": "anthropic"}
RATES = FlatRates(1, 2, 0.1, 1.25)


def _wrap(backend: Backend, guard: Any, **options: Any) -> Any:
    options = {"name": "daily", "session_info": INFO, "prices": RATES, **options}
    return backend.instrument(guard, **options)


def _series(backend: Backend, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(attributes.items()): value for attributes, value in backend.series(name)}


def _one(attributes: dict[str, str], **more: str) -> frozenset[tuple[str, str]]:
    named = {key.replace("__", "."): value for key, value in more.items()}
    return frozenset({**attributes, **named}.items())


# -- spans -----------------------------------------------------------------------------------
def test_spans_of_an_allowed_round(backend: Backend, make: Make) -> None:
    guard = _wrap(backend, make.guard(make.allow))
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
    soft = _wrap(backend, make.guard(make.soft("llm_cost_usd", 4.0, 5.0, "80 %")))
    deny = _wrap(backend, make.guard(make.deny("tools", "not allowed")))
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
    }
    assert dict(denied.attributes) == {
        **WHO,
        **totals,
        "budget.decision_point": "tool",
        "budget.decision": "deny",
        "budget.tool.name": "rm",
        "budget.resource": "tools",
    }
    # A denial is a guard doing its job.
    assert {span.status.status_code for span in (warned, denied)} == {StatusCode.UNSET}


def test_nothing_on_a_span_is_a_model_calls(backend: Backend, make: Make) -> None:
    guard = _wrap(backend, make.guard(make.soft()))
    for method in METHODS:
        make.call(guard, method, *make.arguments(method))
    for span in (*backend.spans(), *backend.roots()):
        assert not [key for key in span.attributes if key.startswith("gen_ai.")]


def test_what_is_unknown_is_absent(backend: Backend) -> None:
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


def test_who_and_what_stand_at_the_spans_start_where_samplers_see_them() -> None:
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
    _wrap(backend, SyncScript()).check_before_tool("s1", "rm")
    root, check = seen
    assert root == WHO
    assert check == {**WHO, "budget.decision_point": "tool", "budget.tool.name": "rm"}
    backend.shutdown()


# -- events ----------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["check_before_llm", "check_before_tool"])
def test_the_event_carries_the_five_fields_of_the_runtimes_own(
    backend: Backend, make: Make, method: str
) -> None:
    for answer in (make.soft("r", 4.0, 5.0), make.soft("r", 4.0, 5.0, "m"), make.deny("r", "no")):
        make.call(_wrap(backend, make.guard(answer)), method, *make.arguments(method))
    events = [event for span in backend.spans() for event in span.events]
    assert [event.name for event in events] == ["budget_threshold_hit"] * 3
    soft = {
        "budget.resource": "r",
        "budget.kind": "soft",
        "budget.consumed": 4.0,
        "budget.limit": 5.0,
    }
    assert [dict(event.attributes) for event in events] == [
        soft,
        {**soft, "budget.message": "m"},
        {
            "budget.resource": "r",
            "budget.kind": "hard",
            "budget.consumed": 0.0,
            "budget.limit": 0.0,
            "budget.message": "no",
        },
    ]


@pytest.mark.parametrize("method", ["check_before_llm", "check_before_tool"])
def test_the_log_event_says_the_same_and_points_to_the_span(
    backend: Backend, make: Make, method: str
) -> None:
    before = time.time_ns()
    for answer in (make.soft("a", 4.0, 5.0, "m"), make.deny("b", "no")):
        make.call(_wrap(backend, make.guard(answer)), method, *make.arguments(method))
    soft, deny = backend.logs()
    for record, span in zip((soft, deny), backend.spans(), strict=True):
        assert record.event_name == "budget.threshold_hit"
        assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
        assert before <= record.timestamp <= time.time_ns()
        assert record.observed_timestamp is not None
    assert soft.severity_number is SeverityNumber.INFO
    assert deny.severity_number is SeverityNumber.WARN
    tool = {"budget.tool.name": "web_search"} if method == "check_before_tool" else {}
    common = {
        **WHO,
        **tool,
        "budget.decision_point": "tool" if tool else "llm",
        "budget.session.cost": 0.0,
        "budget.session.tokens": 0,
    }
    assert dict(soft.attributes) == {
        **common,
        "budget.resource": "a",
        "budget.kind": "soft",
        "budget.consumed": 4.0,
        "budget.limit": 5.0,
        "budget.message": "m",
    }
    assert dict(deny.attributes) == {
        **common,
        "budget.resource": "b",
        "budget.kind": "hard",
        "budget.consumed": 0.0,
        "budget.limit": 0.0,
        "budget.message": "no",
    }


def test_a_session_that_stays_above_its_soft_limit_logs_once_a_minute_per_resource(
    backend: Backend, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 1_000.0

        def monotonic(self) -> float:
            return self.now

    monkeypatch.setattr("otel_budget.sessions.time", Clock)
    clock = Clock()
    monkeypatch.setattr("otel_budget.sessions.time", clock)
    cost, tokens = (_wrap(backend, make.guard(make.soft(r))) for r in ("usd", "tokens"))
    for guard in (cost, cost, tokens, cost, tokens):
        make.call(guard, "check_before_llm", "s1", 1)
    assert len(backend.logs()) == 2
    make.call(cost, "check_before_llm", "s2", 1)
    assert len(backend.logs()) == 3
    clock.now += 61
    make.call(cost, "check_before_llm", "s1", 1)
    assert len(backend.logs()) == 4
    # Span events and counters are not thinned; denials neither.
    assert sum(len(span.events) for span in backend.spans()) == 7
    assert backend.value("budget.threshold_hits", budget__kind="soft") == 7
    deny = _wrap(backend, make.guard(make.deny()))
    for _ in range(3):
        make.call(deny, "check_before_llm", "s1", 1)
    assert len(backend.logs()) == 7


@pytest.mark.parametrize(
    ("asked", "variable", "span_events", "log_events"),
    [
        (None, None, 1, 1),
        ("both", None, 1, 1),
        ("span", None, 1, 0),
        ("logs", None, 0, 1),
        (None, "span", 1, 0),
        (None, "logs", 0, 1),
        ("both", "logs", 1, 1),
        (None, "nonsense", 1, 1),
    ],
)
def test_where_hits_are_written(
    *,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    asked: Any,
    variable: str | None,
    span_events: int,
    log_events: int,
) -> None:
    if variable is not None:
        monkeypatch.setenv("OTEL_PYTHON_BUDGET_EVENTS", variable)
    deny = {"decision": "deny", "resource": "r", "reason": "x"}
    _wrap(backend, SyncScript(deny), events=asked).check_before_llm("s", 1)
    assert (len(backend.span().events), len(backend.logs())) == (span_events, log_events)
    assert backend.value("budget.threshold_hits") == 1


# -- metrics ---------------------------------------------------------------------------------
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
    "budget.window.remaining": ("Gauge", "s"),
    "budget.guard.duration": ("Histogram", "s"),
    "budget.guard.errors": ("Sum", "{error}"),
    "budget.telemetry.errors": ("Sum", "{error}"),
    "budget.label_overflows": ("Sum", "{overflow}"),
}


class Everything:
    """A guard that brings every instrument to life."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        if estimated_prompt_tokens == 0:
            raise RuntimeError("no")
        return {"decision": "soft", "resource": "r", "consumed": 1, "limit": 2}

    def record_after_llm(self, session_id: str, usage: Any) -> None: ...

    def budget_levels(self) -> Any:
        yield BudgetLevel("r", 1, 2, window="day", window_length=86_400, window_remaining=60)
        yield "rubbish" if self else None
        raise RuntimeError("no more")


def test_there_are_these_instruments_and_no_others(backend: Backend) -> None:
    class Level(Everything):
        def budget_levels(self) -> Any:
            return [BudgetLevel("r", 1, 2, window="day", window_length=86_400, window_remaining=60)]

    guard = _wrap(backend, Level(), max_label_sets=1)
    failing = _wrap(
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
    # A gate's own count needs a gate.
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

#: What each attribute of a metric may say in the test below: no value fits two free names.
VALUES = {
    "budget.decision_point": {"llm", "tool", "usage"},
    "budget.decision": {*DECISIONS, "recorded"},
    "budget.kind": {"soft", "hard"},
    "budget.resource": {"the-resource"},
    "budget.tool.name": {"the-tool"},
    "budget.token.type": {"input", "output", "cache_read", "cache_write"},
    "gen_ai.request.model": {"the-model"},
    "gen_ai.provider.name": {"the-provider"},
    "budget.reason": {"no_prices", "not_reported"},
    "error.type": {"RuntimeError"},
    "budget.guard.name": {"the-guard"},
    "budget.component": {"budget_levels"},
    "budget.label": {"labels"},
    "budget.window": {"the-window"},
    "budget.unit": {"the-unit"},
    "budget.source": {"guard", "soft_limit"},
}
LABEL_VALUES = {
    "budget.tenant": {"the-tenant", "_other_"},
    "budget.agent": {"the-agent", "_other_"},
    "budget.principal": {"the-principal", "_other_"},
}


def test_every_attribute_of_every_metric_carries_values_of_its_own(backend: Backend) -> None:
    """Series are counted under values in the order of the metric's attributes: none may swap."""

    class Guard(SyncScript):
        def budget_levels(self) -> Any:
            if self.answer is None:
                raise RuntimeError("no")
            who = ("the-tenant", "the-agent", "the-principal")
            return [BudgetLevel("the-resource", 1, 2, "the-unit", "the-window", 60, 30, *who)]

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
    guard.record_after_llm("s", usage)
    unpriced.record_after_llm("s", usage)
    with call_info(tenant="another"):
        guard.check_before_llm("s", 1)
    with BudgetGate(guard).llm_call("s", 1):
        pass  # and no usage is told
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
    guard = _wrap(backend, make.guard(make.deny()))
    for _ in range(3):
        make.call(guard, f"check_before_{method}", *make.arguments(f"check_before_{method}"))
    assert _series(backend, "budget.decisions") == {
        _one(LABELS, budget__decision_point=point, budget__decision=decision): 3
        * (decision == "deny")
        for decision in DECISIONS
    }


def test_threshold_hits_by_kind_and_resource_and_tool(backend: Backend, make: Make) -> None:
    deny = _wrap(backend, make.guard(make.deny("tools")))
    soft = _wrap(backend, make.guard(make.soft("usd")))
    make.call(deny, "check_before_tool", "s", "rm")
    make.call(soft, "check_before_llm", "s", 1)
    make.call(soft, "check_before_llm", "s", 1)
    tool = {**LABELS, "budget.decision_point": "tool", "budget.resource": "tools"}
    llm = {**LABELS, "budget.decision_point": "llm", "budget.resource": "usd"}
    assert _series(backend, "budget.threshold_hits") == {
        _one(tool, budget__tool__name="rm", budget__kind="hard"): 1,
        _one(tool, budget__tool__name="rm", budget__kind="soft"): 0,
        _one(llm, budget__kind="soft"): 2,
        _one(llm, budget__kind="hard"): 0,
    }


def test_tokens_by_disjoint_type_and_calls_and_cost(backend: Backend, make: Make) -> None:
    guard = _wrap(backend, make.guard())
    for _ in range(2):
        usage = make.usage(100, 20, cache_read_tokens=30)
        make.call(guard, "record_after_llm", "s", usage)
    each = {"input": 200, "output": 40, "cache_read": 60, "cache_write": 0}
    key = {**LABELS, **CALL}
    assert _series(backend, "budget.tokens") == {
        _one(key, budget__token__type=kind): count for kind, count in each.items()
    }
    assert _series(backend, "budget.calls") == {_one(key): 2}
    assert _series(backend, "budget.cost") == {_one(key): pytest.approx(2 * 143 / 1e6)}
    assert _series(backend, "budget.unpriced_calls") == {}


def test_usage_counts_even_if_the_guards_own_record_raises(backend: Backend, make: Make) -> None:
    guard = _wrap(backend, make.guard(RuntimeError("redis is gone")))
    outcome(lambda: make.call(guard, "record_after_llm", "s", make.usage()))
    assert backend.value("budget.tokens") == 120
    assert backend.value("budget.cost") == pytest.approx(140 / 1e6)
    assert backend.value("budget.guard.duration", budget__decision="error") == 1


def test_usage_counts_as_it_was_told_even_if_the_guard_uses_it_up(backend: Backend) -> None:
    class Consuming:
        def record_after_llm(self, session_id: str, usage: dict[str, Any]) -> None:
            usage.clear()

    guard = _wrap(backend, Consuming())
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    guard.record_after_llm("s", usage)
    assert usage == {}
    assert backend.value("budget.tokens") == 120


def test_a_usage_that_cannot_be_read_is_one_call_and_no_tokens(backend: Backend) -> None:
    guard = _wrap(backend, SyncScript())
    guard.record_after_llm("s", {"prompt_tokens": -1})
    assert _series(backend, "budget.calls") == {_one({**LABELS, **CALL}): 1}
    assert _series(backend, "budget.tokens") == {}
    assert _series(backend, "budget.cost") == {}
    assert _series(backend, "budget.unpriced_calls") == {
        _one({**LABELS, **CALL}, budget__reason="malformed_usage"): 1
    }


def test_undecided_cache_accounting_counts_the_prompt_only(backend: Backend) -> None:
    guard = _wrap(backend, SyncScript(), session_info=SessionInfo(provider="aws.bedrock"))
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
        guard = _wrap(backend, make.guard(answer))
        outcome(lambda g=guard: make.call(g, "check_before_llm", "s", 1_000))
        outcome(lambda g=guard: make.call(g, "check_before_tool", "s", "t"))
    assert _series(backend, "budget.estimated_tokens") == {_one({**LABELS, **CALL}): 2_000}


def test_durations_without_tenant_or_agent_and_with_their_exemplars(
    backend: Backend, make: Make
) -> None:
    guard = _wrap(backend, make.guard(make.allow))
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


def test_guard_errors_are_exceptions_only(backend: Backend, make: Make) -> None:
    for error in (ValueError("x"), ValueError("y"), SystemExit(1)):
        guard = _wrap(backend, make.guard(error))
        if make.asynchronous and not isinstance(error, Exception):
            coroutine = guard.check_before_llm("s", 1)
            coroutine.send(None)
            outcome(lambda c=coroutine: c.send(None))
        else:
            outcome(lambda g=guard: make.call(g, "check_before_llm", "s", 1))
    assert _series(backend, "budget.guard.errors") == {
        _one(
            {},
            budget__decision_point="llm",
            error__type="ValueError",
            budget__guard__name="daily",
        ): 2
    }


def test_telemetry_errors_name_the_component(backend: Backend) -> None:
    def resolver(_: str) -> Any:
        raise RuntimeError("no")

    guard = _wrap(backend, SyncScript(), session_info=resolver)
    guard.check_before_llm("s", 1)
    assert _series(backend, "budget.telemetry.errors") == {
        _one({}, budget__component="session_info"): 1
    }


def test_label_overflows_name_the_label(backend: Backend) -> None:
    guard = _wrap(backend, SyncScript({"decision": "deny", "resource": "r", "reason": "x"}))
    for number in range(150):
        guard.check_before_tool("s", f"tool-{number}")
    assert set(_series(backend, "budget.label_overflows")) == {
        _one({}, budget__label="budget.tool.name")
    }
    tools = {a["budget.tool.name"] for a, _ in backend.series("budget.threshold_hits")}
    assert len(tools) == 101
    assert backend.value("budget.threshold_hits", budget__tool__name="_other_") == 50


# -- gauges ----------------------------------------------------------------------------------
def test_gauges_from_the_guards_own_levels(backend: Backend) -> None:
    class Guard(SyncScript):
        def budget_levels(self) -> list[BudgetLevel]:
            return [
                BudgetLevel(
                    "usd", 4, 5, window="day", window_length=86_400, window_remaining=3_600,
                    tenant="acme", agent="coder", principal="u1",
                ),
                BudgetLevel("tokens", 10, None, unit="tokens", tenant="acme"),
                BudgetLevel("endless", 10, float("inf")),
                BudgetLevel("closed", 10, 0),
            ]  # fmt: skip

    guard = _wrap(backend, Guard())
    poll_levels()
    assert guard.check_before_llm("s", 1) is None
    day = {
        **LABELS,
        "budget.guard.name": "daily",
        "budget.resource": "usd",
        "budget.window": "day",
        "budget.unit": "USD",
        "budget.source": "guard",
    }
    rest = {"budget.guard.name": "daily", "budget.source": "guard"}
    tokens = _one(rest, budget__tenant="acme", budget__resource="tokens", budget__unit="tokens")
    endless = _one(rest, budget__resource="endless", budget__unit="USD")
    closed = _one(rest, budget__resource="closed", budget__unit="USD")
    assert _series(backend, "budget.consumed") == {
        _one(day): 4, tokens: 10, endless: 10, closed: 10
    }  # fmt: skip
    # Unknown is not 0 and unlimited is not infinite.
    assert _series(backend, "budget.limit") == {_one(day): 5, closed: 0}
    assert _series(backend, "budget.utilization") == {_one(day): 0.8}
    assert _series(backend, "budget.window.length") == {_one(day): 86_400}
    assert _series(backend, "budget.window.remaining") == {_one(day): 3_600}


def test_gauges_from_the_last_soft_limit(backend: Backend, make: Make) -> None:
    guard = _wrap(backend, make.guard(make.soft("usd", 4.0, 5.0)))
    make.call(guard, "check_before_llm", "s", 1)
    guard.answer = make.soft("usd", 4.5, 5.0)
    make.call(guard, "check_before_tool", "s", "t")
    key = _one(
        LABELS,
        budget__guard__name="daily",
        budget__resource="usd",
        budget__source="soft_limit",
    )
    assert _series(backend, "budget.consumed") == {key: 4.5}
    assert _series(backend, "budget.limit") == {key: 5.0}
    assert _series(backend, "budget.utilization") == {key: pytest.approx(0.9)}
    assert _series(backend, "budget.window.length") == {}


# -- who and what ----------------------------------------------------------------------------
def test_who_and_what_from_a_function_asked_on_every_call(backend: Backend) -> None:
    models = iter(["m1", "m2"])
    guard = _wrap(
        backend,
        SyncScript(),
        session_info=lambda session: SessionInfo(tenant=f"t-{session}", model=next(models, None)),
    )
    for _ in range(3):
        guard.check_before_llm("s1", 10)
    assert [span.attributes.get("budget.model") for span in backend.spans()] == ["m1", "m2", None]
    assert {span.attributes["budget.tenant"] for span in backend.spans()} == {"t-s1"}
    assert backend.value("budget.estimated_tokens", gen_ai__request__model="m2") == 10


def test_call_info_goes_before_session_info_field_by_field(backend: Backend, make: Make) -> None:
    guard = _wrap(backend, make.guard(make.allow))
    with call_info(model="other", tenant="b"):
        with call_info(model="inner"):
            make.call(guard, "check_before_llm", "s1", 1)
        make.call(guard, "check_before_llm", "s1", 1)
    make.call(guard, "check_before_llm", "s1", 1)
    first, second, third = (dict(span.attributes) for span in backend.spans())
    said = ["budget.tenant", "budget.model", "budget.provider"]
    assert [first[key] for key in said] == ["b", "inner", "anthropic"]
    assert [second[key] for key in said] == ["b", "other", "anthropic"]
    assert [third[key] for key in said] == ["acme", "claude-sonnet-4-5", "anthropic"]
