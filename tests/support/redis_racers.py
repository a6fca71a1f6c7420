"""Processes that race for a tenant's last dollar of the day (started by test_redis_race.py)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from otel_budget import Deny, SessionInfo, instrument
from otel_budget.guards import Limit, Reservation
from otel_budget.testing import capture_telemetry
from support.redis_guards import KINDS, PRICES, Driver

TOKENS = 10_000


@dataclass(frozen=True)
class Race:
    """The options of all processes."""

    url: str | list[str]
    cap: float
    rounds: int
    shard: str | None = None


@dataclass(frozen=True)
class Account:
    """What one process did in one round."""

    allowed: int
    denied: list[str]
    tokens: int
    telemetry_usd: float
    telemetry_decisions: float


def racer(kind: type, race: Race, number: int, team: int = 0) -> Driver:
    """A guard in one round: everybody's dollar, and more than enough of everything else.

    In a sharded race each of two teams has the dollar as a tenant's, and both have 1.5 together.
    """
    together = 1.5 if race.shard else 10**3
    driver = Driver(
        kind,
        race.url,
        Limit(race.cap, "USD", "tenant", "ever"),
        Limit(10**9, "tokens", "principal", "month"),
        Limit(10**9, "tokens", "session", "week"),
        Limit(race.cap * together, "USD", "all", "ever", resource=f"all-{number}"),
        session_info=SessionInfo(tenant=f"race-{number}{'b' * team}", model="m", provider="openai"),
        shard=race.shard,
        reservation=Reservation(0, expires_after=600),
        prefix="race",
        timeout=20.0,
        clock=None,
    )
    driver.guard = instrument(driver.guard, session_info=driver.guard._session_info, prices=PRICES)
    return driver


def tokens_used(number: int, random_: random.Random) -> int:
    """In every other round the estimate is right; else a call uses up to half more or less."""
    return TOKENS if number % 2 == 0 else random_.randrange(0, TOKENS * 3 // 2)


def compete(race: Race, number: int, barrier: Any, out: Any) -> None:
    """Run one process."""
    # One server, both guards: they share the counts.
    kind, random_ = KINDS[number % 2], random.Random(number)
    for round_number in range(race.rounds):
        barrier.wait(60)
        allowed, tokens, denied = 0, 0, list[str]()
        team = number // 2 % 2 if race.shard else 0
        with capture_telemetry() as telemetry, racer(kind, race, round_number, team) as driver:
            while not denied:
                answer = driver.check(f"s-{number}", TOKENS)
                if isinstance(answer, Deny):
                    denied.append(answer.resource)
                    continue
                allowed += 1
                used = tokens_used(round_number, random_)
                driver.record(used, f"s-{number}")
                tokens += used
        cost = telemetry.value("budget.cost", tenant=f"race-{round_number}{'b' * team}") or 0.0
        decisions = telemetry.value("budget.decisions", decision_point="llm") or 0.0
        out.put((round_number, Account(allowed, denied, tokens, cost, decisions)))
