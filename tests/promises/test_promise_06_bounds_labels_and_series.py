"""Promise 6: no session id on a metric, and a bounded number of label sets and series."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import FlatRates, call_info
from support.backend import Backend
from support.guards import MAKES, SyncScript


def _everything(guard: Any, session: str, tool: str = "t", **known: Any) -> None:
    with call_info(**known):
        guard.check_before_llm(session, 10)
        guard.record_after_llm(session, MAKES[1].usage())
        guard.check_before_tool(session, tool)


def test_promise_6_a_session_id_is_on_no_metric(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(MAKES[1].soft()))
    for number in range(20):
        _everything(guard, f"session-{number}", tenant="acme")
    for name, metric in backend.collect().items():
        for point in metric.data.data_points:
            assert not [v for v in point.attributes.values() if "session-" in str(v)], name


def test_promise_6_a_thousand_tenants_make_only_the_promised_number_of_series(
    backend: Backend,
) -> None:
    guard = backend.instrument(
        SyncScript(MAKES[1].soft()), prices=FlatRates(1, 2), metric_labels=("tenant", "principal")
    )
    for number in range(1_000):
        _everything(
            guard,
            "s",
            tool=f"tool-{number}",
            tenant=f"t{number}",
            principal=f"p{number}",
            model=f"m{number}",
            provider=f"v{number}",
        )
    for name, metric in backend.collect().items():
        assert len(metric.data.data_points) <= 1_800, name
        for point in metric.data.data_points:
            assert "otel.metric.overflow" not in point.attributes, name
    decisions = backend.series("budget.decisions")
    tenants = {attributes["budget.tenant"] for attributes, _ in decisions}
    assert len(tenants) == 101
    assert "_other_" in tenants
    assert sum(value for _, value in decisions) == 2_000
    assert backend.value("budget.decisions", budget__tenant="_other_") == 2 * 900
    other = [a for a, _ in decisions if a["budget.tenant"] == "_other_"]
    assert all(attributes["budget.principal"] == "_other_" for attributes in other)
    # Caps do not change totals.
    assert backend.value("budget.calls") == 1_000
    assert backend.value("budget.tokens") == 120_000
    assert backend.value("budget.threshold_hits") == 2_000
    assert backend.value("budget.cost") == pytest.approx(1_000 * 140 / 1e6)
    assert backend.value("budget.label_overflows", budget__label="labels") > 0


def test_promise_6_without_labels_no_tenant_appears(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(MAKES[1].deny()), metric_labels=())
    _everything(guard, "s", tenant="acme", agent="a", principal="p")
    for name, metric in backend.collect().items():
        for point in metric.data.data_points:
            assert not {"budget.tenant", "budget.agent", "budget.principal"} & set(
                point.attributes
            ), name


def test_promise_6_the_largest_max_label_sets_applies(backend: Backend) -> None:
    few = backend.instrument(SyncScript(), max_label_sets=3)
    for number in range(5):
        _everything(few, "s", tenant=f"t{number}")
    many = backend.instrument(SyncScript(), max_label_sets=6)
    backend.instrument(SyncScript(), max_label_sets=2)
    for number in range(10):
        _everything(many, "s", tenant=f"u{number}")
    tenants = {a["budget.tenant"] for a, _ in backend.series("budget.calls")}
    assert tenants == {"t0", "t1", "t2", "u0", "u1", "u2", "_other_"}


def test_promise_6_another_order_of_labels_is_the_same_set(backend: Backend) -> None:
    first = backend.instrument(SyncScript(), metric_labels=("tenant", "agent"), max_label_sets=1)
    second = backend.instrument(SyncScript(), metric_labels=("agent", "tenant"), max_label_sets=1)
    for guard in (first, second):
        _everything(guard, "s", tenant="acme", agent="a")
    ((attributes, calls),) = backend.series("budget.calls")
    assert calls == 2
    assert attributes["budget.tenant"] == "acme"
