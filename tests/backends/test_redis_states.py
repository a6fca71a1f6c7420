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

from otel_budget import Deny, SessionInfo
from otel_budget.guards import Limit, RedisGuard, Reservation
from otel_budget.guards.calendar import period_at
from otel_budget.guards.redis_guard import steps
from support.redis_guards import NOON, PRICES, Clock, usage_of
from support.redis_server import RedisServer

LIFE = 120.0
LIMITS = (
    Limit(100, "tokens", "tenant", "hour"),
    Limit(150, "tokens", "session", "ever"),
    Limit(130e-6, "USD", "all", "day"),
)
SESSIONS = ("a-1", "a-2", "b-1")
SESSION, CALL = st.sampled_from(SESSIONS), st.integers(0, 5)
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


class Slot:
    """What one slot holds of the limits that are in it."""

    def __init__(self, *indexes: int) -> None:
        self.indexes = indexes
        self.holds: dict[str, Hold] = {}
        self.ended: dict[str, float] = {}


def key_of(limit: Limit, session: str) -> str:
    return {"tenant": session[0], "session": session, "all": ""}[limit.per]


@dataclass
class Model:
    """What the script should make of it. Amounts are tokens: in USD a token is a millionth."""

    slots: list[Slot]
    now: float = NOON
    #: By limit and account: (start, used) of the last two windows in use, the latest last.
    windows: dict[tuple[int, str], list[tuple[float, int]]] = field(default_factory=dict)
    number: int = 0

    def expire(self) -> None:
        for slot in self.slots:
            slot.holds = {i: hold for i, hold in slot.holds.items() if hold.expires > self.now}

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

    def holds(self, index: int, key: str) -> list[Hold]:
        [slot] = [slot for slot in self.slots if index in slot.indexes]
        return [h for h in slot.holds.values() if key_of(LIMITS[index], h.session) == key]

    def reserved(self, index: int, key: str) -> int:
        return sum(hold.tokens for hold in self.holds(index, key))

    def fits(self, slot: Slot, session: str, tokens: int) -> bool:
        for index in slot.indexes:
            limit = LIMITS[index]
            key, cap = key_of(limit, session), limit.cap * (1e6 if limit.unit == "USD" else 1)
            used = self.used(index, key)
            if used >= cap or used + self.reserved(index, key) + tokens > round(cap):
                return False
        return True

    def _touch(self, slot: Slot, session: str) -> None:
        slot.ended = {i: at for i, at in slot.ended.items() if i[:3] != session or at > self.now}

    def reserve(self, number: int, session: str, call: str, tokens: int) -> bool:
        """One step of it; whether the call may go on to the next."""
        slot = self.slots[number]
        self._touch(slot, session)
        if call in slot.holds:
            return True
        if call not in slot.ended and self.fits(slot, session, tokens):
            self.number += 1
            slot.holds[call] = Hold(session, tokens, self.now + LIFE, self.now, self.number)
            return True
        for before in self.slots[:number]:
            self._cancel(before, session, call)
        return False

    def charge(self, session: str, tokens: int) -> None:
        for index, limit in enumerate(LIMITS):
            key = key_of(limit, session)
            window = self._window(index, key)
            kept = self.windows.setdefault((index, key), [])
            start = period_at(limit.window, self.now).start
            if window is not None:
                kept.remove(window)
                start = window[0]
            kept.append((start, tokens + (0 if window is None else window[1])))
            del kept[:-2]

    def end_best(self, session: str, used: int) -> None:
        """Of those that are reserved in all slots, if there are any; the same in each."""
        ended = ""
        for slot in reversed(self.slots):
            self._touch(slot, session)
            own = {i: hold for i, hold in slot.holds.items() if hold.session == session}
            covering = {i: hold for i, hold in own.items() if hold.tokens >= used}
            among = covering or own
            if among and not ended:
                ended = min(among, key=lambda i: (among[i].tokens, -among[i].number))
            slot.holds.pop(ended, None)

    def release(self, session: str) -> None:
        ended = ""
        for slot in reversed(self.slots):
            if ended:
                self._cancel(slot, session, ended)
                continue
            self._touch(slot, session)
            own = {i: hold for i, hold in slot.holds.items() if hold.session == session}
            ended = min(own, key=lambda i: (own[i].tokens, -own[i].number), default="")
            slot.holds.pop(ended, None)

    def cancel(self, session: str, call: str) -> None:
        for slot in reversed(self.slots):
            self._cancel(slot, session, call)

    def _cancel(self, slot: Slot, session: str, call: str) -> None:
        self._touch(slot, session)
        if slot.holds.pop(call, None) is None:
            slot.ended[call] = self.now + LIFE


