"""Mistakes that people make with a gate."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import BudgetGate, BudgetGuard, BudgetThresholdHit, SyncBudgetGuard


async def _async_sink(hit: BudgetThresholdHit) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"guard": object()}, TypeError, "not a budget guard"),
        ({"on_hit": 3}, TypeError, "function, a list or a queue"),
        ({"on_hit": _async_sink}, TypeError, "must not be async"),
        ({"timeout": 0}, ValueError, "above 0"),
        ({"timeout": float("inf")}, ValueError, "above 0"),
        ({"timeout": "5"}, TypeError, "seconds"),
        ({"fail": "maybe"}, ValueError, "'closed' or 'open'"),
    ],
)
def test_a_wrong_argument_is_a_clear_error(
    arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        BudgetGate(**{"guard": SyncBudgetGuard(), **arguments})


def test_an_async_guard_under_a_sync_gate_is_refused_with_the_remedy() -> None:
    with (
        pytest.raises(TypeError, match=r"BudgetGuard is an async guard: use `async with`"),
        BudgetGate(BudgetGuard()).llm_call("s1", 1),
    ):
        pytest.fail("never entered")
