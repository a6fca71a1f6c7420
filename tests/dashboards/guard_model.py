"""A small guard with levels, the processes that ask it, and what can be wrong with it.

What the tests of the two ledgers compare: the guard's numbers come from running it, a minute at a
time from midnight UTC, and so do the recorded costs beside them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from otel_budget import semconv as sc
from otel_budget.metric import Metric

DAY: Final = 86_400.0
TOKENS_PER_USD: Final = 300_000
Attributes = tuple[tuple[str, str], ...]
#: Metric and attributes -> value, as a process exports them.
Points = dict[tuple[Metric, Attributes], float]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong with a guard.

    Attributes:
        settles: It counts one call in this many; None counts none.
        charges: How often it counts each call.
        leaks_at: The minute whose reservations nobody settles.
        decides_by: What it believes is used, in multiples of what it tells.
    """

    settles: int | None = 1
    charges: float = 1.0
    leaks_at: int | None = None
    decides_by: float = 1.0


@dataclass
class Store:
    """Where a guard keeps its counts: one process's memory, or one server for all."""

    fault: Fault = field(default_factory=Fault)
    used: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    held: list[tuple[int, float]] = field(default_factory=list)
    calls: int = 0

    def spend(self, minute: int, cost: float, lengths: Iterable[float]) -> None:
        """Reserve, call, settle."""
        self.calls += 1
        if self.fault.leaks_at == minute:
            self.held.append((minute, cost))
        if self.fault.settles is None or self.calls % self.fault.settles:
            return
        for length in lengths:
            self.used[_window(length, minute)] += self.fault.charges * cost

    def told(self, minute: int, length: float) -> float:
        """What it says is used of the window of this length."""
        return self.used[_window(length, minute)]


def _window(length: float, minute: int) -> tuple[str, int]:
    return NAMES[length], int(minute * 60 // length)


NAMES: Final = {DAY: "day", 30 * DAY: "month"}


@dataclass(kw_only=True)
class Process:
    """One process of a service, with the guard in it.

    Attributes:
        calls: Costs of the calls that it makes in a minute.
        lives: From which minute to which it exports.
        shared: What its levels say of that.
        owner: Whose the budget is.
        spender: Whose the calls are, beside the owner.
        windows: Lengths of its budgets' windows, in seconds.
        limit: Of each budget, in its unit.
        unit: What the guard says it counts in.
        resource: What the budget is called.
        guarded: Whether it asks the guard at all.
    """

    instance: str
    store: Store
    calls: Callable[[int], Iterable[float]]
    job: str = "agents"
    lives: tuple[int, float] = (0, float("inf"))
    shared: bool | None = None
    owner: Mapping[str, str] = field(default_factory=lambda: {sc.TENANT: "acme"})
    spender: Mapping[str, str] = field(default_factory=lambda: {sc.AGENT: "researcher"})
    windows: tuple[float, ...] = (DAY,)
    limit: float = 100.0
    unit: str = "USD"
    resource: str = "llm_cost_usd"
    #: A counter of calls whose cost is not known; it counts one a minute.
    beside: Metric | None = None
    #: Minutes in which it exports: a job that is asleep tells nothing.
    exports: Callable[[int], bool] = lambda minute: True
    guarded: bool = True
    cost: float = 0.0
    denials: Counter[float] = field(default_factory=Counter)

    def minute(self, minute: int) -> None:
        """Make the calls of one minute."""
        if not self.lives[0] <= minute < self.lives[1]:
            return
        for cost in self.calls(minute):
            full = [length for length in self.windows if self._believed(minute, length)]
            if self.guarded and full:
                self.denials[full[0]] += 1
                continue
            self.cost += cost
            if self.guarded:
                amount = cost * TOKENS_PER_USD if self.unit == "tokens" else cost
                self.store.spend(minute, amount, self.windows)

    def _believed(self, minute: int, length: float) -> bool:
        return self.store.told(minute, length) * self.store.fault.decides_by >= self.limit

    def points(self, minute: int) -> Points | None:
        """What it exports at the end of the minute; None if nothing."""
        if not self.lives[0] <= minute < self.lives[1] or not self.exports(minute):
            return None
        who = {**self.owner, **self.spender}
        points: Points = {}
        if self.cost:
            call = {**who, sc.METRIC_MODEL: "m"}
            tokens = {**call, sc.TOKEN_TYPE: sc.TOKENS_INPUT}
            points[sc.METRIC_COST, _pairs(call)] = self.cost
            points[sc.METRIC_TOKENS, _pairs(tokens)] = self.cost * TOKENS_PER_USD
        if self.beside is not None:
            points[self.beside, _pairs(who)] = minute
        for length, count in self.denials.items():
            hit = {
                **who, sc.DECISION_POINT: sc.POINT_LLM, sc.KIND: sc.KIND_HARD,
                sc.RESOURCE: self.resource, sc.WINDOW: NAMES[length], sc.CAUSE: sc.CAUSE_SPENT,
            }  # fmt: skip
            points[sc.METRIC_THRESHOLD_HITS, _pairs(hit)] = count
        for length in self.windows if self.guarded else ():
            points |= self._level(minute, length)
        return points

    def _level(self, minute: int, length: float) -> Points:
        attributes = {
            **self.owner, sc.GUARD_NAME: "RedisGuard", sc.RESOURCE: self.resource,
            sc.WINDOW: NAMES[length], sc.UNIT: self.unit, sc.SOURCE: sc.SOURCE_GUARD,
        }  # fmt: skip
        if self.shared is not None:
            attributes[sc.SHARED] = str(self.shared).lower()
        pairs, used = _pairs(attributes), self.store.told(minute, length)
        held = self.store.held
        points: Points = {
            (sc.METRIC_CONSUMED, pairs): used,
            (sc.METRIC_LIMIT, pairs): self.limit,
            (sc.METRIC_WINDOW_LENGTH, pairs): length,
            (sc.METRIC_WINDOW_REMAINING, pairs): length - minute * 60 % length,
            (sc.METRIC_RESERVED, pairs): sum(amount for _, amount in held),
        }
        if held:
            age = (minute - min(made for made, _ in held)) * 60.0
            points[sc.METRIC_RESERVATION_AGE, pairs] = age
        return points


def _pairs(attributes: Mapping[str, str]) -> Attributes:
    return tuple(sorted(attributes.items()))


def run(processes: list[Process], minutes: range) -> Iterator[tuple[int, Process, Points]]:
    """Run the processes side by side: (minute, process, what it exports)."""
    for minute in minutes:
        for process in processes:
            process.minute(minute)
        for process in processes:
            points = process.points(minute)
            if points is not None:
                yield minute, process, points
