"""Where a gate's hits go."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

import pytest

from otel_budget import BudgetExhausted, BudgetGate, BudgetThresholdHit
from support.gate_guards import USAGE, SyncFixed
from support.guards import Make


async def test_hits_go_to_a_function_a_list_or_a_queue_before_the_refusal() -> None:
    def deny() -> Any:
        return SyncFixed(Make(False, True), "deny")

    order: list[str] = []
    waiting: asyncio.Queue[BudgetThresholdHit] = asyncio.Queue()
    plain: queue.Queue[BudgetThresholdHit] = queue.Queue()
    listed: list[BudgetThresholdHit] = []
    for sink in (lambda hit: order.append(hit.kind), waiting, plain, listed):
        with pytest.raises(BudgetExhausted):
            await BudgetGate(deny(), sink).check_llm("s1", 1_000)
        order.append("refused")
    assert order[:2] == ["hard", "refused"]
    assert waiting.get_nowait() == plain.get_nowait() == listed[0]


async def test_an_on_hit_that_raises_is_logged_and_breaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(hit: BudgetThresholdHit) -> None:
        raise OSError("the pager is down")

    full: queue.Queue[Any] = queue.Queue(1)
    full.put(None)
    for sink in (fails, full):
        async with BudgetGate(SyncFixed(Make(False, True), "soft_limit"), sink).llm_call(
            "s1", 1_000
        ) as call:
            call.usage(USAGE)
        with pytest.raises(BudgetExhausted):
            await BudgetGate(SyncFixed(Make(False, True), "deny"), sink).check_llm("s1", 1_000)
    assert "on_hit raised OSError" in caplog.text
    assert "on_hit raised Full" in caplog.text
