"""The session that the schema's tests act for, and how they read a metric's series."""

from __future__ import annotations

from typing import Any

from otel_budget import FlatRates, SessionInfo
from support.backend import Backend

INFO = SessionInfo(
    tenant="acme",
    principal="u1",
    agent="coder",
    correlation_id="c-7",
    model="claude-sonnet-4-5",
    provider="anthropic",
)
WHO = {
    "session.id": "s1",
    "budget.tenant": "acme",
    "budget.principal": "u1",
    "budget.agent": "coder",
    "budget.correlation_id": "c-7",
    "budget.model": "claude-sonnet-4-5",
    "budget.provider": "anthropic",
    "budget.guard.name": "daily",
}
LABELS = {"budget.tenant": "acme", "budget.agent": "coder"}
CALL = {"gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.provider.name": "anthropic"}
RATES = FlatRates(1, 2, 0.1, 1.25)


def instrumented(backend: Backend, guard: Any, **options: Any) -> Any:
    options = {"name": "daily", "session_info": INFO, "prices": RATES, **options}
    return backend.instrument(guard, **options)


def series_of(backend: Backend, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(attributes.items()): value for attributes, value in backend.series(name)}


def labelled(attributes: dict[str, str], **more: str) -> frozenset[tuple[str, str]]:
    named = {key.replace("__", "."): value for key, value in more.items()}
    return frozenset({**attributes, **named}.items())
