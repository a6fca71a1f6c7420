"""Promise 7: whatever comes in can be exported."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from otel_budget import (
    Allow,
    BudgetGate,
    BudgetLevel,
    Deny,
    FlatRates,
    SessionInfo,
    TokenUsage,
    call_info,
    for_a3s,
)  # fmt: skip
from otel_budget.telemetry.hubs import poll_levels
from support.backend import Backend
from support.guards import MAKES, METHODS, Make, SyncScript, outcome
from support.hostile import ChangingLimit, LyingText, claiming, raising

LONE = "\ud800x\udfff"
HUGE = "x" * 100_000


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoIndex:
    def __index__(self) -> int:
        raise RuntimeError("no index")


@pytest.mark.parametrize(
    "value",
    [LONE, HUGE, "", "\0", b"\xff", None, 7, 10**5_000, float("nan"), NoText(), [], {"a": 1}],
    ids=["lone", "huge", "empty", "nul", "bytes", "none", "int", "vast", "nan", "notext", "list",
         "dict"],
)  # fmt: skip
def test_promise_7_any_text_can_be_exported(backend: Backend, make: Make, value: Any) -> None:
    info = SessionInfo(value, value, value, value, value, value)
    guards = [
        backend.instrument(make.guard(answer), session_info=info, name="g", prices=FlatRates(1, 1))
        for answer in (make.soft(), make.deny(), RuntimeError(value))
    ]
    for guard in guards:
        for args in ((value, value), (value, 1), (value, make.usage())):
            for method in METHODS:
                outcome(lambda g=guard, m=method, a=args: make.call(g, m, *a))
    assert backend.encode()
    assert backend.value("budget.decisions") == 3 * 3 * 2
    assert backend.value("budget.calls") == 9
    for span in backend.spans():
        for text in span.attributes.values():
            assert not isinstance(text, str) or len(text) <= 1_024
    assert backend.value("budget.telemetry.errors") == 0


@pytest.mark.parametrize("text", [LONE, HUGE])
def test_promise_7_any_answer_can_be_exported(backend: Backend, text: str) -> None:
    for answer in (
        {"decision": "deny", "resource": text, "reason": text},
        {"decision": "soft", "resource": text, "consumed": 1, "limit": 2, "message": text},
        {"decision": text},
        {"decision": "soft", "resource": "r", "consumed": 10**400, "limit": 1},
        {"decision": "soft", "resource": "r", "consumed": -1e308, "limit": 1e-308},
        Deny.model_construct(resource=text, reason=text),
    ):
        guard = backend.instrument(SyncScript(answer))
        guard.check_before_llm("s", 1)
        guard.check_before_tool("s", "t")
    assert backend.encode()
    assert backend.value("budget.decisions") == 12
    assert len(backend.spans()) == 12
    assert all("budget.decision" in span.attributes for span in backend.spans())
    assert backend.value("budget.telemetry.errors") == 0


@pytest.mark.parametrize(
    "number",
    [float("nan"), float("inf"), -1, 1.5, -1e300, 2**63, 2**64, 10**400, True, "7",
     pytest.param(NoIndex(), id="NoIndex"), None],
    ids=repr,
)  # fmt: skip
def test_promise_7_any_number_can_be_exported(backend: Backend, number: Any) -> None:
    guard = backend.instrument(SyncScript({"decision": "allow"}), prices=FlatRates(1, 1))
    for _ in range(3):
        guard.check_before_llm("s", number)
        for field in ("prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens"):
            guard.record_after_llm("s", {**MAKES[1].usage(), field: number})
        with call_info(cost_usd=number):
            guard.record_after_llm("s", MAKES[1].usage())
    guard.record_after_llm("s", TokenUsage.model_construct(prompt_tokens=number))
    assert backend.encode()
    assert backend.value("budget.decisions", budget__decision="allow") == 3
    assert backend.value("budget.calls") == 16
    assert backend.value("budget.telemetry.errors") == 0
    for name, metric in backend.collect().items():
        for point in metric.data.data_points:
            value = getattr(point, "value", 0)
            assert 0 <= value < float("inf"), name
            assert not isinstance(value, int) or value < 2**63, name


def test_promise_7_sums_saturate_at_int64(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), prices=FlatRates(1e308, 0))
    huge = {"prompt_tokens": 2**62, "completion_tokens": 2**62, "total_tokens": 2**63}
    for tenant in ("a", "b", "c"):
        with call_info(tenant=tenant):
            for _ in range(3):
                guard.check_before_llm("s", 2**62)
                guard.record_after_llm("s", huge)
                with call_info(cost_usd=1e308):
                    guard.record_after_llm("s", huge)
    assert backend.encode()
    # The sum over all series stops there, too, since a view or a backend may add them up.
    for name in ("budget.tokens", "budget.estimated_tokens"):
        assert backend.value(name) == 2**63 - 1
    assert backend.value("budget.calls") == 18
    assert 0 < backend.value("budget.cost") < float("inf")
    for span in backend.spans("budget.record_after_llm"):
        assert span.attributes["budget.session.tokens"] <= 2**63 - 1
        assert span.attributes["budget.session.cost"] < float("inf")
    assert backend.value("budget.telemetry.errors") == 0


class Cancelled(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise asyncio.CancelledError


class NoClass:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


def test_promise_7_a_str_that_lies_about_its_length_is_capped_all_the_same(
    backend: Backend, make: Make
) -> None:
    long = LyingText("é" * 5_000)
    info = SessionInfo(long, long, long, long, long, long)
    for answer in (make.deny(long, long), make.soft(long, message=long)):
        guard = backend.instrument(make.guard(answer), session_info=info, name=long)
        make.call(guard, "check_before_llm", long, 1)
        make.call(guard, "check_before_tool", long, long)
        make.call(guard, "record_after_llm", long, make.usage())
    assert backend.encode()
    assert backend.value("budget.threshold_hits") == 4
    assert backend.value("budget.calls") == 2
    assert backend.value("budget.telemetry.errors") == 0
    labels = {
        value
        for metric in backend.collect().values()
        for point in metric.data.data_points
        for value in point.attributes.values()
    }
    attributes = {value for span in backend.spans() for value in span.attributes.values()}
    assert "é" * 255 + "…" in labels & attributes
    for text in labels | attributes:
        assert not isinstance(text, str) or (type(text) is str and len(text) <= 256)


@pytest.mark.parametrize("part", ["session", "label", "estimate", "answer", "usage"])
def test_promise_7_a_part_that_cannot_be_read_costs_no_call(
    backend: Backend, make: Make, part: str
) -> None:
    unreadable = Cancelled() if part in {"answer", "usage"} else NoClass()
    info = SessionInfo(tenant=unreadable if part == "label" else "acme")  # type: ignore[arg-type]
    guard = make.guard(unreadable if part == "answer" else make.allow)
    observed = backend.instrument(guard, session_info=info)
    session = unreadable if part == "session" else "s"
    estimate = unreadable if part == "estimate" else 10
    assert make.call(observed, "check_before_llm", session, estimate) is guard.answer
    usage = unreadable if part == "usage" else make.usage()
    assert make.call(observed, "record_after_llm", session, usage) is guard.answer
    decision = "malformed" if part == "answer" else "allow"
    assert backend.value("budget.decisions", budget__decision=decision) == 1
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.tokens") == (0 if part == "usage" else 120)
    assert backend.value("budget.guard.duration") == 2
    assert len(backend.spans()) == 2
    assert backend.encode()
    assert backend.value("budget.telemetry.errors") == 0


def test_promise_7_an_answer_that_changes_is_read_once(backend: Backend) -> None:
    answer = ChangingLimit.model_construct(resource="usd", consumed=[1.5], limit=2.0, message=None)
    guard = backend.instrument(SyncScript(answer))
    assert guard.check_before_llm("s", 1) is answer
    assert backend.span().attributes["budget.consumed"] == 1.5
    assert len(backend.logs()) == 1
    assert backend.value("budget.telemetry.errors") == 0


def test_promise_7_an_exception_whose_module_is_no_text_costs_no_call(backend: Backend) -> None:
    error = type("Strange", (Exception,), {"__module__": ["no", "module"]})("x")
    guard = backend.instrument(SyncScript(error))
    with pytest.raises(Exception, match="x") as raised:
        guard.check_before_llm("s", 1)
    assert raised.value is error
    assert backend.span().attributes["error.type"] == "Strange"
    assert backend.value("budget.decisions", budget__decision="error") == 1
    assert backend.value("budget.telemetry.errors") == 0


def test_promise_7_what_claims_to_be_a_session_info_costs_no_call(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), session_info=lambda _: claiming(SessionInfo))
    guard.check_before_llm("s", 1)
    guard.record_after_llm("s", MAKES[0].usage())
    assert backend.value("budget.decisions") == backend.value("budget.calls") == 1
    assert backend.value("budget.telemetry.errors", budget__component="session_info") == 2


def test_promise_7_a_label_without_truth_value_is_no_failure(backend: Backend) -> None:
    info = SessionInfo(tenant=raising(object, "__bool__", RuntimeError))
    guard = backend.instrument(SyncScript(), session_info=info)
    guard.record_after_llm("s", MAKES[0].usage())
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.telemetry.errors") == 0


def test_promise_7_a_level_that_lies_about_its_class_hides_no_other(backend: Backend) -> None:
    guard = SyncScript()
    unreadable = [claiming(BudgetLevel), raising(object, "__class__", RuntimeError)]
    levels = [*unreadable, BudgetLevel(resource="usd", consumed=1, limit=2)]
    guard.budget_levels = lambda: levels  # type: ignore[attr-defined]
    observed = backend.instrument(guard)
    poll_levels()
    assert backend.value("budget.consumed") == 1
    failed = backend.series("budget.telemetry.errors")  # the hub's thread may have asked, too
    assert {attributes["budget.component"] for attributes, count in failed if count} == {
        "budget_levels"
    }
    del observed


@pytest.mark.parametrize("dialect", ["dict", "typed"])
def test_promise_7_a_bridge_takes_any_usage(backend: Backend, dialect: str) -> None:
    answer = None if dialect == "dict" else Allow()
    guard = for_a3s(backend.instrument(SyncScript(answer)))
    guard.check_before_llm("s", 1)
    broken = TokenUsage.model_construct(
        prompt_tokens=[], completion_tokens=1.5, total_tokens=-1, cache_read_tokens=2
    )
    for usage in (raising(object, "__class__", RuntimeError), broken):
        guard.record_after_llm("s", usage)
    assert backend.value("budget.calls") == 2
    assert backend.value("budget.unpriced_calls", budget__reason="malformed_usage") == 2
    assert backend.value("budget.telemetry.errors") == 0


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("method", ["__class__", "__getattr__", "keys", "get"])
def test_promise_7_a_gate_takes_any_usage(
    backend: Backend, method: str, error: type[BaseException]
) -> None:
    gate = BudgetGate(backend.instrument(SyncScript()))
    with gate.llm_call("s", 1) as call:
        call.usage(raising(dict if method in {"keys", "get"} else object, method, error))
    assert backend.value("budget.calls_without_usage") == 1
    assert backend.value("budget.telemetry.errors") == 0


def test_promise_7_a_gate_takes_what_claims_to_be_a_usage(backend: Backend) -> None:
    gate = BudgetGate(backend.instrument(SyncScript()))
    with gate.llm_call("s", 1) as call:
        call.usage(claiming(TokenUsage))
    assert backend.value("budget.calls_without_usage") == 1
