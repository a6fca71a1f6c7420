"""What a soft limit and a denial say, in each of the places where people look for it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import pytest

from collector.stack import Stack
from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    BudgetLevel,
    Deny,
    SessionInfo,
    SoftLimit,
    semconv,
)
from otel_budget.guards import Limit, WindowGuard
from otel_budget.metric import prometheus_label
from otel_budget.telemetry.hubs import poll_levels
from support import probes
from support.applications import PRICES, Application, Scripted, deny, soft
from support.paths import ROOT

pytestmark = pytest.mark.backend

#: Everything that may be said of the budget behind a hit.
DETAILS = frozenset({*semconv.DETAIL_ATTRIBUTES.values(), semconv.UTILIZATION})
#: Whatever else a guard's answer has is ignored.
SCHEMA = frozenset(value for value in vars(semconv).values() if isinstance(value, str))
RUNBOOKS = ROOT / "docs" / "runbooks"
KINDS = (semconv.KIND_SOFT, semconv.KIND_HARD)
SESSION = "session-7"
NOON = 1_764_590_400.0
Attributes = dict[str, Any]


class Levels(Scripted):
    """Tells no numbers with a denial, and has one level that must be the one behind it."""

    def budget_levels(self) -> Iterable[BudgetLevel]:
        return [
            BudgetLevel(
                "usd", 5.01, 5.0, reserved=0.25, window="day", window_remaining=600, tenant="acme"
            ),
            BudgetLevel("usd", 30.0, 100.0, window="month", tenant="acme"),
            BudgetLevel("usd", 9.0, 5.0, window="day", tenant="globex"),
        ]


def guard_with_levels(app: Application) -> None:
    ask(app, Levels(), soft(), deny())


def guard_without_levels(app: Application) -> None:
    typed_soft = SoftLimit(resource="usd", consumed=8.0, limit=10.0, message="nearly")
    ask(app, Scripted(), typed_soft, Deny(resource="usd", reason="too much"))


def guard_in_the_dict_dialect(app: Application) -> None:
    common = {"reserved": 0.5, "window": "hour", "resets_in": 90, "retry_after": 7, "note": "ours"}
    denial = {"consumed": 10.25, "limit": 10, "cause": "reserved"}
    ask(app, Scripted(), soft() | common, deny() | common | denial)


def window_guard(app: Application) -> None:
    info = SessionInfo(tenant="acme", model="test-model", provider="openai")
    limit = Limit(0.001, "USD", per="tenant", window="day", soft=0.5)
    inner = WindowGuard(limit, session_info=info, prices=PRICES, clock=lambda: NOON)
    guard = app.instrument(inner)
    for _ in range(2):  # a call costs 0.0006 USD
        usage = {"prompt_tokens": 150, "completion_tokens": 10, "total_tokens": 160}
        guard.record_after_llm(SESSION, usage)
        poll_levels()
        guard.check_before_llm(SESSION, 10)


def stand_in(app: Application, *fails: Literal["open", "closed"]) -> None:
    inner = Scripted()
    inner.answer = RuntimeError("the store is down")
    guard = app.instrument(inner)
    for fail in fails or ("open", "closed"):
        with suppress(BudgetExhausted):
            BudgetGate(guard, fail=fail).check_llm_sync(SESSION, 10)


def ask(app: Application, inner: Scripted, *answers: Any) -> None:
    """Let `inner` give these answers."""
    guard = app.instrument(inner)
    poll_levels()
    for inner.answer in answers:
        guard.check_before_llm(SESSION, 10)


def said(**details: Any) -> Attributes:
    return {semconv.DETAIL_ATTRIBUTES[name]: value for name, value in details.items()}


OWN = said(consumed=8.0, limit=10.0, numbers_from="decision")
UNAVAILABLE = said(cause="unavailable")


class Case(NamedTuple):
    """What makes one soft limit and one denial, and what is to be said of each."""

    run: Callable[[Application], None]
    soft: Attributes
    hard: Attributes


CASES = (
    Case(
        guard_with_levels,
        OWN,
        said(
            consumed=5.01, limit=5.0, reserved=0.25, window="day", resets_in=600.0,
            numbers_from="level",
        ),
    ),
    Case(guard_without_levels, OWN, {}),
    Case(
        guard_in_the_dict_dialect,
        OWN | said(reserved=0.5, window="hour", resets_in=90.0),
        said(
            consumed=10.25, limit=10.0, reserved=0.5, window="hour", resets_in=90.0,
            cause="reserved", numbers_from="decision",
        ),
    ),
    Case(
        window_guard,
        said(
            consumed=0.0006, limit=0.0005, window="day", resets_in=43_200.0,
            numbers_from="decision",
        ),
        said(
            consumed=0.0012, limit=0.001, window="day", resets_in=43_200.0, cause="spent",
            numbers_from="decision",
        ),
    ),
    Case(stand_in, UNAVAILABLE, UNAVAILABLE),
)  # fmt: skip


# -- what arrived ------------------------------------------------------------------------------
ByKind = dict[str, list[Attributes]]


def by_kind(found: Iterable[Mapping[str, Any]]) -> ByKind:
    """Attributes of hits by their kind, so that one too many is seen."""
    kinds: ByKind = {}
    for attributes in found:
        kinds.setdefault(attributes[semconv.KIND], []).append(dict(attributes))
    return kinds


def hits_in_jaeger(stack: Stack, service: str) -> tuple[ByKind, ByKind]:
    """The threshold events of a service, and the spans that they are on."""
    events, spans = [], []
    for span in probes.spans(stack.jaeger, service):
        for log in span["logs"]:
            event = {field["key"]: field["value"] for field in log["fields"]}
            if event["event"] == semconv.SPAN_EVENT_THRESHOLD_HIT:
                events.append(event)
                spans.append({semconv.KIND: event[semconv.KIND], **span["tags"]})
    return by_kind(events), by_kind(spans)


def hits_in_the_audit_file(stack: Stack, service: str) -> ByKind:
    return by_kind(
        record["attributes"]
        for record in probes.audit_events(stack.audit_file)
        if record["resource"]["service.name"] == service
    )


def hits_in_prometheus(stack: Stack, service: str) -> ByKind:
    """The counter's series: its labels under the attributes' names, and its value.

    Not those at 0: of the kind that a series beside them has counted, with the same labels.
    """
    metric = semconv.METRIC_THRESHOLD_HITS
    names = {prometheus_label(name): name for name in metric.attributes}
    return by_kind(
        {names[label]: text for label, text in labels.items() if label in names} | {"value": value}
        for labels, value in probes.query(
            stack.prometheus, f'{metric.prometheus_name()}{{job="{service}"}} > 0'
        )
    )


def once(found: ByKind) -> bool:
    return {kind: len(hits) for kind, hits in found.items()} == dict.fromkeys(KINDS, 1)


def assert_says(attributes: Attributes, wanted: Attributes, *, on_span: bool = False) -> None:
    """That all details are as wanted, and that there are no others."""
    details = {name: attributes[name] for name in DETAILS & attributes.keys()}
    wanted = dict(wanted)
    if on_span and semconv.CONSUMED in wanted:
        wanted[semconv.UTILIZATION] = wanted[semconv.CONSUMED] / wanted[semconv.LIMIT]
    if wanted.get(semconv.NUMBERS_FROM) == semconv.FROM_LEVEL:
        age = details.pop(semconv.LEVEL_AGE)
        assert 0 < age < 10
        wanted[semconv.RESETS_IN] -= age
    assert details == pytest.approx(wanted)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.run.__name__)
def test_what_is_known_of_a_hit_is_said_once_in_each_place(stack: Stack, case: Case) -> None:
    service = f"refusals-{case.run.__name__}"
    with Application(stack.otlp_grpc, service) as app:
        case.run(app)
        app.flush()

        events, spans = probes.eventually(
            lambda: hits_in_jaeger(stack, service), lambda found: once(found[0])
        )
        audited = probes.eventually(lambda: hits_in_the_audit_file(stack, service), once)
        counted = probes.eventually(lambda: hits_in_prometheus(stack, service), once)
        for place in (events, spans, audited, counted):
            assert once(place), place
        for kind, wanted in ((semconv.KIND_SOFT, case.soft), (semconv.KIND_HARD, case.hard)):
            assert_says(events[kind][0], wanted)
            assert_says(spans[kind][0], wanted, on_span=True)
            assert_says(audited[kind][0], wanted)
            assert audited[kind][0].keys() <= SCHEMA
            (series,) = counted[kind]
            labels = {semconv.WINDOW, semconv.CAUSE}
            assert {name: series[name] for name in labels & series.keys()} == {
                name: wanted[name] for name in labels & wanted.keys()
            }
            assert series["value"] == 1

        errors = semconv.METRIC_TELEMETRY_ERRORS.prometheus_name()
        assert not probes.total(stack.prometheus, f'{errors}{{job="{service}"}}')


def test_a_denial_without_numbers_is_no_point_of_a_gauge(stack: Stack) -> None:
    """The last soft limit of a guard without levels is one; a denial after it leaves it alone."""
    with Application(stack.otlp_grpc, "refusals-gauges") as app:
        guard_without_levels(app)
        app.flush()
        for metric, value in ((semconv.METRIC_CONSUMED, 8.0), (semconv.METRIC_LIMIT, 10.0)):
            rows = probes.eventually(
                lambda metric=metric: probes.query(
                    stack.prometheus, f'{metric.prometheus_name()}{{job="refusals-gauges"}}'
                )
            )
            assert [found for _, found in rows] == [value]


@pytest.mark.parametrize("fail", ["open", "closed"])
def test_the_runbooks_search_finds_what_a_gate_did_for_a_failing_guard(
    stack: Stack, fail: Literal["open", "closed"]
) -> None:
    service = f"refusals-fail-{fail}"
    with Application(stack.otlp_grpc, service) as app:
        stand_in(app, fail)
        app.flush()
        for runbook in ("open", "closed"):
            page = RUNBOOKS / f"LLMBudgetGuardFail{runbook.title()}.md"
            (search,) = re.findall(r"Jaeger: `([^`]*)`", page.read_text())
            tags = dict(tag.split("=") for tag in search.split())
            assert probes.eventually(
                lambda: probes.spans(stack.jaeger, service, budget__decision=semconv.ERROR)
            )
            assert bool(probes.traces(stack.jaeger, service, tags)) == (runbook == fail)


@pytest.mark.parametrize("messages", [True, False])
def test_what_a_guard_says_arrives_only_if_messages_may(stack: Stack, *, messages: bool) -> None:
    secret, service = f"secret-{messages}", f"refusals-messages-{messages}"
    with Application(stack.otlp_grpc, service) as app:
        inner = Scripted()
        guard = app.instrument(inner, messages=messages)
        for inner.answer in (soft(secret), deny(secret), RuntimeError(secret)):
            with suppress(RuntimeError):
                guard.check_before_llm(SESSION, 10)
        app.flush()

        def arrived() -> bool:
            events, _ = hits_in_jaeger(stack, service)
            failed = probes.spans(stack.jaeger, service, budget__decision=semconv.ERROR)
            return once(events) and bool(failed)

        assert probes.eventually(arrived)
        assert once(probes.eventually(lambda: hits_in_the_audit_file(stack, service), once))
        spans = json.dumps(probes.spans(stack.jaeger, service))
        # The audit file as it is, with whatever stands in its records.
        parts = stack.audit_file.parent.iterdir()
        audit = "".join(part.read_text() for part in parts)
        assert (secret in spans, secret in audit) == (messages, messages)
