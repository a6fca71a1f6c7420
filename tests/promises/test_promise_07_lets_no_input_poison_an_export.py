"""Promise 7: whatever comes in can be exported."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import Deny, FlatRates, SessionInfo, TokenUsage, call_info
from support.backend import Backend
from support.guards import MAKES, METHODS, Make, SyncScript, outcome

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
    [float("nan"), float("inf"), -1, 1.5, -1e300, 2**63, 2**64, 10**400, True, "7", NoIndex(),
     None],
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
