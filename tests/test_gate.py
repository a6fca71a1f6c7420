"""The gate: each decision, at each point, with each way a body can end, derived from the contract.

`expected` is written from the contract (design 2 and 3), not from the code: what the host sees
(proceeds or is refused), which hits are told, what is recorded, and what the telemetry says.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from support import Backend, Make, python

from otel_budget import (
    Allow,
    BudgetExhausted,
    BudgetGate,
    BudgetGuard,
    BudgetThresholdHit,
    Deny,
    SessionInfo,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
    call_info,
)

USAGE = TokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120)
PRINTED = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
}


class GuardDownError(Exception):
    """What a failing guard raises."""


class BodyError(Exception):
    """What a failing model call raises."""


def check(make: Make, decision: str) -> Any:
    """Answer a check as the table says."""
    if decision == "raises":
        raise GuardDownError("redis://user:secret@host")
    return {
        "allow": make.allow,
        "soft_limit": make.soft(message="nearly"),
        "deny": make.deny(),
        "malformed": True,
    }[decision]


class SyncTable:
    """A guard whose checks come to one decision, and which remembers the usage it is told."""

    def __init__(self, make: Make, decision: str) -> None:
        self.make, self.decision, self.recorded = make, decision, list[Any]()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        assert (session_id, estimated_prompt_tokens) == ("s1", 1_000)
        return check(self.make, self.decision)

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        assert (session_id, tool_name) == ("s1", "web_search")
        return check(self.make, self.decision)

    def record_after_llm(self, session_id: str, usage: Any) -> None:
        assert session_id == "s1"
        self.recorded.append(usage)


class AsyncTable(SyncTable):
    async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        await asyncio.sleep(0)
        return super().check_before_llm(session_id, estimated_prompt_tokens)

    async def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        await asyncio.sleep(0)
        return super().check_before_tool(session_id, tool_name)

    async def record_after_llm(self, session_id: str, usage: Any) -> None:
        await asyncio.sleep(0)
        super().record_after_llm(session_id, usage)


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
    """What one row of the table must come to."""

    refused: tuple[str, str] | None = None
    raised: type[BaseException] | None = None
    hits: list[BudgetThresholdHit] = field(default_factory=list)
    records: bool = False
    without_usage: str | None = None
    counted_as: str = ""


def expected(decision: str, point: str, body: str, fail: str) -> Expected:
    row = Expected(counted_as={"raises": "error"}.get(decision, decision))
    unavailable = {
        "raises": "the budget guard raised test_gate.GuardDownError",
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


def make_call(gate: BudgetGate, point: str) -> Any:
    return gate.llm_call("s1", 1_000) if point == "llm" else gate.tool_call("s1", "web_search")


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
async def test_the_table(
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
        table = (AsyncTable if make.asynchronous else SyncTable)(make, decision)
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
        # What the guard is told: once, in its own dialect.
        usage = USAGE if make.typed else PRINTED
        if decision == "raises" and fail == "open":  # it has never shown its dialect
            usage = USAGE
        assert table.recorded == ([usage] if row.records else []), body

        # What the telemetry says.
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


# -- deadlines -----------------------------------------------------------------------------
@pytest.mark.parametrize("fail", ["closed", "open"])
@pytest.mark.parametrize("point", ["llm", "tool"])
@pytest.mark.parametrize("instrumented", [True, False])
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_late_check_is_cut_off_and_counted_once(
    backend: Backend, asynchronous: bool, instrumented: bool, point: str, fail: Any
) -> None:
    release = threading.Event()

    class Slow(SyncTable):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            release.wait(20)
            return Deny(resource="too_late", reason="nobody waits")

        def check_before_tool(self, session_id: str, tool_name: str) -> Any:
            return self.check_before_llm(session_id, 0)

    class SlowAsync(AsyncTable):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

        async def check_before_tool(self, session_id: str, tool_name: str) -> Any:
            await asyncio.sleep(20)

    make = Make(asynchronous, True)
    slow: Any = (SlowAsync if asynchronous else Slow)(make, "")
    hits: list[BudgetThresholdHit] = []
    guard = backend.instrument(slow) if instrumented else slow
    gate = BudgetGate(guard, hits, timeout=0.05, fail=fail)
    why = "the budget guard gave no answer within 0.05 s"
    if fail == "closed":
        with pytest.raises(BudgetExhausted, match="guard_unavailable") as refused:
            async with make_call(gate, point):
                pytest.fail("a late check was let through")
        assert refused.value.reason == why
        assert [(hit.kind, hit.message) for hit in hits] == [("hard", why)]
    else:
        async with make_call(gate, point) as call:
            assert call.soft_limit.resource == "guard_unavailable"
            if point == "llm":
                call.usage(USAGE)
        assert [(hit.kind, hit.message) for hit in hits] == [("soft", f"{why}; let through")]
    release.set()
    await asyncio.sleep(0.1)  # whatever the guard answers now changes nothing
    if instrumented:
        assert backend.value("budget.decisions") == 1
        assert backend.value("budget.decisions", budget__decision="late") == 1
        assert backend.value("budget.threshold_hits") == 1
        assert backend.value("budget.threshold_hits", budget__resource="guard_unavailable") == 1
        (span,) = [s for s in backend.spans() if s.name != "budget.record_after_llm"]
        assert span.attributes is not None
        assert span.attributes["budget.decision"] == "late"
        (event,) = backend.logs()
        assert event.trace_id == span.context.trace_id


def test_under_a_sync_gate_lateness_is_only_reported(backend: Backend) -> None:
    class Slow(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            time.sleep(0.1)
            return Deny(resource="usd", reason="spent") if estimated_prompt_tokens else Allow()

    hits: list[BudgetThresholdHit] = []
    gate = BudgetGate(backend.instrument(Slow()), hits, timeout=0.01)
    with gate.llm_call("s1", 0) as call:
        call.usage(USAGE)
    with pytest.raises(BudgetExhausted, match="usd"), gate.llm_call("s1", 1):
        pytest.fail("refused calls have no body")
    assert backend.value("budget.decisions", budget__decision="late") == 2
    assert [hit.resource for hit in hits] == ["usd"]
    # The hit is what the gate did, so it is counted beside the decision `late`.
    assert backend.value("budget.threshold_hits", budget__resource="usd") == 1
    assert backend.value("budget.threshold_hits") == 1


async def test_the_gates_deadline_goes_before_the_one_of_a_dict_answer(backend: Backend) -> None:
    class Slow:
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(0.05)
            return {"decision": "deny", "resource": "usd", "reason": "spent"}

    gate = BudgetGate(backend.instrument(Slow(), late_after=0.01), timeout=10)
    with pytest.raises(BudgetExhausted, match="usd"):
        await gate.check_llm("s1", 1)
    assert backend.value("budget.decisions", budget__decision="deny") == 1


async def test_an_async_guard_that_swallows_its_cancellation_is_not_waited_for(
    backend: Backend,
) -> None:
    class Stubborn(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
            return Deny(resource="too_late", reason="nobody waits")

    gate = BudgetGate(backend.instrument(Stubborn()), timeout=0.02, fail="open")
    decision = await gate.check_llm("s1", 1)
    assert isinstance(decision, SoftLimit)
    await asyncio.sleep(0.3)
    assert backend.value("budget.decisions") == backend.value(
        "budget.decisions", budget__decision="late"
    )
    assert backend.value("budget.threshold_hits") == 1


async def test_a_call_that_finds_no_free_thread_is_late_and_never_made(backend: Backend) -> None:
    release, made = threading.Event(), itertools.count()

    class Hangs(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            next(made)
            release.wait(20)
            return Allow()

    gate = BudgetGate(backend.instrument(Hangs()), timeout=0.3, fail="open")
    await asyncio.gather(*(gate.check_llm("s1", 1) for _ in range(70)))
    assert backend.value("budget.decisions", budget__decision="late") == 70
    release.set()
    await asyncio.sleep(0.2)
    assert next(made) == 64
    assert backend.value("budget.decisions") == 70
    # The threads are free again (on a busy machine perhaps not at once).
    assert any([isinstance(await gate.check_llm("s1", 1), Allow) for _ in range(5)])


async def test_two_guards_behind_one_that_is_not_instrumented_each_count_once(
    backend: Backend,
) -> None:
    first = backend.instrument(BudgetGuard(), name="first")

    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    second = backend.instrument(Slow(), name="second")

    class Both(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await first.check_before_llm(session_id, estimated_prompt_tokens)
            return await second.check_before_llm(session_id, estimated_prompt_tokens)

    with pytest.raises(BudgetExhausted):
        await BudgetGate(Both(), timeout=0.05).check_llm("s1", 1)
    await asyncio.sleep(0)  # the inner call ends when its guard does
    decisions = {
        span.attributes["budget.guard.name"]: span.attributes["budget.decision"]
        for span in backend.spans()
        if span.attributes
    }
    assert decisions == {"first": "allow", "second": "late"}
    assert backend.value("budget.decisions") == 2


async def test_an_instrumented_guard_inside_another_counts_once_when_cut_off(
    backend: Backend,
) -> None:
    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    inner = backend.instrument(Slow(), name="inner")

    class Outer(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return await inner.check_before_llm(session_id, estimated_prompt_tokens)

    gate = BudgetGate(backend.instrument(Outer(), name="outer"), timeout=0.05)
    with pytest.raises(BudgetExhausted):
        await gate.check_llm("s1", 1)
    await asyncio.sleep(0)  # the inner span ends when its guard does
    assert backend.value("budget.decisions") == 1
    assert [span.attributes["budget.decision"] for span in backend.spans() if span.attributes] == [
        "late",
        "cancelled",
    ]


async def test_a_guard_that_asks_another_through_a_gate_counts_once(backend: Backend) -> None:
    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(20)

    inner = BudgetGate(backend.instrument(Slow(), name="inner"), timeout=0.05)

    class Outer(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            try:
                return await inner.check_llm(session_id, estimated_prompt_tokens)
            except BudgetExhausted as refused:
                return Deny(resource="shared", reason=refused.reason)

    gate = BudgetGate(backend.instrument(Outer(), name="outer"))
    with pytest.raises(BudgetExhausted, match="shared"):
        await gate.check_llm("s1", 1)
    assert backend.value("budget.decisions") == 1
    assert backend.value("budget.decisions", budget__decision="deny") == 1
    assert backend.value("budget.threshold_hits", budget__resource="shared") == 1
    assert backend.value("budget.threshold_hits") == 1


# -- cancellation --------------------------------------------------------------------------
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_caller_cancelled_during_a_check(backend: Backend, asynchronous: bool) -> None:
    asked = threading.Event()
    release = threading.Event()

    class Async(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            asked.set()
            await asyncio.sleep(20)

    class Sync(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            asked.set()
            release.wait(20)
            return Allow()

    hits: list[BudgetThresholdHit] = []
    gate = BudgetGate(backend.instrument(Async() if asynchronous else Sync()), hits)
    task = asyncio.create_task(gate.check_llm("s1", 1))
    while not asked.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    release.set()
    await asyncio.sleep(0.05)
    assert backend.value("budget.decisions") == 1
    assert hits == []


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_caller_cancelled_during_the_record_still_records(
    backend: Backend, asynchronous: bool
) -> None:
    recorded = []
    began = threading.Event()

    class Async(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            began.set()
            await asyncio.sleep(0.1)
            recorded.append(usage)

    class Sync(SyncBudgetGuard):
        def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            began.set()
            time.sleep(0.1)
            recorded.append(usage)

    gate = BudgetGate(backend.instrument(Async() if asynchronous else Sync()))

    async def call_the_model() -> None:
        async with gate.llm_call("s1", 1) as call:
            call.usage(USAGE)

    task = asyncio.create_task(call_the_model())
    while not began.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorded == [USAGE]
    assert backend.value("budget.calls") == 1


async def test_a_guard_that_cancels_itself_does_not_cancel_the_caller(backend: Backend) -> None:
    class Odd(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            raise asyncio.CancelledError

    with pytest.raises(BudgetExhausted, match="guard_unavailable"):
        await BudgetGate(backend.instrument(Odd())).check_llm("s1", 1)
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_no_failure_of_the_guard(kind: type[BaseException]) -> None:
    class Interrupted(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            raise kind

    with pytest.raises(kind):
        BudgetGate(Interrupted(), fail="open").check_llm_sync("s1", 1)


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async guard", "sync guard"])
async def test_a_body_whose_task_is_cancelled_records_nothing(
    backend: Backend, asynchronous: bool
) -> None:
    table = (AsyncTable if asynchronous else SyncTable)(Make(asynchronous, True), "allow")
    gate = BudgetGate(backend.instrument(table))
    inside = asyncio.Event()

    async def call_the_model() -> None:
        async with gate.llm_call("s1", 1_000):
            inside.set()
            await asyncio.sleep(20)

    task = asyncio.create_task(call_the_model())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert table.recorded == []
    assert backend.value("budget.calls") == backend.value("budget.calls_without_usage") == 0


# -- records -------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["raises", "is late"])
async def test_a_failing_record_is_logged_and_counted_and_does_not_break_the_loop(
    backend: Backend, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    class Failing(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            if how == "raises":
                raise GuardDownError
            await asyncio.sleep(20)

    async with BudgetGate(backend.instrument(Failing()), timeout=0.05).llm_call("s1", 1) as call:
        call.usage(USAGE)
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.tokens") == 120
    assert "Failing.record_after_llm: the budget guard" in caplog.text


async def test_usage_told_twice_or_outside_the_body_is_an_error(backend: Backend) -> None:
    table = SyncTable(Make(False, True), "allow")
    gate = BudgetGate(table)
    call = gate.llm_call("s1", 1_000)
    with pytest.raises(RuntimeError, match="body of the call"):
        call.usage(USAGE)
    with call:
        call.usage(USAGE)
        with pytest.raises(RuntimeError, match="already"):
            call.usage(USAGE)
    with pytest.raises(RuntimeError, match="body of the call"):
        call.usage(USAGE)
    assert table.recorded == [USAGE]
    with pytest.raises(RuntimeError, match="made already"), call:
        pytest.fail("a call is made once")
    with gate.llm_call("s1", 1_000) as call, pytest.raises(ValueError, match="cannot be read"):
        call.usage({"prompt_tokens": "many"})


@pytest.mark.parametrize("declared", ["base", "annotation", "answers", "dict annotation"])
def test_each_guard_is_told_usage_in_its_own_dialect(backend: Backend, declared: str) -> None:
    told: list[Any] = []

    class Base(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return None

        def record_after_llm(self, session_id: str, usage: Any) -> None:
            told.append(usage)

    class Annotated:
        def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            told.append(usage)

    class Answers:
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            return None

        def record_after_llm(self, session_id: str, usage: Any) -> None:
            told.append(usage)

    class Dict:
        def record_after_llm(self, session_id: str, usage: dict[str, Any]) -> None:
            told.append(usage)

    guards: dict[str, Any] = {
        "base": Base,
        "annotation": Annotated,
        "answers": Answers,
        "dict annotation": Dict,
    }
    for guard in (guards[declared](), backend.instrument(guards[declared]())):
        with BudgetGate(guard).llm_call("s1", 1_000) as call:
            call.usage(USAGE)
    expected_usage = USAGE if declared in {"base", "annotation"} else PRINTED
    assert told == [expected_usage, expected_usage]
    assert all(isinstance(usage, type(expected_usage)) for usage in told)


def test_the_cache_accounting_survives_the_dict_dialect(backend: Backend) -> None:
    guard = backend.instrument(SyncTable(Make(False, False), "allow"))
    usage = TokenUsage.from_anthropic(
        {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1_000}
    )
    with BudgetGate(guard).llm_call("s1", 1_000) as call:
        call.usage(usage)
    assert backend.value("budget.tokens", budget__token__type="input") == 10
    assert backend.value("budget.tokens", budget__token__type="cache_read") == 1_000


async def test_model_and_provider_reach_the_telemetry(backend: Backend) -> None:
    guard = backend.instrument(BudgetGuard(), session_info=SessionInfo(model="told-once"))
    gate = BudgetGate(guard)
    async with gate.llm_call("s1", 10, model="big", provider="openai") as call:
        call.usage(USAGE, model="small", cost_usd=0.25)
    async with gate.llm_call("s1", 10) as call:
        call.usage(USAGE)
    with call_info(model="around"):
        await gate.record_llm("s1", USAGE)
    estimated = backend.series("budget.estimated_tokens")
    assert [(one["gen_ai.request.model"], value) for one, value in estimated] == [
        ("big", 10),
        ("told-once", 10),
    ]
    calls = {one["gen_ai.request.model"]: n for one, n in backend.series("budget.calls")}
    assert calls == {"small": 1, "told-once": 1, "around": 1}
    assert backend.value("budget.cost", gen_ai__request__model="small") == 0.25


# -- plain methods -------------------------------------------------------------------------
@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize(("gate_kind", "make"), KINDS, ids=[f"{g}-{m}" for g, m in KINDS])
async def test_plain_methods(backend: Backend, gate_kind: str, make: Make, decision: str) -> None:
    table = (AsyncTable if make.asynchronous else SyncTable)(make, decision)
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


# -- hits ----------------------------------------------------------------------------------
async def test_hits_go_to_a_function_a_list_or_a_queue_before_the_refusal() -> None:
    def deny() -> Any:
        return SyncTable(Make(False, True), "deny")

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
        async with BudgetGate(SyncTable(Make(False, True), "soft_limit"), sink).llm_call(
            "s1", 1_000
        ) as call:
            call.usage(USAGE)
        with pytest.raises(BudgetExhausted):
            await BudgetGate(SyncTable(Make(False, True), "deny"), sink).check_llm("s1", 1_000)
    assert "on_hit raised OSError" in caplog.text
    assert "on_hit raised Full" in caplog.text


# -- what a person may get wrong -----------------------------------------------------------
async def _async_sink(hit: BudgetThresholdHit) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"guard": object()}, TypeError, "no budget guard"),
        ({"on_hit": 3}, TypeError, "function, a list or a queue"),
        ({"on_hit": _async_sink}, TypeError, "must not be async"),
        ({"timeout": 0}, ValueError, "above 0"),
        ({"timeout": float("inf")}, ValueError, "above 0"),
        ({"timeout": "5"}, TypeError, "seconds"),
        ({"fail": "maybe"}, ValueError, "'closed' or 'open'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        BudgetGate(**{"guard": SyncBudgetGuard(), **arguments})


def test_an_async_guard_under_a_sync_gate_is_refused_with_the_remedy() -> None:
    with (
        pytest.raises(TypeError, match=r"BudgetGuard is an async guard: use `async with`"),
        BudgetGate(BudgetGuard()).llm_call("s1", 1),
    ):
        pytest.fail("never entered")


# -- contexts ------------------------------------------------------------------------------
async def test_a_sync_guard_on_a_thread_has_the_callers_context(backend: Backend) -> None:
    threads = set()

    class Guard(SyncBudgetGuard):
        def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            threads.add(threading.current_thread())
            return Allow()

    gate = BudgetGate(backend.instrument(Guard()))
    tracer = backend.tracer_provider.get_tracer("host")
    with tracer.start_as_current_span("request") as request, call_info(tenant="acme"):
        await gate.check_llm("s1", 1)
    span = backend.span("budget.check_before_llm")
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert backend.value("budget.decisions", budget__tenant="acme", budget__decision="allow") == 1
    assert threading.main_thread() not in threads


async def test_an_abandoned_async_generator_says_so_when_it_is_collected(backend: Backend) -> None:
    gate = BudgetGate(backend.instrument(BudgetGuard()))

    async def reply() -> Any:
        async with gate.llm_call("s1", 1) as call:
            yield "chunk"
            call.usage(USAGE)

    async for _ in reply():
        break
    for _ in range(10):
        await asyncio.sleep(0)
    assert backend.value("budget.calls") == 0
    assert backend.value("budget.calls_without_usage", budget__reason="abandoned") == 1


async def test_gates_that_are_gone_leave_no_threads() -> None:
    def threads() -> int:
        return sum(one.name == "otel-budget-ask" for one in threading.enumerate())

    gc.collect()
    before = threads()
    for _ in range(20):
        await BudgetGate(SyncBudgetGuard()).check_llm("s1", 1)
    for _ in range(100):
        if threads() <= before:
            break
        gc.collect()
        await asyncio.sleep(0.05)
    assert threads() <= before


def test_a_hanging_sync_guard_holds_up_neither_the_loop_nor_the_exit() -> None:
    done = python(
        """
        import asyncio, time
        from otel_budget import Allow, BudgetExhausted, BudgetGate, SyncBudgetGuard

        class Hangs(SyncBudgetGuard):
            def check_before_llm(self, session_id, estimated_prompt_tokens):
                time.sleep(600)

        async def main():
            try:
                await BudgetGate(Hangs(), timeout=0.1).check_llm("s", 1)
            except BudgetExhausted as refused:
                print(refused)

        asyncio.run(main())
        """,
        timeout=30,
    )
    assert done.stdout == (
        "Budget exhausted on 'guard_unavailable': the budget guard gave no answer within 0.1 s\n"
    )


def test_threads_are_started_anew_after_a_fork() -> None:
    done = python(
        """
        import asyncio, os, warnings
        from otel_budget import BudgetGate, SyncBudgetGuard
        warnings.simplefilter("ignore", DeprecationWarning)

        gate = BudgetGate(SyncBudgetGuard(), timeout=5)
        asyncio.run(gate.check_llm("s", 1))
        child = os.fork()
        if child == 0:
            print(repr(asyncio.run(gate.check_llm("s", 1))), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        timeout=30,
    )
    assert done.stdout == "Allow()\n"
