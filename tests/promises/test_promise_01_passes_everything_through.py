"""Promise 1: the guard's own object, its arguments and its attributes pass through unchanged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from otel_budget import NoopBudgetGuard, SyncBudgetGuard
from support.backend import Backend
from support.guards import MAKES, METHODS, RUBBISH, Make


@pytest.mark.parametrize("method", METHODS)
def test_promise_1_the_answer_is_the_guards_own_object(
    backend: Backend, make: Make, method: str
) -> None:
    for answer in [
        make.allow,
        make.soft(),
        make.deny(),
        *(make_answer() for make_answer in RUBBISH),
    ]:
        guard = backend.instrument(make.guard(answer))
        assert make.call(guard, method, *make.arguments(method)) is answer


@pytest.mark.parametrize("method", METHODS)
def test_promise_1_the_arguments_reach_the_guard_unchanged(
    backend: Backend, make: Make, method: str
) -> None:
    inner = make.guard()
    guard = backend.instrument(inner)
    session, second = object(), object()
    make.call(guard, method, session, second)
    make.call(guard, method, "s", more=second)
    make.call(guard, method)
    (_, positional, no_keywords), (_, some, keywords), (_, nothing, _) = inner.asked
    assert positional[0] is session
    assert positional[1] is second
    assert no_keywords == {}
    assert some == ("s",)
    assert keywords["more"] is second
    assert nothing == ()


def test_promise_1_a_wrong_call_is_the_guards_own_type_error(backend: Backend) -> None:
    guard = backend.instrument(SyncBudgetGuard())
    with pytest.raises(TypeError, match=r"SyncBudgetGuard\.check_before_llm\(\)"):
        guard.check_before_llm("s")
    assert backend.value("budget.decisions", budget__decision="error") == 1


def test_promise_1_attributes_are_those_of_the_guard(backend: Backend, make: Make) -> None:
    inner = make.guard()
    guard = backend.instrument(inner)
    guard.limit = 5
    assert inner.limit == 5  # type: ignore[attr-defined]
    inner.limit = 6  # type: ignore[attr-defined]
    assert guard.limit == 6
    del guard.limit
    assert not hasattr(inner, "limit")
    assert guard.asked is inner.asked
    assert isinstance(guard, type(inner))
    assert guard.__class__ is type(inner)
    assert "asked" in dir(guard)
    with pytest.raises(AttributeError, match=r"AsyncScript|SyncScript"):
        _ = guard.no_such_thing


class OnlyTools:
    """A guard that lacks one method and has None for another."""

    record_after_llm = None

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return {"decision": "deny", "resource": "tools", "reason": "no"}


def test_promise_1_a_method_the_guard_lacks_allows_and_usage_still_counts(
    backend: Backend,
) -> None:
    guard = backend.instrument(OnlyTools())
    assert guard.check_before_llm("s", 10) is None
    assert guard.record_after_llm("s", MAKES[1].usage()) is None
    assert guard.check_before_tool("s", "t")["decision"] == "deny"
    assert backend.value("budget.decisions", budget__decision="allow") == 1
    assert backend.value("budget.tokens") == 120


def test_promise_1_a_sync_guard_stays_sync_and_an_async_guard_async(backend: Backend) -> None:
    for asynchronous, guard in ((True, NoopBudgetGuard()), (False, SyncBudgetGuard())):
        wrapped = backend.instrument(guard)
        for method in METHODS:
            assert asyncio.iscoroutinefunction(getattr(wrapped, method)) is asynchronous
