"""Guards of every make, and answers for them.

The tests spell out the telemetry's names and never take them from `semconv`, so that they fail when
a name changes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import UserDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from otel_budget import Allow, Deny, SoftLimit, TokenUsage

CHECKS = ("check_before_llm", "check_before_tool")
METHODS = ("check_before_llm", "record_after_llm", "check_before_tool")


class SyncScript:
    """A synchronous guard that gives, calls or raises its `answer`, and keeps what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def _answer(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.asked.append((method, args, kwargs))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer() if inspect.isfunction(self.answer) else self.answer

    def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("check_before_llm", args, kwargs)

    def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("record_after_llm", args, kwargs)

    def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        return self._answer("check_before_tool", args, kwargs)


class AsyncScript(SyncScript):
    """The same, asynchronous."""

    async def check_before_llm(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer("check_before_llm", args, kwargs)

    async def record_after_llm(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer("record_after_llm", args, kwargs)

    async def check_before_tool(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._answer("check_before_tool", args, kwargs)


@dataclass(frozen=True)
class Make:
    """One of the four kinds of guard: sync or async, typed or dict."""

    asynchronous: bool
    typed: bool

    def __str__(self) -> str:
        return f"{'async' if self.asynchronous else 'sync'}-{'typed' if self.typed else 'dict'}"

    def guard(self, answer: Any = None) -> SyncScript:
        return AsyncScript(answer) if self.asynchronous else SyncScript(answer)

    @property
    def allow(self) -> Any:
        return Allow() if self.typed else {"decision": "allow"}

    def soft(
        self,
        resource: str = "llm_cost_usd",
        consumed: float = 4.0,
        limit: float = 5.0,
        message: str | None = None,
    ) -> Any:
        if self.typed:
            return SoftLimit(resource=resource, consumed=consumed, limit=limit, message=message)
        answer: dict[str, Any] = {
            "decision": "soft",
            "resource": resource,
            "consumed": consumed,
            "limit": limit,
        }
        return answer if message is None else {**answer, "message": message}

    def deny(self, resource: str = "llm_cost_usd", reason: str = "spent") -> Any:
        if self.typed:
            return Deny(resource=resource, reason=reason)
        return {"decision": "deny", "resource": resource, "reason": reason}

    def usage(self, prompt: int = 100, completion: int = 20, **more: Any) -> Any:
        fields = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            **more,
        }
        if self.typed:
            return TokenUsage(**fields)
        return {"cache_read_tokens": None, "cache_write_tokens": None, **fields}

    def call(self, guard: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a guard's method to its end, as its host would."""
        if self.asynchronous:
            return run(getattr(guard, method)(*args, **kwargs))
        return getattr(guard, method)(*args, **kwargs)

    def arguments(self, method: str, session: Any = "s1") -> tuple[Any, Any]:
        second = {
            "check_before_llm": 1_000,
            "check_before_tool": "web_search",
            "record_after_llm": self.usage(),
        }
        return session, second[method]


MAKES = [Make(asynchronous, typed) for asynchronous in (False, True) for typed in (True, False)]


def run(coroutine: Any) -> Any:
    """Drive a coroutine on a loop of its own."""
    return asyncio.run(coroutine)


def outcome(call: Callable[[], Any]) -> Any:
    """The return value of a call, or the exception that it raised."""
    try:
        return call()
    except BaseException as error:
        return error


#: Functions that return answers which are invalid in both dialects, except the first: None allows.
RUBBISH: list[Callable[[], Any]] = [
    lambda: None,
    object,
    lambda: True,
    lambda: "allow",
    dict,
    lambda: {"decision": "frobnicate"},
    lambda: {"decision": "deny", "reason": "no resource"},
    lambda: {"decision": "soft", "resource": "r", "consumed": float("nan"), "limit": 1.0},
    lambda: UserDict(decision="allow"),
    lambda: [1, 2],
]


class Refused(Exception):
    """Raised by guards of the tests."""
