"""Limits of users and agents: each has a budget of its own within its tenant."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import Allow, Deny, TokenUsage, call_info
from otel_budget.guards import Limit, Reservation, WindowGuard

USAGE = TokenUsage(prompt_tokens=100, completion_tokens=0, total_tokens=100)


@pytest.mark.parametrize("per", ["principal", "agent"])
def test_each_has_a_budget_of_its_own_within_its_tenant(per: Any) -> None:
    guard = WindowGuard(Limit(100, "tokens", per, "ever"))
    with call_info(tenant="acme", **{per: "ann"}):
        guard.record_after_llm("s", USAGE)
        denial = guard.check_before_llm("other session", 0)
    assert isinstance(denial, Deny)
    assert denial.resource == f"{per}_tokens"
    assert denial.reason == (
        f"{per.capitalize()} ann of tenant acme used 100 of 100 tokens "
        "(this budget does not reset)."
    )
    for info in ({per: "bob", "tenant": "acme"}, {per: "ann", "tenant": "umbrella"}, {per: "ann"}):
        with call_info(**info):
            assert guard.check_before_llm("s", 0) == Allow()
    assert Limit(1, per=per).name == f"{per}_cost_usd"


def test_calls_that_name_nobody_share_one_budget() -> None:
    guard = WindowGuard(Limit(100, "tokens", "principal", "ever"))
    guard.record_after_llm("s", USAGE)
    denial = guard.check_before_llm("t", 0)
    assert isinstance(denial, Deny)
    assert denial.reason.startswith("Calls with no principal used 100")


def test_levels_name_whose_budget_it_is() -> None:
    guard = WindowGuard(
        Limit(1000, "tokens", "principal"),
        Limit(1000, "tokens", "agent"),
        Limit(1000, "tokens", "all"),
        reservation=Reservation(output_tokens=0),
    )
    for principal in ("ann", "bob"):
        with call_info(tenant="acme", principal=principal, agent="coder"):
            guard.record_after_llm(f"{principal}'s session", USAGE)
            guard.check_before_llm(f"{principal}'s session", 7)
    assert {
        (level.tenant, level.principal, level.agent): (level.consumed, level.reserved)
        for level in guard.budget_levels()
    } == {
        ("acme", "ann", None): (100, 7),
        ("acme", "bob", None): (100, 7),
        ("acme", None, "coder"): (200, 14),
        (None, None, None): (200, 14),
    }
