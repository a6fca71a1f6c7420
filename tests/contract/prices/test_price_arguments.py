"""What a price source is asked: model, provider and all of that one call that may be billed."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import BillableCall, BudgetGate, SessionInfo, TokenUsage, call_info
from otel_budget.guards import Limit, WindowGuard
from support.backend import Backend
from support.guards import SyncScript

USAGE = TokenUsage(
    prompt_tokens=1_000,
    completion_tokens=20,
    total_tokens=1_020,
    cache_read_tokens=300,
    cache_write_tokens=100,
    prompt_includes_cache=True,
)
COUNTS = (600, 20, 300, 100)


class Asked:
    """A price source that remembers what it is asked."""

    def __init__(self) -> None:
        self.calls: list[BillableCall] = []

    def cost_usd(self, call: BillableCall) -> float | None:
        self.calls.append(call)
        return 0.25


def _adapter(backend: Backend, prices: Any, info: SessionInfo) -> Any:
    return backend.instrument(SyncScript(), prices=prices, session_info=info)


def _window_guard(_: Backend, prices: Any, info: SessionInfo) -> Any:
    return WindowGuard(Limit(1), prices=prices, session_info=info)


@pytest.mark.parametrize("make", [_adapter, _window_guard])
def test_a_source_is_asked_for_model_provider_and_disjoint_counts(
    backend: Backend, make: Any
) -> None:
    prices = Asked()
    guard = make(backend, prices, SessionInfo(model="told", provider="openai"))
    guard.record_after_llm("s", USAGE)
    with call_info(model="inner", provider="anthropic"):
        guard.record_after_llm("s", USAGE)
    with call_info(cost_usd=0.5):
        guard.record_after_llm("s", USAGE)  # known already: nobody is asked
    assert prices.calls == [
        BillableCall("told", "openai", *COUNTS),
        BillableCall("inner", "anthropic", *COUNTS),
    ]


def test_a_gates_call_is_priced_by_what_the_call_says(backend: Backend) -> None:
    prices = Asked()
    guard = _adapter(backend, prices, SessionInfo())
    with BudgetGate(guard).llm_call("s", 1, model="asked", provider="openai") as call:
        call.usage(USAGE, model="served", provider="azure.ai.openai")
    assert prices.calls == [BillableCall("served", "azure.ai.openai", *COUNTS)]
    assert backend.value("budget.cost", gen_ai__provider__name="azure.ai.openai") == 0.25


def test_without_anything_known_a_source_is_asked_all_the_same(backend: Backend) -> None:
    prices = Asked()
    _adapter(backend, prices, SessionInfo()).record_after_llm("s", USAGE)
    assert prices.calls == [BillableCall(None, None, *COUNTS)]
    assert backend.value("budget.cost") == 0.25


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt_tokens_details": {"cached_tokens": 300, "cache_creation_tokens": 100}},
        {"prompt_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 100}},
        {"cache_read_input_tokens": 300, "cache_creation_input_tokens": 100},
        {
            "prompt_tokens_details": {"cached_tokens": 300, "cache_creation_tokens": 100},
            "cache_read_input_tokens": 1,
            "cache_creation_input_tokens": 2,
        },
    ],
)
def test_litellms_cached_tokens_are_found_wherever_it_puts_them(raw: dict[str, Any]) -> None:
    told = {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 1_020, **raw}
    assert TokenUsage.from_litellm(told) == USAGE


def test_a_budget_in_tokens_alone_needs_no_prices() -> None:
    assert WindowGuard(Limit(1, "tokens"))._prices is None
    assert WindowGuard(Limit(1, "tokens"), Limit(1, "USD"))._prices is not None
