"""Promise 5: metrics and log events are exact under any trace sampling."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_budget import FlatRates, SessionInfo
from support.backend import Backend
from support.guards import METHODS, Make


def test_promise_5_metrics_and_log_events_are_exact_without_any_sampled_span(make: Make) -> None:
    backend = Backend(sampler=ALWAYS_OFF)
    guard = backend.instrument(
        make.guard(make.deny()),
        prices=FlatRates(1, 2),
        session_info=SessionInfo(tenant="acme", model="m", provider="openai"),
    )
    for _ in range(7):
        for method in METHODS:
            make.call(guard, method, *make.arguments(method))
    assert backend.span_exporter.get_finished_spans() == ()
    assert backend.value("budget.decisions", budget__decision="deny") == 14
    assert backend.value("budget.threshold_hits", budget__kind="hard") == 14
    assert backend.value("budget.calls") == 7
    assert backend.value("budget.tokens") == 7 * 120
    assert backend.value("budget.cost") == pytest.approx(7 * 140 / 1e6)
    assert backend.value("budget.guard.duration") == 21
    assert len(backend.logs()) == 14
    assert all(record.trace_id and record.span_id for record in backend.logs())
    backend.shutdown()
