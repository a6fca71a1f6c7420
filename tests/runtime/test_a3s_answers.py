"""The bridge to a3s-code: any guard, called as that SDK calls it (from bare threads)."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import BudgetGuard, SyncBudgetGuard, TokenUsage, call_info, for_a3s
from support.a3s_calls import ALLOW, USAGE, ask, denied, on_bare_threads
from support.backend import Backend
from support.guards import METHODS, Make


# -- answers -------------------------------------------------------------------------------
@pytest.mark.parametrize("instrumented", [True, False], ids=["instrumented", "bare"])
@pytest.mark.parametrize("method", ["check_before_llm", "check_before_tool"])
@pytest.mark.parametrize(
    ("answer", "decision", "printed"),
    [
        ("allow", "allow", ALLOW),
        (
            "soft",
            "soft_limit",
            {"decision": "soft", "resource": "llm_cost_usd", "consumed": 4.0, "limit": 5.0},
        ),
        (
            "deny",
            "deny",
            {"decision": "deny", "resource": "llm_cost_usd", "reason": "spent"},
        ),
        ("malformed", "malformed", denied("'s answer cannot be read: an answer of type str")),
        ("raises", "error", denied(" raised ValueError")),
        ("exits", "cancelled", denied(" raised SystemExit")),
    ],
)
def test_any_guard_answers_dicts(
    backend: Backend,
    make: Make,
    *,
    answer: str,
    decision: str,
    printed: Any,
    method: str,
    instrumented: bool,
) -> None:
    answers: dict[str, Any] = {
        "allow": make.allow,
        "soft": make.soft(),
        "deny": make.deny(),
        "malformed": "allow",
        "raises": ValueError("postgres://user:secret@host"),
        "exits": SystemExit(3),
    }
    script = make.guard(answers[answer])
    guard = backend.instrument(script) if instrumented else script
    with for_a3s(guard) as bridge:
        arguments = make.arguments(method)
        (got,) = on_bare_threads(lambda: getattr(bridge, method)(*arguments))
    assert got == printed
    assert type(got) is dict
    assert script.asked == [(method, arguments, {})]
    if not instrumented:
        return
    assert backend.value("budget.decisions") == 1
    assert backend.value("budget.decisions", budget__decision=decision) == 1
    hits = 0 if answer == "allow" else 1
    assert backend.value("budget.threshold_hits") == len(backend.logs()) == hits
    if hits:
        resource = printed["resource"]
        assert backend.value("budget.threshold_hits", budget__resource=resource) == 1
        (event,) = backend.logs()
        assert event.trace_id == backend.span().context.trace_id
    assert backend.value("budget.telemetry.errors") == 0


def test_usage_reaches_each_guard_in_its_own_dialect(backend: Backend, make: Make) -> None:
    script = make.guard(make.allow)
    with for_a3s(backend.instrument(script)) as bridge:
        ask(bridge)
        on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE)))
    assert script.asked[1] == ("record_after_llm", ("s1", make.usage()), {})
    assert backend.value("budget.tokens") == 120


def test_a_typed_guard_that_only_records_gets_typed_usage() -> None:
    recorded: list[Any] = []

    class Records(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            recorded.append(usage)

    with for_a3s(Records()) as bridge:
        on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE)))
    assert recorded == [TokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120)]


def test_methods_that_are_missing_or_set_to_none_allow() -> None:
    class Little:
        check_before_tool = None

        def record_after_llm(self, session_id: str, usage: Any) -> None: ...

    with for_a3s(Little()) as bridge:
        assert ask(bridge) == ALLOW
        assert on_bare_threads(lambda: bridge.check_before_tool("s1", "web")) == [ALLOW]
    assert all(callable(getattr(bridge, method)) for method in METHODS)


def test_a_failing_record_is_logged_and_never_raises(
    backend: Backend, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with for_a3s(backend.instrument(make.guard(OSError("down")))) as bridge:
        assert on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE))) == [None]
    assert "record_after_llm: the budget guard raised OSError" in caplog.text
    assert backend.value("budget.calls") == 1


def test_fail_open_is_a_soft_limit(backend: Backend, make: Make) -> None:
    with for_a3s(backend.instrument(make.guard(OSError("down"))), fail="open") as bridge:
        answer = ask(bridge)
    assert (answer["decision"], answer["resource"]) == ("soft", "guard_unavailable")
    assert backend.value("budget.threshold_hits", budget__kind="soft") == 1


def test_call_info_of_the_caller_applies(backend: Backend, make: Make) -> None:
    with (
        for_a3s(backend.instrument(make.guard(make.allow))) as bridge,
        call_info(tenant="acme"),
    ):
        bridge.check_before_llm("s1", 1)
    assert backend.value("budget.decisions", budget__tenant="acme") == 1


def test_the_bridge_instrumented_as_well_counts_once(backend: Backend, make: Make) -> None:
    inner = backend.instrument(make.guard(OSError("down")), name="inner")
    with for_a3s(inner) as bridge:
        outer = backend.instrument(bridge, name="outer")
        assert ask(outer) == denied(" raised OSError")
    assert backend.value("budget.decisions") == 1
    assert backend.value("budget.threshold_hits") == 1


def test_other_attributes_are_the_guards() -> None:
    class Guard(SyncBudgetGuard):
        def budget_levels(self) -> list[Any]:
            return ["a level"]

    with for_a3s(Guard()) as bridge:
        assert bridge.budget_levels() == ["a level"]
        with pytest.raises(AttributeError):
            _ = bridge.nothing


# -- what a person may get wrong -----------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"guard": object()}, TypeError, "not a budget guard"),
        ({"timeout": -1}, ValueError, "above 0"),
        ({"timeout": None}, TypeError, "seconds"),
        ({"fail": ""}, ValueError, "'closed' or 'open'"),
    ],
)
def test_a_wrong_argument_is_a_clear_error(
    arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        for_a3s(**{"guard": SyncBudgetGuard(), **arguments})
