"""Who calls are for and which model serves them: `session_info` and `call_info`."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import pytest

from otel_budget import SessionInfo, call_info
from otel_budget.guards import Limit, WindowGuard
from support.backend import Backend
from support.guards import Make, SyncScript
from support.schema import instrumented


def test_a_session_info_function_is_called_on_every_call(backend: Backend) -> None:
    models = iter(["m1", "m2"])
    guard = instrumented(
        backend,
        SyncScript(),
        session_info=lambda session: SessionInfo(tenant=f"t-{session}", model=next(models, None)),
    )
    for _ in range(3):
        guard.check_before_llm("s1", 10)
    assert [span.attributes.get("budget.model") for span in backend.spans()] == ["m1", "m2", None]
    assert {span.attributes["budget.tenant"] for span in backend.spans()} == {"t-s1"}
    assert backend.value("budget.estimated_tokens", gen_ai__request__model="m2") == 10


def test_call_info_overrides_session_info_field_by_field(backend: Backend, make: Make) -> None:
    guard = instrumented(backend, make.guard(make.allow))
    with call_info(model="other", tenant="b"):
        with call_info(model="inner"):
            make.call(guard, "check_before_llm", "s1", 1)
        make.call(guard, "check_before_llm", "s1", 1)
    make.call(guard, "check_before_llm", "s1", 1)
    first, second, third = (dict(span.attributes) for span in backend.spans())
    keys = ["budget.tenant", "budget.model", "budget.provider"]
    assert [first[key] for key in keys] == ["b", "inner", "anthropic"]
    assert [second[key] for key in keys] == ["b", "other", "anthropic"]
    assert [third[key] for key in keys] == ["acme", "claude-sonnet-4-5", "anthropic"]


async def _look_up(session: str) -> SessionInfo:
    return SessionInfo(tenant=session)


class _AsyncLookUp:
    async def __call__(self, session: str) -> SessionInfo:
        return SessionInfo(tenant=session)


@pytest.mark.parametrize("observe", [True, False], ids=["instrument", "WindowGuard"])
@pytest.mark.parametrize(
    ("source", "came"),
    [
        ({"tenant": "acme"}, "type dict"),
        ("acme", "type str"),
        (42, "type int"),
        (_look_up, "an async function"),
        (_AsyncLookUp(), "an async function"),
        (partial(_look_up), "an async function"),
        (_AsyncLookUp, "the class _AsyncLookUp"),
        (SessionInfo, "the class SessionInfo"),
    ],
    ids=["dict", "text", "int", "async", "async call", "partial", "class", "SessionInfo"],
)
def test_a_session_info_that_is_none_is_refused_at_once(
    backend: Backend, source: Any, came: str, observe: bool
) -> None:
    wanted = "a SessionInfo, or a function from session id to SessionInfo or None"
    with pytest.raises(TypeError, match=f"^session_info takes {wanted}: not .*{came}$"):
        if observe:
            backend.instrument(SyncScript(), session_info=source)
        else:
            WindowGuard(Limit(1, "tokens"), session_info=source, prices=None)


@pytest.mark.parametrize(
    ("answer", "came"), [({"tenant": "acme"}, "dict"), ("acme", "str"), (None, "coroutine")]
)
def test_what_a_session_info_function_returned_instead_is_logged_once(
    backend: Backend, caplog: Any, recwarn: Any, answer: Any, came: str
) -> None:
    guard = backend.instrument(
        SyncScript(), session_info=lambda session: _look_up(session) if answer is None else answer
    )
    for session in ("s1", "s2"):
        guard.check_before_llm(session, 1)
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"returned a value of type {came}" in message
    assert "a function from session id to SessionInfo or None" in message
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
    assert backend.value("budget.telemetry.errors", budget__component="session_info") == 2
    assert backend.value("budget.decisions") == 2