class Machine(RuleBasedStateMachine):
    server: RedisServer
    shard: Any

    @initialize()
    def begin(self) -> None:
        slots = [Slot(0, 1), Slot(2)] if self.shard else [Slot(0, 1, 2)]
        self.model, self.clock = Model(slots), Clock()
        self.guard = RedisGuard(
            *LIMITS, url=self.server.url, prices=PRICES, clock=self.clock, timeout=10.0,
            reservation=Reservation(0, LIFE), prefix=f"states-{next(_prefixes)}",
            session_info=lambda session: SessionInfo(tenant=session[0]), shard=self.shard,
        )  # fmt: skip
        #: Checks whose first step is done.
        self.under_way: list[tuple[Any, Any, str, str, int, bool]] = []

    @rule(session=SESSION, number=CALL, tokens=AMOUNTS)
    def reserve(self, session: str, number: int, tokens: int) -> None:
        """One of few ids: often one that is held, was settled, has expired or was cancelled."""
        self.begin_check(session, number, tokens)
        self.go_on()

    @rule(session=SESSION, number=CALL, tokens=AMOUNTS)
    def begin_check(self, session: str, number: int, tokens: int) -> None:
        call, model = f"{session}-{number}", self.model
        for slot in model.slots:
            if call in slot.holds:
                tokens = slot.holds[call].tokens
        fresh = not any(call in slot.holds or call in slot.ended for slot in model.slots)
        asking = self.guard._checking(call, session, tokens)
        reply = self.guard._send(next(asking))
        goes_on = model.reserve(0, session, call, tokens)
        assert (reply[0] == steps.OK) is goes_on
        self.under_way.append((asking, reply, session, call, tokens, fresh))

    @rule()
    def go_on(self) -> None:
        """Finish the check that was begun last."""
        if not self.under_way:
            return
        asking, reply, session, call, tokens, fresh = self.under_way.pop()
        fresh = fresh and not any(call in slot.ended for slot in self.model.slots)
        answer = self.guard._wait(_resumed(asking, reply))
        fits = reply[0] == steps.OK and all(
            self.model.reserve(number, session, call, tokens)
            for number in range(1, len(self.model.slots))
        )
        if fresh:
            assert isinstance(answer, Deny) is not fits

    @rule()
    def die(self) -> None:
        """The process ends after the first step of a check."""
        if self.under_way:
            self.under_way.pop()[0].close()

    @rule(session=SESSION, tokens=AMOUNTS, times=st.integers(1, 2))
    def settle(self, session: str, tokens: int, times: int) -> None:
        for _ in range(times):
            self.guard.record_after_llm(session, usage_of(tokens))
            self.model.charge(session, tokens)
            self.model.end_best(session, tokens)

    @rule(session=SESSION)
    def release(self, session: str) -> None:
        self.guard.release_llm(session)
        self.model.release(session)

    @rule(session=SESSION, number=CALL)
    def cancel(self, session: str, number: int) -> None:
        call = f"{session}-{number}"
        self.guard._wait(self.guard._releasing(session, call))
        self.model.cancel(session, call)

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
            info = SessionInfo(tenant=session[0])
            looks = self.guard._steps("look", session, info)
            found = [one for step in looks for one in self.guard._wait(self.guard._ask(step)).found]
            for index, one in enumerate(found):
                key, scale = key_of(LIMITS[index], session), one.account.terms.scale
                unit = scale // 10**6 if LIMITS[index].unit == "USD" else 1
                assert one.used == model.used(index, key) * unit
                assert one.reserved == model.reserved(index, key) * unit
                oldest = min((hold.made for hold in model.holds(index, key)), default=None)
                age = None if oldest is None else max(0.0, model.now - oldest)
                assert one.oldest == age

    def teardown(self) -> None:
        if hasattr(self, "guard"):
            self.guard.close()


def _resumed(asking: Any, reply: Any) -> Any:
    """A generator that goes on where a step was sent, with its reply."""
    try:
        request = asking.send(reply)
    except StopIteration as done:
        return done.value
    while True:
        try:
            request = asking.send((yield request))
        except StopIteration as done:
            return done.value


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", [None, "tenant"])
def test_whatever_the_order_the_counts_are_those_of_the_model(
    redis_server: RedisServer, shard: str | None
) -> None:
    machine: Any = type("Machine", (Machine,), {"server": redis_server, "shard": shard})
    run_machine(
        machine,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
