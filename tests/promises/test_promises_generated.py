"""The promises, all at once, for guards, answers, usages and sources that hypothesis makes up."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.internal.conjecture import engine, providers
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from otel_budget import log_once, semconv
from otel_budget.telemetry.hubs import poll_levels
from otel_budget.telemetry.instrument import STACKTRACES_VARIABLE
from support.backend import Backend
from support.batches import Batch, Lines
from support.strategies import Scenario, Source, scenarios, tells_details

CALLS = 48  # of each batch
_COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile(
    "local", max_examples=60, phases=[Phase.generate, Phase.shrink], **_COMMON
)
# The same calls on every run: what fails there fails on every machine, where `local` shrinks it.
settings.register_profile(
    "ci", max_examples=450, derandomize=True, phases=[Phase.generate], **_COMMON
)
PROFILE = "ci" if os.environ.get("CI") == "true" else "local"


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples that change with the test alone, and a failure that is shrunk for half a minute."""
    # Hypothesis draws constants of the sources that it finds, here otel_budget's: no setting.
    monkeypatch.setattr(providers, "is_local_module_file", lambda _: False)
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", 30)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("steady")
def test_promises_hold_whatever_guards_and_hosts_bring() -> None:
    made = 0

    @settings(settings.get_profile(PROFILE))
    @given(scenarios())
    def holds(scenario: Scenario) -> None:
        nonlocal made
        made += _run(scenario)

    holds()
    assert made == settings.get_profile(PROFILE).max_examples * CALLS
    assert PROFILE == "local" or made >= 20_000


def _run(scenario: Scenario) -> int:
    """Run a batch, hold its telemetry to the promises, and return the number of its calls."""
    log_once._logged.clear()
    backend = Backend()
    try:
        with _lines("otel_budget") as ours, _lines("opentelemetry") as sdk:
            with patch.dict(os.environ, {STACKTRACES_VARIABLE: str(scenario.stacktraces)}):
                batch = Batch(scenario, backend)
            batch.run(CALLS)
            if scenario.levels is not None:
                poll_levels()
            assert backend.encode()
            _check_counts(batch, backend)
            _check_failures(scenario, backend)
            _check_spans_and_logs(scenario, backend)
            _check_metrics(scenario, backend)
        assert sdk.messages == [], "OpenTelemetry refused something"
        for line in ours.messages:
            line.encode()
        assert not trace.get_current_span().get_span_context().is_valid
    finally:
        backend.shutdown()
    return batch.made


@contextmanager
def _lines(name: str) -> Iterator[Lines]:
    logger, lines = logging.getLogger(name), Lines()
    logger.addHandler(lines)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield lines
    finally:
        logger.removeHandler(lines)
        logger.propagate = propagates


def _check_counts(batch: Batch, backend: Backend) -> None:
    counted = {
        word: backend.value("budget.decisions", budget__decision=word)
        for word in ("allow", "soft_limit", "deny", "malformed", "error", "cancelled", "late")
    }
    assert sum(counted.values()) == batch.checks
    for word, certain in batch.certain.items():
        assert counted[word] >= certain, word
    assert counted["late"] == 0
    assert backend.value("budget.calls") == batch.records
    assert backend.value("budget.calls_without_usage") == batch.without_usage
    assert backend.value("budget.guard.errors") == batch.errors
    asked = batch.guard.asked
    assert sum(asked.values()) == batch.checks + batch.records
    assert backend.value("budget.guard.duration") == batch.checks + batch.records
    hits = backend.value("budget.threshold_hits")
    if batch.scenario.way in {"bare", "nested", "twice"}:
        assert hits == counted["soft_limit"] + counted["deny"]
    else:
        assert hits == len(batch.hits) == batch.checks - counted["allow"]


def _check_failures(scenario: Scenario, backend: Backend) -> None:
    """Telemetry fails only where a source of the host does."""
    sources = {
        "session_info": scenario.options["session_info"],
        "prices": scenario.options["prices"],
        "budget_levels": scenario.levels,
    }
    justified = {name for name, source in sources.items() if isinstance(source, Source)}
    if any(tells_details(answer.value) for answer in scenario.answers):
        justified.add("decision")
    failed = {
        attributes["budget.component"]
        for attributes, value in backend.series("budget.telemetry.errors")
        if value
    }
    assert failed <= justified, f"{failed} failed, {justified} may"


def _check_spans_and_logs(scenario: Scenario, backend: Backend) -> None:
    spans = backend.span_exporter.get_finished_spans()
    carriers = [*spans, *(event for span in spans for event in span.events), *backend.logs()]
    assert not any(span.dropped_attributes for span in spans)
    stacks = 0
    for carrier in carriers:
        for name, value in (carrier.attributes or {}).items():
            is_stack = name == semconv.EXCEPTION_STACKTRACE
            stacks += is_stack
            _check_value(value, 16_384 if is_stack else 1_024)
    assert scenario.stacktraces or not stacks
    events = [event for span in spans for event in span.events]
    kinds = [
        event.attributes[semconv.KIND]
        for event in events
        if event.name == semconv.SPAN_EVENT_THRESHOLD_HIT
    ]
    for kind in semconv.KINDS:
        told = backend.value("budget.threshold_hits", budget__kind=kind)
        if scenario.options["events"] == "logs":
            assert kind not in kinds
        elif kind == semconv.KIND_HARD or scenario.options["spans"] == "all":
            assert kinds.count(kind) == told
        else:  # drawn once a minute
            assert bool(told) <= kinds.count(kind) <= told
    if scenario.options["spans"] == "hits":
        assert not [span for span in spans if _is_plain(span)]
    assert scenario.options["events"] != "span" or not backend.logs()


def _is_plain(span: ReadableSpan) -> bool:
    attributes = span.attributes or {}
    if attributes.get(semconv.DECISION_POINT) != semconv.POINT_USAGE:
        return attributes.get(semconv.DECISION) == semconv.ALLOW
    return not {semconv.DECISION, semconv.ERROR_TYPE} & attributes.keys()


def _check_metrics(scenario: Scenario, backend: Backend) -> None:
    labels = {f"budget.{name}" for name in scenario.options["metric_labels"]}
    label_sets = set()
    for name, metric in backend.collect().items():
        for point in metric.data.data_points:
            value = point.value if hasattr(point, "value") else point.sum
            assert 0 <= value < (math.inf if type(value) is float else 2**63), name
            for attribute in point.attributes.values():
                _check_value(attribute, 256)
            if name == "budget.decisions":
                label_sets.add(
                    frozenset(pair for pair in point.attributes.items() if pair[0] in labels)
                )
    within = [pairs for pairs in label_sets if pairs and {v for _, v in pairs} != {"_other_"}]
    assert len(within) <= scenario.options["max_label_sets"]


def _check_value(value: Any, length: int) -> None:
    assert type(value) in {str, int, float, bool}
    if type(value) is str:
        assert len(value) <= length
        value.encode()
    else:
        assert type(value) is not float or math.isfinite(value)
