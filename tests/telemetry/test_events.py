"""The events of the telemetry schema, on spans and as log records (design 4)."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber

from otel_budget import SoftLimit
from support.backend import Backend
from support.guards import Make, SyncScript
from support.schema import WHO, instrumented


@pytest.mark.parametrize("method", ["check_before_llm", "check_before_tool"])
def test_the_span_event_has_the_five_fields_of_the_runtimes_event(
    backend: Backend, make: Make, method: str
) -> None:
    for answer in (make.soft("r", 4.0, 5.0), make.soft("r", 4.0, 5.0, "m"), make.deny("r", "no")):
        make.call(instrumented(backend, make.guard(answer)), method, *make.arguments(method))
    events = [event for span in backend.spans() for event in span.events]
    assert [event.name for event in events] == ["budget_threshold_hit"] * 3
    soft = {
        "budget.resource": "r",
        "budget.kind": "soft",
        "budget.consumed": 4.0,
        "budget.limit": 5.0,
        "budget.numbers_from": "decision",
    }
    assert [dict(event.attributes) for event in events] == [
        soft,
        {**soft, "budget.message": "m"},
        {
            "budget.resource": "r",
            "budget.kind": "hard",  # without the zeros of the runtime's own event
            "budget.message": "no",
        },
    ]


def without_uid(record: Any) -> dict[str, Any]:
    return {key: value for key, value in record.attributes.items() if key != "log.record.uid"}


@pytest.mark.parametrize("method", ["check_before_llm", "check_before_tool"])
def test_the_log_event_has_the_same_fields_and_points_to_the_span(
    backend: Backend, make: Make, method: str
) -> None:
    before = time.time_ns()
    for answer in (make.soft("a", 4.0, 5.0, "m"), make.deny("b", "no")):
        make.call(instrumented(backend, make.guard(answer)), method, *make.arguments(method))
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
    uids = {record.attributes["log.record.uid"] for record in (soft, deny)}
    assert {len(uid) for uid in uids} == {32}
    assert len(uids) == 2  # each its own
    assert without_uid(soft) == {
        **common,
        "budget.resource": "a",
        "budget.kind": "soft",
        "budget.consumed": 4.0,
        "budget.limit": 5.0,
        "budget.numbers_from": "decision",
        "budget.message": "m",
    }
    assert without_uid(deny) == {
        **common,
        "budget.resource": "b",
        "budget.kind": "hard",
        "budget.message": "no",
    }


def test_a_session_that_stays_above_its_soft_limit_logs_once_a_minute_per_resource(
    backend: Backend, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 1_000.0

        def monotonic(self) -> float:
            return self.now

    monkeypatch.setattr("otel_budget.telemetry.sessions.time", Clock)
    clock = Clock()
    monkeypatch.setattr("otel_budget.telemetry.sessions.time", clock)
    cost, tokens = (instrumented(backend, make.guard(make.soft(r))) for r in ("usd", "tokens"))
    for guard in (cost, cost, tokens, cost, tokens):
        make.call(guard, "check_before_llm", "s1", 1)
    assert len(backend.logs()) == 2
    make.call(cost, "check_before_llm", "s2", 1)
    assert len(backend.logs()) == 3
    clock.now += 61
    make.call(cost, "check_before_llm", "s1", 1)
    assert len(backend.logs()) == 4
    # Span events and counters are not thinned out, nor are denials.
    assert sum(len(span.events) for span in backend.spans()) == 7
    assert backend.value("budget.threshold_hits", budget__kind="soft") == 7
    deny = instrumented(backend, make.guard(make.deny()))
    for _ in range(3):
        make.call(deny, "check_before_llm", "s1", 1)
    assert len(backend.logs()) == 7


@pytest.mark.parametrize(
    ("option", "variable", "span_events", "log_events"),
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
def test_the_events_option_decides_where_hits_are_written(
    *,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    option: Any,
    variable: str | None,
    span_events: int,
    log_events: int,
) -> None:
    if variable is not None:
        monkeypatch.setenv("OTEL_PYTHON_BUDGET_EVENTS", variable)
    deny = {"decision": "deny", "resource": "r", "reason": "x"}
    instrumented(backend, SyncScript(deny), events=option).check_before_llm("s", 1)
    assert (len(backend.span().events), len(backend.logs())) == (span_events, log_events)
    assert backend.value("budget.threshold_hits") == 1


class MoneyLimit(SoftLimit):
    consumed: Decimal  # type: ignore[assignment]
    limit: Decimal  # type: ignore[assignment]


SOFT = SoftLimit(resource="usd", consumed=1, limit=2)


@pytest.mark.parametrize(
    ("answer", "consumed", "limit"),
    [
        (SOFT.model_copy(update={"consumed": Decimal("1.5")}), 1.5, 2.0),
        (MoneyLimit(resource="usd", consumed="1.5", limit="2"), 1.5, 2.0),
        (SoftLimit.model_construct(resource="usd", consumed=2**70, limit=2**71), 2.0**70, 2.0**71),
        (SoftLimit.model_construct(resource="usd", consumed=Fraction(3, 2), limit=True), 1.5, 1.0),
    ],
    ids=["copy", "subclass", "beyond int64", "fraction"],
)  # fmt: skip
def test_a_soft_limit_of_other_numbers_is_carried_as_floats(
    backend: Backend, answer: Any, consumed: float, limit: float
) -> None:
    guard = backend.instrument(SyncScript(answer))
    assert guard.check_before_llm("s", 1) is answer
    assert backend.value("budget.decisions", budget__decision="soft_limit") == 1
    assert backend.value("budget.threshold_hits") == 1
    span, (record,) = backend.span(), backend.logs()
    for attributes in (span.attributes, span.events[0].attributes, record.attributes):
        assert (attributes["budget.consumed"], attributes["budget.limit"]) == (consumed, limit)
        assert type(attributes["budget.consumed"]) is type(attributes["budget.limit"]) is float
    assert span.attributes["budget.utilization"] == consumed / limit
    assert backend.series("budget.consumed")[0][1] == consumed
    assert backend.encode()
    assert backend.value("budget.telemetry.errors") == 0
