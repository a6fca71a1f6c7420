"""Reservations on schedules as real runtimes make them: budgets are overrun by their bound at most.

A session's calls overlap (its memory extraction and its next turn, sub-calls in parallel), some
fail and are told, some fail and are never told and are tried again, some use more than they
reserved. Sessions share a tenant's budget, windows end in between. At every instant the overrun is
compared with the bound (`WindowGuard` says it). Calls that
never overlap within their session could not break it, whatever ends.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import count

import pytest

from otel_budget import Allow, SessionInfo, SoftLimit, TokenUsage
from otel_budget.guards import Limit, Reservation, WindowGuard
from otel_budget.guards.reservations import Holds

OUTPUT = 40
EXPIRES_AFTER = 120.0
#: Calls of one session that overlap without a gap, end within this: in a longer chain the oldest
#: reservation stands for ever younger calls, and expires while one of them is in progress.
LONGEST_CHAIN = 90.0
LONGEST_CALL = 20.0
CAPS = {("tenant", "hour"): 2_500, ("all", "day"): 9_000, ("session", "ever"): 2_000}


def settle_the_oldest(holds: Holds, session_id: str, used: int) -> None:
    of_session = list(holds._of_session.get(session_id, {}).values())
    if of_session:
        holds.end(of_session[0])


@dataclass(eq=False)
class Call:
    session: str
    reserved: int
    used: int
    ends: float
    tells: str  # recorded, released or never


@dataclass
class Account:
    """What is true of one account, computed from the schedule alone."""

    cap: int
    spent: int = 0
    beyond: int = 0
    #: Until when another call's reservation may be too small, and by how much.
    shortages: list[tuple[Call, int]] = field(default_factory=list)
    worst: float = 0.0

    def look(self) -> None:
        bound = self.beyond + sum(short for _, short in self.shortages)
        self.worst = max(self.worst, self.spent - self.cap - bound)


class Schedule:
    """One random schedule, run against a guard."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1_800_000_000.0 - 400  # ends windows on its way
        self.guard = WindowGuard(
            *(Limit(cap, "tokens", *who, soft=None) for who, cap in CAPS.items()),  # type: ignore[arg-type]
            session_info=lambda session: SessionInfo(tenant=session.split("-")[0]),
            reservation=Reservation(OUTPUT, EXPIRES_AFTER, clock=lambda: self.now),
            clock=lambda: self.now,
        )
        self.accounts: dict[tuple[object, ...], Account] = {}
        self.in_progress: list[Call] = []
        self.allowed = self.refused = 0

    def run(self) -> float:
        """The worst overrun beyond the bound."""
        sessions = [f"{tenant}-{number}" for tenant in ("a", "b") for number in range(3)]
        numbers = count()
        events: list[tuple[float, int, str, Call | None]] = []
        began: dict[str, float] = {}
        for session in sessions:
            heapq.heappush(
                events, (self.now + self.random.uniform(0, 10), next(numbers), session, None)
            )
        last = self.now + 800
        while events:
            at, _, session, call = heapq.heappop(events)
            self.now = at
            if call is not None:
                self.end(call)
                if call.tells != "recorded" and self.random.random() < 0.7:
                    heapq.heappush(events, (at + 0.5, next(numbers), session, None))  # tried again
                continue
            if at > last:
                continue
            busy = any(one.session == session for one in self.in_progress)
            began[session] = began[session] if busy else at
            if at - began[session] < LONGEST_CHAIN:
                for _ in range(self.random.choice((1, 1, 1, 2, 4))):  # sub-calls in parallel
                    started = self.start(session)
                    if started is not None:
                        heapq.heappush(events, (started.ends, next(numbers), session, started))
            heapq.heappush(
                events, (at + self.random.uniform(0.5, 25), next(numbers), session, None)
            )
        return max((account.worst for account in self.accounts.values()), default=0.0)

    def start(self, session: str) -> Call | None:
        estimate = self.random.choice((10, 60, 60, 200, 400))
        if not isinstance(self.guard.check_before_llm(session, estimate), Allow | SoftLimit):
            self.refused += 1
            return None
        self.allowed += 1
        reserved = estimate + OUTPUT
        share = self.random.choice((0.5, 0.9, 1.0, 1.0, 1.0, 1.0, 1.3))
        call = Call(
            session,
            reserved,
            int(reserved * share),
            self.now + self.random.choice((0.2, 2.0, 5.0, LONGEST_CALL)),
            self.random.choice(("recorded",) * 8 + ("released", "never")),
        )
        self.in_progress.append(call)
        return call

    def end(self, call: Call) -> None:
        self.in_progress.remove(call)
        if call.tells == "released":
            self.guard.release_llm(call.session)
        elif call.tells == "recorded":
            usage = TokenUsage(prompt_tokens=call.used, completion_tokens=0, total_tokens=call.used)
            self.guard.record_after_llm(call.session, usage)
            larger = min(
                (
                    one
                    for one in self.in_progress
                    if one.session == call.session and one.reserved > call.reserved
                ),
                key=lambda one: one.reserved,
                default=None,
            )
            for account in self.accounts_of(call.session):
                account.spent += call.used
                account.beyond += max(0, call.used - call.reserved)
                # A call for which another's smaller reservation was left passes that on.
                is_short = any(one is call for one, _ in account.shortages)
                if larger is not None and (call.used > call.reserved or is_short):
                    account.shortages.append((larger, larger.reserved - call.reserved))
        for account in self.accounts_of(call.session):
            account.look()

    def accounts_of(self, session: str) -> list[Account]:
        accounts = []
        for (per, window), cap in CAPS.items():
            whose = {"tenant": session.split("-", maxsplit=1)[0], "session": session}.get(per)
            length = {"hour": 3_600.0, "day": 86_400.0}.get(window, float("inf"))
            key = (per, whose, self.now // length)
            if key not in self.accounts:
                previous = self.accounts.get((per, whose, self.now // length - 1))
                self.accounts[key] = Account(cap)
                if previous is not None:  # what is short now is short in the next window, too
                    self.accounts[key].shortages = [
                        one for one in previous.shortages if one[0] in self.in_progress
                    ]
            accounts.append(self.accounts[key])
        return accounts


SEEDS = range(60)


def test_budgets_are_overrun_by_their_bound_at_most() -> None:
    allowed = refused = 0
    for seed in SEEDS:
        schedule = Schedule(seed)
        worst = schedule.run()
        assert worst <= 0, f"seed {seed}: {worst} above the bound"
        allowed += schedule.allowed
        refused += schedule.refused
    assert allowed > 50 * len(SEEDS)
    assert refused > 50 * len(SEEDS)  # the caps are reached, and calls go on asking


def test_every_reservation_ends() -> None:
    for seed in SEEDS:
        schedule = Schedule(seed)
        schedule.run()
        schedule.now += EXPIRES_AFTER
        schedule.guard.budget_levels()
        holds = schedule.guard._holds
        assert holds is not None
        assert (len(holds), holds._of_session) == (0, {})
        assert [book._reserved for book in schedule.guard._books] == [{}, {}, {}]


def test_ending_the_oldest_reservation_breaks_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Holds, "settle", settle_the_oldest)
    assert sum(Schedule(seed).run() > 0 for seed in SEEDS) >= 5


def test_reserving_nothing_breaks_the_bound() -> None:
    broken = 0
    for seed in SEEDS:
        schedule = Schedule(seed)
        schedule.guard._holds = None
        broken += schedule.run() > 0
    assert broken > len(SEEDS) / 4
