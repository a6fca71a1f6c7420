"""The gauges of the telemetry schema (design 4): how full the budgets are."""

from __future__ import annotations

import pytest

from otel_budget import BudgetLevel
from otel_budget.telemetry.hubs import poll_levels
from support.backend import Backend
from support.guards import Make, SyncScript
from support.schema import LABELS, instrumented, labelled, series_of


def test_gauges_from_the_guards_own_levels(backend: Backend) -> None:
    class Guard(SyncScript):
        def budget_levels(self) -> list[BudgetLevel]:
            return [
                BudgetLevel(
                    "usd", 4, 5, window="day", window_length=86_400, window_remaining=3_600,
                    tenant="acme", agent="coder", principal="u1", uncounted_calls=3,
                ),
                BudgetLevel("tokens", 10, None, unit="tokens", tenant="acme"),
                BudgetLevel("endless", 10, float("inf")),
                BudgetLevel("closed", 10, 0),
            ]  # fmt: skip

    guard = instrumented(backend, Guard())
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
    tokens = labelled(rest, budget__tenant="acme", budget__resource="tokens", budget__unit="tokens")
    endless = labelled(rest, budget__resource="endless", budget__unit="USD")
    closed = labelled(rest, budget__resource="closed", budget__unit="USD")
    assert series_of(backend, "budget.consumed") == {
        labelled(day): 4, tokens: 10, endless: 10, closed: 10
    }  # fmt: skip
    # Unknown is not 0 and unlimited is not infinite.
    assert series_of(backend, "budget.limit") == {labelled(day): 5, closed: 0}
    assert series_of(backend, "budget.utilization") == {labelled(day): 0.8}
    assert series_of(backend, "budget.window.length") == {labelled(day): 86_400}
    assert series_of(backend, "budget.window.remaining") == {labelled(day): 3_600}
    assert series_of(backend, "budget.uncounted_calls") == {labelled(day): 3}


def test_gauges_of_reservations_and_whether_a_level_is_shared(backend: Backend) -> None:
    class Guard(SyncScript):
        def budget_levels(self) -> list[BudgetLevel]:
            return [
                BudgetLevel("usd", 4, 5, reserved=0.5, reserved_age=12.0, shared=True),
                BudgetLevel("tokens", 4, 5, reserved=0.0, shared=False),
                BudgetLevel("calls", 4, 5),
            ]

    guard = instrumented(backend, Guard())
    poll_levels()
    assert guard.check_before_llm("s", 1) is None  # alive until here
    rest = {"budget.guard.name": "daily", "budget.source": "guard", "budget.unit": "USD"}
    shared = labelled(rest, budget__resource="usd", budget__shared="true")
    own = labelled(rest, budget__resource="tokens", budget__shared="false")
    unknown = labelled(rest, budget__resource="calls")
    assert series_of(backend, "budget.consumed") == {shared: 4, own: 4, unknown: 4}
    # A guard that reserves nothing says nothing of reservations; 0 is one that holds none now.
    assert series_of(backend, "budget.reserved") == {shared: 0.5, own: 0.0}
    assert series_of(backend, "budget.reservation.age") == {shared: 12.0}


def test_gauges_from_the_last_soft_limit(backend: Backend, make: Make) -> None:
    guard = instrumented(backend, make.guard(make.soft("usd", 4.0, 5.0)))
    make.call(guard, "check_before_llm", "s", 1)
    guard.answer = make.soft("usd", 4.5, 5.0)
    make.call(guard, "check_before_tool", "s", "t")
    key = labelled(
        LABELS,
        budget__guard__name="daily",
        budget__resource="usd",
        budget__source="soft_limit",
    )
    assert series_of(backend, "budget.consumed") == {key: 4.5}
    assert series_of(backend, "budget.limit") == {key: 5.0}
    assert series_of(backend, "budget.utilization") == {key: pytest.approx(0.9)}
    assert series_of(backend, "budget.window.length") == {}
