"""Who a call is for and which model serves it: given once, per session, or around the call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any, Final, TypeGuard


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Who a session is for and which model serves it. Leave unknown fields None.

    Args:
        tenant: Who pays.
        principal: Who made the request (a user, a key).
        agent: The agent that runs.
        correlation_id: An id that links the session to your own records; on spans and log events,
            never on metrics.
        model: The model's name as the provider knows it.
        provider: OpenTelemetry's ``gen_ai.provider.name``, e.g. ``anthropic``, ``openai``.
    """

    tenant: str | None = None
    principal: str | None = None
    agent: str | None = None
    correlation_id: str | None = None
    model: str | None = None
    provider: str | None = None


#: A constant, or a function called with the session id on every call. It must be quick: cache what
#: it looks up.
SessionInfoSource = SessionInfo | Callable[[str], SessionInfo | None] | None

UNKNOWN = SessionInfo()
_FIELDS = tuple(field.name for field in fields(SessionInfo))


@dataclass(frozen=True, slots=True)
class _CallInfo:
    """What `call_info` was given."""

    fields: tuple[tuple[str, str], ...]
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
    """State who the guard calls inside this block are for, and which model serves them.

    Each field given here overrides ``session_info``, and an inner block overrides an outer one. A
    block covers its own thread or task (it is a context variable), sync and async calls alike.

    Args:
        tenant: Who pays.
        principal: Who made the request (a user, a key).
        agent: The agent that runs.
        correlation_id: An id that links the call to your own records.
        model: The model's name as the provider knows it.
        provider: OpenTelemetry's ``gen_ai.provider.name``, e.g. ``anthropic``, ``openai``.
        cost_usd: The call's cost in USD, if you know it; it is used instead of ``prices``.
    """
    given = {field: value for field, value in locals().items() if field in _FIELDS}
    outer = _call.get()
    merged = dict(outer.fields) if outer is not None else {}
    merged.update((key, value) for key, value in given.items() if value is not None)
    if cost_usd is None and outer is not None:
        cost_usd = outer.cost_usd
    token = _call.set(_CallInfo(tuple(merged.items()), cost_usd))
    try:
        yield
    finally:
        # A stream closed by another task must not fail here; its context ends anyway.
        with suppress(ValueError):
            _call.reset(token)


HeldCallInfo = _CallInfo | None


def held_call_info() -> HeldCallInfo:
    """What the enclosing `call_info` states, to be restored by `restored_call_info`."""
    return _call.get()


@contextmanager
def restored_call_info(held: HeldCallInfo) -> Iterator[None]:
    """Let what was held somewhere else hold in this block, and nothing but that."""
    token = _call.set(held)
    try:
        yield
    finally:
        with suppress(ValueError):  # as in `call_info`
            _call.reset(token)


def call_cost() -> float | None:
    """The ``cost_usd`` of the enclosing `call_info`, in USD and unchecked; None if not given."""
    call = _call.get()
    return None if call is None else call.cost_usd


class WrongSessionInfo(TypeError):
    """A `SessionInfoSource` is, or returned, something else; the message says what is wanted."""


_WANTED: Final = "a SessionInfo, or a function from session id to SessionInfo or None"


def check_source(source: Any) -> None:
    """Refuse a `SessionInfoSource` that can be seen to be wrong.

    Raises:
        WrongSessionInfo: It is a class, an async function, or neither a `SessionInfo` nor callable.
    """
    if source is None or _is_info(source):
        return
    if isinstance(source, type):
        came = f"the class {source.__name__}"
    elif not callable(source):
        came = f"a value of type {type(source).__name__}"
    elif _is_async(source):
        came = "an async function"
    else:
        return
    raise WrongSessionInfo(f"session_info takes {_WANTED}: not {came}")


def _is_info(value: Any) -> TypeGuard[SessionInfo]:
    return issubclass(type(value), SessionInfo)  # its __class__ may lie or raise


def _is_async(function: Any) -> bool:
    return any(
        inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)
        for called in (function, getattr(function, "__call__", None))  # noqa: B004
    )


def resolve(source: SessionInfoSource, session_id: Any) -> SessionInfo:
    """What is known about a call: `source`, overridden by `call_info` field by field.

    Args:
        source: A `SessionInfo`, a function from session id to `SessionInfo` or None, or None.
        session_id: The call's session, passed to a `source` function.

    Raises:
        WrongSessionInfo: A `source` function returned neither a `SessionInfo` nor None.
        Exception: Anything that a `source` function raises.
    """
    if source is None:
        info = UNKNOWN
    elif _is_info(source):
        info = source
    else:
        answer: Any = source(session_id)  # type: ignore[operator]
        if answer is not None and not _is_info(answer):
            if inspect.iscoroutine(answer):
                answer.close()  # nobody else has it; it would warn that it was never awaited
            raise WrongSessionInfo(
                f"session_info takes {_WANTED}: the function returned a value of type "
                f"{type(answer).__name__}"
            )
        info = answer or UNKNOWN
    return with_call_info(info)


def with_call_info(info: SessionInfo) -> SessionInfo:
    """`info`, overridden by the fields of the enclosing `call_info`."""
    call = _call.get()
    if call is None or not call.fields:
        return info
    merged = {field: getattr(info, field) for field in _FIELDS}
    merged.update(call.fields)
    return SessionInfo(**merged)
