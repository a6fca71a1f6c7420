"""Who calls are for and which model serves them: `session_info` and `call_info`."""

from __future__ import annotations

from otel_budget import SessionInfo, call_info
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
