"""Who a call is for and which model serves it: told once, per session, or around the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a session id alone does not tell. Every field may be left unknown.

    Args:
        tenant: Who pays.
        principal: Who asked (a user, a key).
        agent: Which agent runs.
        correlation_id: What ties this session to your own records; on spans only.
        model: The model's name as the provider knows it.
        provider: OpenTelemetry's ``gen_ai.provider.name``, e.g. ``anthropic``, ``openai``.
    """

    tenant: str | None = None
    principal: str | None = None
    agent: str | None = None
    correlation_id: str | None = None
    model: str | None = None
    provider: str | None = None


#: A constant, or a function asked on every call; it must be quick (cache what it looks up).
SessionInfoSource = SessionInfo | Callable[[str], SessionInfo | None] | None

UNKNOWN = SessionInfo()
_FIELDS = tuple(field.name for field in fields(SessionInfo))


@dataclass(frozen=True, slots=True)
class _CallInfo:
    """What `call_info` says of the calls inside it."""

    said: tuple[tuple[str, str], ...]
    cost_usd: float | None


_call: ContextVar[_CallInfo | None] = ContextVar("otel_budget_call_info", default=None)


@contextmanager
def call_info(
    *,
    tenant: str | None = None,
    principal: str | None = None,
    agent: str | None = None,
    correlation_id: str | None = None,
    model: str | None = None,
    provider: str | None = None,
    cost_usd: float | None = None,
) -> Iterator[None]:
    """Tell who and what the guard calls inside this block are about.

    Field by field it goes before ``session_info``, and an inner block before an outer one. It
    holds for this thread or task (a context variable), around sync and async calls alike.

    Args:
        tenant: Who pays.
        principal: Who asked.
        agent: Which agent runs.
        correlation_id: What ties the call to your own records.
        model: The model's name as the provider knows it.
        provider: OpenTelemetry's ``gen_ai.provider.name``.
        cost_usd: The call's cost in USD, if you know it: it is used instead of a price.
    """
    outer = _call.get()
    given = {
        "tenant": tenant,
        "principal": principal,
        "agent": agent,
        "correlation_id": correlation_id,
        "model": model,
        "provider": provider,
    }
    said = dict(outer.said) if outer is not None else {}
    said.update((key, value) for key, value in given.items() if value is not None)
    if cost_usd is None and outer is not None:
        cost_usd = outer.cost_usd
    token = _call.set(_CallInfo(tuple(said.items()), cost_usd))
    try:
        yield
    finally:
        # A stream that is closed by another task is not to fail for it: that context ends anyway.
        with suppress(ValueError):
            _call.reset(token)


def call_cost() -> float | None:
    """The ``cost_usd`` of the enclosing `call_info`, as given."""
    call = _call.get()
    return None if call is None else call.cost_usd


def resolve(source: SessionInfoSource, session_id: Any) -> SessionInfo:
    """What is known about this call: `call_info` over `source`, field by field.

    Raises:
        Exception: Whatever a `source` function raises, and TypeError for an answer that is neither
            a `SessionInfo` nor None.
    """
    if source is None:
        info = UNKNOWN
    elif isinstance(source, SessionInfo):
        info = source
    else:
        answer = source(session_id)
        if answer is not None and not isinstance(answer, SessionInfo):
            raise TypeError(f"session_info must return SessionInfo or None, not {type(answer)!r}")
        info = answer or UNKNOWN
    return with_call_info(info)


def with_call_info(info: SessionInfo) -> SessionInfo:
    """`info` with what the enclosing `call_info` says laid over it."""
    call = _call.get()
    if call is None or not call.said:
        return info
    known = {field: getattr(info, field) for field in _FIELDS}
    known.update(call.said)
    return SessionInfo(**known)
