"""Processes that race for a tenant's last dollar of the day (started by test_example_redis.py)."""

from __future__ import annotations

import asyncio
import inspect
import random
from dataclasses import dataclass
from typing import Any

from examples.redis_guard.redis_guard import AsyncRedisGuard, RedisGuard
from otel_budget import Deny, FlatRates, SessionInfo, TokenUsage, instrument
from otel_budget.testing import capture_telemetry

#: A dollar per million tokens: a token is 1,000 nano-USD.
PRICES = FlatRates(input=1.0, output=1.0)
TOKENS = 10_000


@dataclass(frozen=True)
class Race:
    """The options of all processes."""

    url: str
    cap: float
    rounds: int


@dataclass(frozen=True)
class Account:
    """What one process did in one round."""

    allowed: int
    denied: int
    tokens: int
    telemetry_usd: float
    telemetry_decisions: float


def usage_of(tokens: int) -> TokenUsage:
    return TokenUsage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)


def guard_of(kind: type, url: str, tenant: str, cap: float) -> Any:
    info = SessionInfo(tenant=tenant, model="m", provider="openai")
    guard = kind(
        url, session_info=info, prices=PRICES, usd_per_day=cap, output_tokens=0, timeout=20.0
    )
    return instrument(guard, session_info=info, prices=PRICES)


def tokens_used(round_number: int, random_: random.Random) -> int:
    """In every other round the estimate is right; else a call uses up to half more or less."""
    return TOKENS if round_number % 2 == 0 else random_.randrange(0, TOKENS * 3 // 2)


async def run(race: Race, number: int, barrier: Any, out: Any) -> None:
    # One server, both guards: they share the counts.
    kind = (RedisGuard, AsyncRedisGuard)[number % 2]
    random_ = random.Random(number)
    for round_number in range(race.rounds):
        barrier.wait(60)
        allowed = denied = tokens = 0
        with capture_telemetry() as telemetry:
            guard = guard_of(kind, race.url, f"race-{round_number}", race.cap)
            while not denied:
                decision = await _awaited(guard.check_before_llm(f"s-{number}", TOKENS))
                if isinstance(decision, Deny):
                    denied += 1
                    continue
                allowed += 1
                used = tokens_used(round_number, random_)
                await _awaited(guard.record_after_llm(f"s-{number}", usage_of(used)))
                tokens += used
            await _awaited(guard.aclose() if kind is AsyncRedisGuard else guard.close())
        cost = telemetry.value("budget.cost", tenant=f"race-{round_number}") or 0.0
        decisions = telemetry.value("budget.decisions", decision_point="llm") or 0.0
        out.put((round_number, Account(allowed, denied, tokens, cost, decisions)))


async def _awaited(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def compete(race: Race, number: int, barrier: Any, out: Any) -> None:
    asyncio.run(run(race, number, barrier, out))
