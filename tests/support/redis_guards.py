"""Redis guards of either kind, and what a test calls and reads of them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
from typing import Any, Self

import redis

from otel_budget import BudgetDecision, BudgetLevel, FlatRates, SessionInfo, TokenUsage
from otel_budget.guards import AsyncRedisGuard, RedisGuard, Reservation
from support.redis_server import RedisServer

#: A dollar per million tokens.
PRICES = FlatRates(input=1.0, output=1.0)
INFO = SessionInfo(tenant="acme", principal="ann", agent="coder", model="m", provider="openai")
NOON = 1_800_014_400.0 - 1_800_014_400.0 % 86_400 + 43_200
HOLDS = Reservation(output_tokens=0, expires_after=60.0)
KINDS = (RedisGuard, AsyncRedisGuard)
_numbers = itertools.count()


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def usage_of(tokens: int) -> TokenUsage:
    return TokenUsage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)


class Driver:
    """Calls a guard of either kind and waits for the answer; its counts are its own."""

    def __init__(
        self, kind: type, server: RedisServer | str | list[str], *limits: Any, **options: Any
    ) -> None:
        self.url: Any = server.url if isinstance(server, RedisServer) else server
        settings = {
            "session_info": INFO, "prices": PRICES, "reservation": HOLDS, "clock": Clock(),
            "prefix": f"test-{next(_numbers)}", "timeout": 5.0, **options,
        }  # fmt: skip
        self.clock: Any = settings["clock"]
        self.prefix: str = settings["prefix"]
        self.guard = kind(*limits, url=self.url, **settings)
        self._runner = asyncio.Runner()

    def wait(self, answer: Any) -> Any:
        context = contextvars.copy_context()  # with the test's call_info
        return self._runner.run(answer, context=context) if inspect.iscoroutine(answer) else answer

    def check(self, session: str = "s", tokens: int = 0) -> BudgetDecision:
        decision: BudgetDecision = self.wait(self.guard.check_before_llm(session, tokens))
        return decision

    def record(self, tokens: Any, session: str = "s") -> None:
        usage = usage_of(tokens) if isinstance(tokens, int) else tokens
        self.wait(self.guard.record_after_llm(session, usage))

    def release(self, session: str = "s") -> None:
        self.wait(self.guard.release_llm(session))

    def level(self) -> BudgetLevel:
        [level] = self.guard.budget_levels()
        assert isinstance(level, BudgetLevel)
        return level

    def stored(self) -> dict[str, Any]:
        """What is in Redis: each key of this guard and its value."""
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            names: Any = client.keys(f"{{{self.prefix}[:}}]*")
            return {name: _value(client, name) for name in sorted(names)}

    def close(self) -> None:
        if isinstance(self.guard, AsyncRedisGuard):
            self._runner.run(self.guard.aclose())
        else:
            self.guard.close()
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _value(client: Any, name: str) -> Any:
    if client.type(name) == "hash":
        return client.hgetall(name)
    return dict(client.zrange(name, 0, -1, withscores=True))
