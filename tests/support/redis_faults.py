"""Redis guards with a fault each, on a real Redis, for hours of a clock that nobody waits for.

What the tests of the two ledgers compare: each guard's own levels, beside the cost that the
telemetry recorded of the same calls, as processes would have exported them.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from otel_budget import BudgetDecision, Deny, SessionInfo, TokenUsage
from otel_budget import semconv as sc
from otel_budget.guards import Limit, RedisGuard, Reservation
from otel_budget.metric import Metric
from otel_budget.telemetry.hubs import hub_for
from support.backend import Backend
from support.redis_guards import PRICES, Clock

#: Metric and attributes -> value, as a process exports them.
Points = dict[tuple[Metric, tuple[tuple[str, str], ...]], float]

LIMIT: Final = 100.0
_METRICS: Final = {metric.name: metric for metric in sc.METRICS}


class Leaking(RedisGuard):
    """Makes one reservation that nobody settles and that does not expire."""

    leaks_at = float("inf")

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        if self._clock is not None and self._clock() >= self.leaks_at:
            self.leaks_at, usual = float("inf"), self._lifetime
            self._lifetime = 86_400.0
            super().check_before_llm(f"{session_id} that dies", estimated_prompt_tokens)
            self._lifetime = usual
        return super().check_before_llm(session_id, estimated_prompt_tokens)


class Losing(RedisGuard):
    """Loses every other settle."""

    records = 0

    def record_after_llm(self, session_id: str, usage: TokenUsage | dict[str, Any]) -> None:
        self.records += 1
        if self.records % 2:
            super().record_after_llm(session_id, usage)


class Doubling(RedisGuard):
    """Charges every call twice."""

    def record_after_llm(self, session_id: str, usage: TokenUsage | dict[str, Any]) -> None:
        super().record_after_llm(session_id, usage)
        super().record_after_llm(session_id, usage)


class Forgetting(RedisGuard):
    """Ends reservations and never counts what was used."""

    def record_after_llm(self, session_id: str, usage: TokenUsage | dict[str, Any]) -> None:
        self.release_llm(session_id)


#: By tenant.
GUARDS: Final[dict[str, type[RedisGuard]]] = {
    "healthy": RedisGuard,
    "leaked reservation": Leaking,
    "lost settles": Losing,
    "double charge": Doubling,
    "never accrues": Forgetting,
}


@dataclass(eq=False)
class Process:
    """One process of a tenant's service: a guard that is instrumented, and its calls."""

    instance: str
    guard: Any
    backend: Backend
    numbers: random.Random
    job: str = "agents"
    calls: int = 0
    ends: deque[tuple[float, Callable[[], None]]] = field(default_factory=deque)

    def events(self, since: float, until: float) -> Iterator[tuple[float, Callable[[], None]]]:
        """What happens after `since` and up to `until`: two calls a minute begin, others end."""
        for _ in range(2):
            begin = self.numbers.uniform(since, until)
            length = self.numbers.uniform(5, 90)
            self.calls += 1
            session = f"{self.instance}-{self.calls % 5}"
            tokens = self.numbers.randrange(3_000, 30_000)
            self.ends.append((begin + length, lambda s=session, t=tokens: self.record(s, t)))
            yield begin, lambda s=session, t=tokens: self.check(s, t)
        for _ in range(len(self.ends)):
            end = self.ends.popleft()
            if end[0] <= until:
                yield end
            else:
                self.ends.append(end)

    def check(self, session: str, tokens: int) -> None:
        estimate = round(tokens * self.numbers.uniform(0.8, 1.1))
        decision = self.guard.check_before_llm(session, estimate)
        assert not isinstance(decision, Deny), decision

    def record(self, session: str, tokens: int) -> None:
        usage = TokenUsage(prompt_tokens=tokens, completion_tokens=0, total_tokens=tokens)
        self.guard.record_after_llm(session, usage)

    def points(self) -> Points:
        """What it exports now."""
        hub_for(self.backend.meter_provider).poller.poll(now=True)
        return {
            (_METRICS[name], tuple(sorted(point.attributes.items()))): point.value
            for name, metric in self.backend.collect().items()
            for point in metric.data.data_points
            if hasattr(point, "value")
        }


def _processes(url: str, clock: Clock, leaks_at: float) -> Iterator[Process]:
    for seed, (tenant, kind) in enumerate(GUARDS.items()):
        info = SessionInfo(tenant=tenant, agent="researcher", model="m", provider="openai")
        for number, name in enumerate("ab"):
            made = kind(
                Limit(LIMIT), url=url, session_info=info, prices=PRICES, timeout=20.0, clock=clock,
                reservation=Reservation(0, expires_after=300), prefix="faults",
            )  # fmt: skip
            if isinstance(made, Leaking) and name == "a":
                made.leaks_at = leaks_at
            backend = Backend()
            guard = backend.instrument(made, name="RedisGuard", session_info=info, prices=PRICES)
            numbers = random.Random(2 * seed + number)
            yield Process(f"{tenant} {name}", guard, backend, numbers)


def run(url: str, minutes: range) -> Iterator[tuple[int, Process, Points]]:
    """Run two processes for each of `GUARDS`: (minute, process, what it exports then).

    A reservation leaks an hour before the end.

    Args:
        url: An empty Redis.
        minutes: Minutes of Unix time, one after the other.
    """
    clock = Clock((minutes[0] - 1) * 60.0)
    processes = list(_processes(url, clock, leaks_at=(minutes[-1] - 60) * 60.0))
    try:
        for minute in minutes:
            events = [
                event
                for process in processes
                for event in process.events(minute * 60.0 - 60.0, minute * 60.0)
            ]
            for clock.now, happen in sorted(events, key=lambda event: event[0]):
                happen()
            clock.now = minute * 60.0
            for process in processes:
                yield minute, process, process.points()
    finally:
        for process in processes:
            process.guard.close()
            process.backend.shutdown()
