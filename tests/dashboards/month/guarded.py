"""One tenant's month under a guard: which calls it makes, and what the guard makes of them.

The guard holds a reservation while a call runs, counts its cost when it ends, and refuses what
would pass a limit. Time is in minutes since the month began; a call has a second.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from month.shapes import DAY, HOUR, MINUTES, Shape
from otel_budget import semconv as sc

LENGTHS: Final = {"day": DAY, "month": MINUTES}
#: How long a loop goes on when it is refused.
_STUBBORN: Final = 20


@dataclass(frozen=True, kw_only=True)
class Runaway:
    """Spending at a multiple of a limit's even pace, on top of what is usual.

    Attributes:
        start: The minute.
        pace: In multiples of the even pace.
        window: Which limit's.
        longest: Minutes after which somebody stops it, if the limit has not.
    """

    start: int
    pace: float
    window: str = "day"
    longest: int = 12 * HOUR


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """Who spends, and under which limits.

    Attributes:
        name: The label.
        shape: What is wanted of the first limit, or of 1 USD a day without one.
        limits: USD by window.
        service: The service that asks for it.
        calls: How many usual calls a whole limit would be.
        soft: The used share from which the guard warns.
        stops_at: The used share at which the tenant stops by itself until the next window.
        policy: Minutes between tool calls that a deny-list refuses; 0 is never.
        huge: How many calls a week are refused for an estimate larger than what is left.
        runaways: When it runs away.
    """

    name: str
    shape: Shape
    limits: Mapping[str, float] = field(default_factory=lambda: {"day": 100.0})
    service: str = "agents"
    calls: int = 1500
    soft: float = 0.9
    stops_at: float = math.inf
    policy: int = 0
    huge: int = 0
    runaways: tuple[Runaway, ...] = ()


#: Kind, decision point, resource, window and cause of a threshold's hit.
Hit = tuple[str, str, str, str, str]


@dataclass
class Month:
    """What happened.

    Attributes:
        told: By window, what the guard says is consumed, at the end of each minute.
        spent: By window, what is spent of it, without reservations.
        cost: By process, the cost of the calls that ended in a minute.
        hits: By process and hit, the minutes of it.
        asked: By process, the minutes in which it asked.
        ends: When each runaway ended.
    """

    told: dict[str, list[float]]
    spent: dict[str, list[float]]
    cost: dict[int, dict[int, float]] = field(default_factory=dict)
    hits: dict[tuple[int, Hit], list[int]] = field(default_factory=dict)
    asked: dict[int, list[int]] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)


@dataclass
class _Guard:
    """The counters of one tenant."""

    limits: Mapping[str, float]
    used: dict[str, float]
    held: float = 0.0
    #: (second of its end, cost, reservation, process)
    running: list[tuple[float, float, float, int]] = field(default_factory=list)

    def settle(self, second: float, month: Month) -> None:
        """End the calls that end before `second`."""
        while self.running and self.running[0][0] <= second:
            end, cost, reserved, process = heapq.heappop(self.running)
            self.held -= reserved
            for window in self.used:
                self.used[window] += cost
            minute = int(end // 60)
            costs = month.cost.setdefault(process, {})
            costs[minute] = costs.get(minute, 0.0) + cost

    def refused(self, estimate: float) -> tuple[str, str] | None:
        """Window and cause, if the estimate does not fit."""
        for window, limit in self.limits.items():
            if self.used[window] + estimate > limit:
                return window, sc.CAUSE_SPENT
            if self.used[window] + self.held + estimate > limit:
                return window, sc.CAUSE_RESERVED
        return None


def live(tenant: Tenant, processes: int, holds: bool, random: Random) -> Month:
    """The month of one tenant.

    Args:
        tenant: Who.
        processes: How many of its service run side by side.
        holds: Whether the guard counts reservations as consumed.
        random: Where chance comes from.
    """
    first = next(iter(tenant.limits.values()), 1.0)
    wanted = [share * first for share in tenant.shape(random)]
    usual = first / tenant.calls
    windows = tenant.limits or {"day": math.inf}
    month = Month({w: [] for w in windows}, {w: [] for w in windows})
    guard = _Guard(tenant.limits, dict.fromkeys(windows, 0.0))
    runaways = list(tenant.runaways)
    huge = {random.randrange(MINUTES) for _ in range(tenant.huge * MINUTES // (7 * DAY))}
    running: Runaway | None = None
    until = 0
    for minute in range(MINUTES):
        for window in windows:
            if minute % LENGTHS[window] == 0:
                guard.used[window] = 0.0
        if runaways and minute == runaways[0].start:
            running = runaways.pop(0)
            until = minute + running.longest
        if running and minute >= until:
            month.ends.append(minute)
            running = None
        for second in sorted(_seconds(random, wanted[minute] / usual)):
            at = minute * 60 + second
            guard.settle(at, month)
            if tenant.limits and _share(guard, tenant) >= tenant.stops_at:
                continue
            cost = usual * random.lognormvariate(-0.32, 0.8)
            process = random.randrange(processes)
            _call(guard, tenant, month, at=at, cost=cost, process=process, random=random)
        if running:
            pace = running.pace * tenant.limits[running.window] / LENGTHS[running.window]
            loop = max(usual, pace / 40)
            for second in sorted(_seconds(random, pace / loop)):
                at = minute * 60 + second
                guard.settle(at, month)
                cost = loop * random.lognormvariate(-0.125, 0.5)
                process = random.randrange(processes)
                refused = _call(
                    guard, tenant, month, at=at, cost=cost, process=process, random=random
                )
                if refused == sc.CAUSE_SPENT:
                    until = min(until, minute + _STUBBORN)
        if tenant.policy and minute % tenant.policy == 7 % tenant.policy:
            policy = (sc.KIND_HARD, sc.POINT_TOOL, "tools", "", sc.CAUSE_POLICY)
            _hit(month, random.randrange(processes), policy, minute)
        if minute in huge:
            window = next(iter(tenant.limits))
            reserved = (sc.KIND_HARD, sc.POINT_LLM, RESOURCE, window, sc.CAUSE_RESERVED)
            _hit(month, random.randrange(processes), reserved, minute)
        guard.settle(minute * 60 + 59.99, month)
        for window in windows:
            month.spent[window].append(guard.used[window])
            month.told[window].append(guard.used[window] + (guard.held if holds else 0.0))
    if running:
        month.ends.append(MINUTES)
    return month


RESOURCE: Final = "llm_cost_usd"


def _share(guard: _Guard, tenant: Tenant) -> float:
    return max(guard.used[window] / limit for window, limit in tenant.limits.items())


def _call(
    guard: _Guard, tenant: Tenant, month: Month, *, at: float, cost: float, process: int,
    random: Random,
) -> str:  # fmt: skip
    """One call; returns why it was refused, or nothing."""
    minute = int(at // 60)
    month.asked.setdefault(process, []).append(minute)
    estimate = cost * random.uniform(1.1, 2.5)
    refused = guard.refused(estimate)
    if refused:
        window, cause = refused
        _hit(month, process, (sc.KIND_HARD, sc.POINT_LLM, RESOURCE, window, cause), minute)
        return cause
    for window, limit in tenant.limits.items():
        if guard.used[window] + guard.held >= tenant.soft * limit:
            _hit(month, process, (sc.KIND_SOFT, sc.POINT_LLM, RESOURCE, window, ""), minute)
    slow = random.random() < 0.02
    took = random.uniform(60, 280) if slow else random.lognormvariate(2.2, 0.8)
    heapq.heappush(guard.running, (at + took, cost, estimate, process))
    guard.held += estimate
    return ""


def _hit(month: Month, process: int, hit: Hit, minute: int) -> None:
    month.hits.setdefault((process, hit), []).append(minute)


def _seconds(random: Random, mean: float) -> list[float]:
    """When in a minute calls begin, of which there are so many on average."""
    if mean <= 0:
        return []
    number, left = 0, random.expovariate(1.0)
    while left < mean:
        number += 1
        left += random.expovariate(1.0)
    return [random.uniform(0, 59.9) for _ in range(number)]
