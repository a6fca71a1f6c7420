"""The script that counts in Redis, driven at random beside a plain model of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from otel_budget import SessionInfo
from otel_budget.guards import Limit, RedisGuard, Reservation
from otel_budget.guards.calendar import period_at
from otel_budget.guards.redis_guard import steps
from support.redis_guards import NOON, PRICES, Clock
from support.redis_server import RedisServer

LIFE = 120.0
LIMITS = (
    Limit(100, "tokens", "tenant", "hour"),
    Limit(150, "tokens", "session", "ever"),
    Limit(250e-6, "USD", "all", "day"),
)
SESSIONS = ("a-1", "a-2", "b-1")
#: Few, so that many are equal.
AMOUNTS = st.sampled_from([0, 10, 25, 40, 70])
_prefixes = itertools.count()


@dataclass
class Hold:
    session: str
    tokens: int
    expires: float
    made: float
    number: int


@dataclass
class Model:
    """What the script should make of it. Amounts are tokens: in USD a token is a millionth."""

    now: float = NOON
    holds: dict[str, Hold] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    #: By limit and account: (start, used) of the last two windows in use, the latest last.
    windows: dict[tuple[int, str], list[tuple[float, int]]] = field(default_factory=dict)
    number: int = 0

    def key(self, limit: Limit, session: str) -> str:
        return {"tenant": session[0], "session": session, "all": ""}[limit.per]

    def expire(self) -> None:
        self.holds = {i: hold for i, hold in self.holds.items() if hold.expires > self.now}

    def used(self, index: int, key: str) -> int:
        window = self._window(index, key)
        return 0 if window is None else window[1]

    def _window(self, index: int, key: str) -> tuple[float, int] | None:
        period = period_at(LIMITS[index].window, self.now)
        kept = self.windows.get((index, key), [])
        for edge in (period.start, period.end):
            for window in kept:
                if window[0] == edge:
                    return window
        return None

    def reserved(self, index: int, key: str) -> int:
        limit = LIMITS[index]
        return sum(h.tokens for h in self.holds.values() if self.key(limit, h.session) == key)

    def fits(self, session: str, tokens: int) -> bool:
        for index, limit in enumerate(LIMITS):
            key, cap = self.key(limit, session), limit.cap * (1e6 if limit.unit == "USD" else 1)
            used = self.used(index, key)
            if used >= cap or used + self.reserved(index, key) + tokens > round(cap):
                return False
        return True

    def charge(self, session: str, tokens: int) -> None:
        for index, limit in enumerate(LIMITS):
            key = self.key(limit, session)
            window = self._window(index, key)
            kept = self.windows.setdefault((index, key), [])
            start = period_at(limit.window, self.now).start
            if window is not None:
                kept.remove(window)
                start = window[0]
            kept.append((start, tokens + (0 if window is None else window[1])))
            del kept[:-2]

    def end_best(self, session: str, used: int) -> None:
        own = {i: hold for i, hold in self.holds.items() if hold.session == session}
        covering = {i: hold for i, hold in own.items() if hold.tokens >= used}
        among = covering or own
        if among:
            del self.holds[min(among, key=lambda i: (among[i].tokens, -among[i].number))]


class Machine(RuleBasedStateMachine):
    server: RedisServer

    @initialize()
    def begin(self) -> None:
        self.model, self.clock = Model(), Clock()
        self.guard = RedisGuard(
            *LIMITS, url=self.server.url, prices=PRICES, clock=self.clock, timeout=10.0,
            reservation=Reservation(0, LIFE), prefix=f"states-{next(_prefixes)}",
            session_info=lambda session: SessionInfo(tenant=session[0]),
        )  # fmt: skip

    def ask(self, name: steps.Name, session: str, call: str = "", tokens: int = 0) -> int:
        charge = self.guard._expected(tokens, 0, SessionInfo())
        step = self.guard._step(name, session, SessionInfo(tenant=session[0]), call, charge)
        status, _, _ = self.guard._wait(self.guard._ask(step))
        assert isinstance(status, int)
        if name != "look":
            self.model.ended = {
                i: at
                for i, at in self.model.ended.items()
                if i[:3] != session or at > self.model.now
            }
        return status

    @rule(session=st.sampled_from(SESSIONS), number=st.integers(0, 5), tokens=AMOUNTS)
    def reserve(self, session: str, number: int, tokens: int) -> None:
        """One of few ids: often one that is held, was settled, has expired or was cancelled."""
        call, model = f"{session}-{number}", self.model
        held = model.holds.get(call)
        status = self.ask("reserve", session, call, held.tokens if held else tokens)
        if held:
            assert status == steps.OK
        elif call in model.ended:
            assert status == steps.ENDED
        elif model.fits(session, tokens):
            assert status == steps.OK
            model.number += 1
            model.holds[call] = Hold(session, tokens, model.now + LIFE, model.now, model.number)
        else:
            assert status == steps.REFUSED

    @rule(session=st.sampled_from(SESSIONS), tokens=AMOUNTS, times=st.integers(1, 2))
    def settle(self, session: str, tokens: int, times: int) -> None:
        for _ in range(times):
            assert self.ask("settle", session, tokens=tokens) == steps.OK
            self.model.charge(session, tokens)
            self.model.end_best(session, tokens)

    @rule(session=st.sampled_from(SESSIONS))
    def release(self, session: str) -> None:
        self.ask("release", session)
        self.model.end_best(session, 0)

    @rule(session=st.sampled_from(SESSIONS), number=st.integers(0, 5))
    def cancel(self, session: str, number: int) -> None:
        call = f"{session}-{number}"
        self.ask("release", session, call)
        self.model.holds.pop(call, None)
        self.model.ended[call] = self.model.now + LIFE

    @rule(
        seconds=st.sampled_from(
            [1, 60, 119, 120, 3_600, 86_400, -1, -90, -3_600, -86_400, -4e6, 4e6]
        )
    )
    def step_clock(self, seconds: float) -> None:
        self.model.now += seconds
        self.clock.now = self.model.now

    @invariant()
    def the_counts_are_those_of_the_model(self) -> None:
        model = self.model
        model.expire()
        for session in SESSIONS:
            step = self.guard._step("look", session, SessionInfo(tenant=session[0]))
            _, _, found = self.guard._wait(self.guard._ask(step))
            for index, one in enumerate(found):
                key, scale = model.key(LIMITS[index], session), one.account.terms.scale
                unit = scale // 10**6 if LIMITS[index].unit == "USD" else 1
                assert one.used == model.used(index, key) * unit
                assert one.reserved == model.reserved(index, key) * unit
                own = [
                    h for h in model.holds.values() if model.key(LIMITS[index], h.session) == key
                ]
                oldest = min((h.made for h in own), default=None)
                age = None if oldest is None else max(0.0, model.now - oldest)
                assert one.oldest == age

    def teardown(self) -> None:
        if hasattr(self, "guard"):
            self.guard.close()


@pytest.mark.timeout(300)
def test_whatever_the_order_the_counts_are_those_of_the_model(redis_server: RedisServer) -> None:
    machine: Any = type("Machine", (Machine,), {"server": redis_server})
    run_machine(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
