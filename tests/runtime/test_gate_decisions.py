"""The gate: each decision, at each point, with each way a body can end, derived from the contract.

`expected` is written from the contract, not from the code: what the host sees (proceeds or is
refused), which hits are reported, what is recorded, and what the telemetry shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from otel_budget import BudgetExhausted, BudgetGate, BudgetThresholdHit
from support.backend import Backend
from support.gate_guards import PRINTED, USAGE, AsyncFixed, GuardDownError, SyncFixed, make_call
from support.guards import Make


class BodyError(Exception):
    """What a failing model call raises."""


# -- the table -----------------------------------------------------------------------------
DECISIONS = ("allow", "soft_limit", "deny", "malformed", "raises")
BODIES = ("succeeds", "never reports", "raises", "raises after usage", "is cancelled", "abandoned")
KINDS = [("sync gate", Make(False, typed)) for typed in (True, False)] + [
    ("async gate", Make(asynchronous, typed))
    for asynchronous in (False, True)
    for typed in (True, False)
]


@dataclass
class Expected:
    """The expected result of a row of the table."""

    refused: tuple[str, str] | None = None
    raised: type[BaseException] | None = None
    hits: list[BudgetThresholdHit] = field(default_factory=list)
    records: bool = False
    without_usage: str | None = None
    counted_as: str = ""


def expected(decision: str, point: str, body: str, fail: str) -> Expected:
    row = Expected(counted_as={"raises": "error"}.get(decision, decision))
    unavailable = {
        "raises": "the budget guard raised support.gate_guards.GuardDownError",
        "malformed": "the budget guard's answer cannot be read: an answer of type bool",
    }
    if decision == "deny":
        row.refused = ("llm_cost_usd", "spent")
    elif decision == "malformed" or (decision == "raises" and fail == "closed"):
        row.refused = ("guard_unavailable", unavailable[decision])
    if row.refused is not None:
        resource, reason = row.refused
        row.raised = BudgetExhausted
        row.hits = [
            BudgetThresholdHit(
                kind="hard", resource=resource, consumed=0.0, limit=0.0, message=reason
            )
        ]
        return row
    if decision == "soft_limit":
        row.hits = [
            BudgetThresholdHit(
                kind="soft", resource="llm_cost_usd", consumed=4.0, limit=5.0, message="nearly"
            )
        ]
    if decision == "raises":
        row.hits = [
            BudgetThresholdHit(
                kind="soft",
                resource="guard_unavailable",
                consumed=0.0,
                limit=0.0,
                message=unavailable[decision] + "; let through",
            )
        ]
    row.raised = {
        "raises": BodyError,
        "raises after usage": BodyError,
        "is cancelled": asyncio.CancelledError,
    }.get(body)
    if point == "llm":
        row.records = body == "succeeds"
        row.without_usage = {
            "never reports": "not_reported",
            "raises after usage": "discarded",
            "abandoned": "abandoned",
        }.get(body)
    return row


def run_body(body: str, point: str, call: Any) -> None:
    if point == "llm" and body in {"succeeds", "raises after usage"}:
        call.usage(USAGE)
    if body.startswith("raises"):
        raise BodyError
    if body == "is cancelled":
        raise asyncio.CancelledError


def run_sync(gate: BudgetGate, point: str, body: str) -> bool:
    entered = False

    def stream() -> Iterator[int]:
        nonlocal entered
        with make_call(gate, point) as call:
            entered = True
            run_body(body, point, call)
            yield 1

    try:
        for _ in stream():
            if body == "abandoned":
                break
    finally:
        run_sync.entered = entered  # type: ignore[attr-defined]
    return entered


async def run_async(gate: BudgetGate, point: str, body: str) -> None:
    run_sync.entered = False  # type: ignore[attr-defined]

    async def stream() -> Any:
        async with make_call(gate, point) as call:
            run_sync.entered = True  # type: ignore[attr-defined]
            run_body(body, point, call)
            yield 1

    chunks = stream()
    async for _ in chunks:
        if body == "abandoned":
            break
    await chunks.aclose()


@pytest.mark.parametrize("fail", ["closed", "open"])
@pytest.mark.parametrize("instrumented", [True, False], ids=["instrumented", "bare"])
@pytest.mark.parametrize("point", ["llm", "tool"])
@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize(("gate_kind", "make"), KINDS, ids=[f"{g}-{m}" for g, m in KINDS])
async def test_every_decision_at_every_point_with_every_end_of_the_body(
    backend: Backend,
    *,
    gate_kind: str,
    make: Make,
    decision: str,
    point: str,
    instrumented: bool,
    fail: Any,
) -> None:
    seen = dict.fromkeys(("rows", "calls", "without"), 0)
    for body in BODIES:
        row = expected(decision, point, body, fail)
        table = (AsyncFixed if make.asynchronous else SyncFixed)(make, decision)
        hits: list[BudgetThresholdHit] = []
        guard = backend.instrument(table) if instrumented else table
        gate = BudgetGate(guard, hits, fail=fail)
        raised: BaseException | None = None
        try:
            if gate_kind == "sync gate":
                run_sync(gate, point, body)
            else:
                await run_async(gate, point, body)
        except BaseException as error:
            raised = error

        # What the host sees.
        assert type(raised) is (row.raised or type(None)), body
        assert run_sync.entered is (row.refused is None)  # type: ignore[attr-defined]
        if isinstance(raised, BudgetExhausted):
            assert (raised.resource, raised.reason) == row.refused
            assert isinstance(raised.__cause__, GuardDownError) is (decision == "raises")
            assert "secret" not in str(raised)
        assert hits == row.hits, body
        # What is reported to the guard: usage, once, in its own dialect.
        usage = USAGE if make.typed else PRINTED
        if decision == "raises" and fail == "open":  # it has not yet shown its dialect
            usage = USAGE
        assert table.recorded == ([usage] if row.records else []), body

        # What the telemetry shows.
        seen["rows"] += instrumented
        seen["calls"] += instrumented and row.records
        assert backend.value("budget.decisions") == seen["rows"]
        assert (
            backend.value(
                "budget.decisions", budget__decision=row.counted_as, budget__decision_point=point
            )
            == seen["rows"]
        )
        assert backend.value("budget.threshold_hits") == seen["rows"] * len(row.hits)
        for hit in row.hits:
            assert (
                backend.value(
                    "budget.threshold_hits",
                    budget__kind=hit.kind,
                    budget__resource=hit.resource,
                    budget__decision_point=point,
                )
                == seen["rows"]
            )
        assert backend.value("budget.calls") == seen["calls"]
        assert backend.value("budget.tokens") == 120 * seen["calls"]
        seen["without"] += bool(instrumented and row.without_usage)
        assert backend.value("budget.calls_without_usage") == seen["without"], body
        if instrumented and row.without_usage:
            assert (
                backend.value("budget.calls_without_usage", budget__reason=row.without_usage) == 1
            )
        assert backend.value("budget.telemetry.errors") == 0


# -- plain methods -------------------------------------------------------------------------
@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize(("gate_kind", "make"), KINDS, ids=[f"{g}-{m}" for g, m in KINDS])
async def test_the_plain_methods_decide_as_the_calls_do(
    backend: Backend, gate_kind: str, make: Make, decision: str
) -> None:
    table = (AsyncFixed if make.asynchronous else SyncFixed)(make, decision)
    hits: list[BudgetThresholdHit] = []
    gate = BudgetGate(backend.instrument(table), hits)
    refused = 0
    for method, arguments in {
        "check_llm": ("s1", 1_000),
        "check_tool": ("s1", "web_search"),
        "record_llm": ("s1", USAGE),
    }.items():
        try:
            if gate_kind == "sync gate":
                getattr(gate, f"{method}_sync")(*arguments)
            else:
                await getattr(gate, method)(*arguments)
        except BudgetExhausted:
            refused += 1
    rows = [expected(decision, point, "succeeds", "closed") for point in ("llm", "tool")]
    assert hits == [hit for row in rows for hit in row.hits]
    assert refused == sum(row.refused is not None for row in rows)
    assert len(table.recorded) == 1
    assert backend.value("budget.calls") == 1
