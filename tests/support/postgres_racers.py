"""Processes that race for the last dollar in PostgreSQL (started by test_postgres_guard.py)."""

from __future__ import annotations

import random
from typing import Any

from examples.postgres_guard import PostgresGuard
from otel_budget import Deny, FlatRates, SessionInfo, TokenUsage
from otel_budget.guards import Limit, Reservation

#: A dollar per million tokens.
PRICES = FlatRates(input=1.0, output=1.0)
CAP, TOKENS = 10.0, 10_000


def usage_of(tokens: int) -> TokenUsage:
    return TokenUsage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)


def racer(url: str, number: int) -> PostgresGuard:
    """A guard in one round: everybody's dollar, and more than enough of everything else."""
    return PostgresGuard(
        # In another order in each process: the steps still lock in one.
        *random.sample(
            [
                Limit(CAP, "USD", "tenant", "ever"),
                Limit(10**9, "tokens", "principal", "month"),
                Limit(10**9, "tokens", "all", "hour"),
            ],
            3,
        ),
        conninfo=url,
        session_info=SessionInfo(tenant=f"race-{number}", model="m", provider="openai"),
        prices=PRICES,
        reservation=Reservation(0, expires_after=600),
        timeout=20.0,
    )


def compete(url: str, number: int, rounds: int, barrier: Any, out: Any) -> None:
    """Run one process; in every other round its estimates are half too small or too large."""
    random_ = random.Random(number)
    for round_number in range(rounds):
        guard = racer(url, round_number)
        barrier.wait(60)
        used = 0
        while not isinstance(guard.check_before_llm(f"s-{number}", TOKENS), Deny):
            tokens = TOKENS if round_number % 2 == 0 else random_.randrange(TOKENS * 3 // 2)
            guard.record_after_llm(f"s-{number}", usage_of(tokens))
            used += tokens
        guard.close()
        out.put((round_number, used))
