"""The public names are pinned, since others build on them."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

import otel_budget
import otel_budget.guards
import otel_budget.sdk
import otel_budget.testing
from typing_api import async_host, host, loop_without_a_runtime

PUBLIC = {
    "Allow",
    "AsyncGuardProtocol",
    "BillableCall",
    "BudgetDecision",
    "BudgetExhausted",
    "BudgetGate",
    "BudgetGuard",
    "BudgetLevel",
    "BudgetThresholdHit",
    "Deny",
    "FlatRates",
    "GenAIPrices",
    "MissingRate",
    "NoopBudgetGuard",
    "PriceSource",
    "SessionInfo",
    "SoftLimit",
    "SyncBudgetGuard",
    "SyncGuardProtocol",
    "TokenUsage",
    "__version__",
    "call_info",
    "for_a3s",
    "instrument",
}


def test_these_are_the_public_names() -> None:
    assert set(otel_budget.__all__) == PUBLIC
    assert otel_budget.__all__ == sorted(otel_budget.__all__)
    for name in PUBLIC:
        assert getattr(otel_budget, name) is not None


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            otel_budget.guards,
            {
                "AsyncRedisGuard",
                "AsyncWindowGuard",
                "GUARD_UNAVAILABLE",
                "Limit",
                "Measurement",
                "Price",
                "RedisGuard",
                "Reservation",
                "SessionInfoSource",
                "WindowGuard",
                "call_cost",
                "measure",
                "price",
                "price_source",
                "resolve",
            },
        ),
        (otel_budget.sdk, {"ConfiguredTelemetry", "configure", "keep_hits"}),
        (otel_budget.testing, {"CapturedTelemetry", "capture_telemetry"}),
    ],
)
def test_these_are_the_public_names_of_the_public_modules(module: Any, names: set[str]) -> None:
    assert set(module.__all__) == names
    for name in names:
        assert getattr(module, name) is not None


def test_the_keywords_of_instrument_are_pinned() -> None:
    parameters = inspect.signature(otel_budget.instrument).parameters
    assert {name: p.default for name, p in parameters.items() if name != "guard"} == {
        "name": None,
        "session_info": None,
        "prices": "auto",
        "metric_labels": ("tenant", "agent"),
        "max_label_sets": 100,
        "spans": "all",
        "events": None,
        "messages": True,
        "late_after": "auto",
        "tracer_provider": None,
        "meter_provider": None,
        "logger_provider": None,
    }
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "guard")


def test_the_fields_of_session_info_and_levels_are_pinned() -> None:
    fields = ["tenant", "principal", "agent", "correlation_id", "model", "provider"]
    assert list(inspect.signature(otel_budget.SessionInfo).parameters) == fields
    level = inspect.signature(otel_budget.BudgetLevel).parameters
    assert list(level) == [
        "resource",
        "consumed",
        "limit",
        "unit",
        "window",
        "window_length",
        "window_remaining",
        "tenant",
        "agent",
        "principal",
        "reserved",
        "reserved_age",
        "shared",
        "uncounted_calls",
    ]
    assert level["unit"].default == "USD"
    parameters = inspect.signature(otel_budget.call_info).parameters
    assert set(parameters) == {*fields, "cost_usd"}


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__", "BudgetDecision"}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    documented = inspect.getdoc(getattr(otel_budget, name))
    assert documented
    assert len(documented) > 20


def test_hosts_written_against_the_api_run() -> None:
    host()
    loop_without_a_runtime()
    asyncio.run(async_host())
