"""What a Redis guard asks and makes of the replies, without waiting for them.

Each call of the guard is a generator: it yields a request, is sent the reply (or thrown the error),
and returns the answer. So the sync and the async guard have all but the waiting in common.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from otel_budget.contract import Allow, BudgetDecision, BudgetLevel, SoftLimit
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.session_info import SessionInfo, SessionInfoSource, resolve
from otel_budget.guards.answers import Standing, Terms, decide, too_many_held
from otel_budget.guards.book import Filling
from otel_budget.guards.calendar import Period
from otel_budget.guards.charges import CallCharges, Charge
from otel_budget.guards.levels import Budget, of_owners, told
from otel_budget.guards.limit import Key, Limit
from otel_budget.guards.redis_guard import steps
from otel_budget.guards.redis_guard.client import Clients
from otel_budget.guards.redis_guard.steps import Account, Found, Step
from otel_budget.guards.reservations import Reservation
from otel_budget.sanitize import count
from otel_budget.semconv import GUARD_UNAVAILABLE

#: A level is reported by the processes that served its account within so many seconds.
RECENT: Final = 300.0
#: Accounts whose levels a process reports, and those asked for in one request.
_MOST_RECENT: Final = 10_000
_AT_ONCE: Final = 100
_DAY: Final = 86_400.0


class Request(NamedTuple):
    """One command for Redis: a method of its client, and what it takes."""

    method: Literal["evalsha", "eval"]
    script: str
    keys: list[str]
    arguments: list[str | int]


Asking = Generator[Request, Sequence[int], Any]


class ClockMoved(RuntimeError):
    """The clock of Redis leaps: it is in no window that it told itself of."""


class RedisCounts(CallCharges):
    """Requests, answers and levels, shared by both guards."""

    def __init__(
        self,
        *limits: Limit,
        url: str | Sequence[str],
        deny_tools: Iterable[str] = (),
        session_info: SessionInfoSource = None,
        prices: PriceSource | Literal["auto"] | None = "auto",
        reservation: Reservation | None = None,
        when_down: Literal["closed", "open"] = "closed",
        timeout: float = 0.5,
        prefix: str = "budget",
        forget_after: float = 90 * _DAY,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(limits, deny_tools, session_info, prices)
        _check(limits, when_down, timeout, prefix, forget_after)
        self._terms = tuple(Terms(limit, steps.SCALE[limit.unit]) for limit in limits)
        self._reservation = reservation
        self._fail_open = when_down == "open"
        self._prefix, self._clock = prefix, clock
        self._lifetime = _DAY if reservation is None else reservation.expires_after
        self._idle = forget_after
        #: By how many seconds the clock of Redis is ahead of ours, as far as is known.
        self._ahead = 0.0
        self._recent: OrderedDict[tuple[int, Key], tuple[float, Account]] = OrderedDict()
        self._clients = Clients(url, timeout)
        self._prepare()

    def _prepare(self) -> None:
        """What a guard of its kind needs besides."""

    # -- requests --------------------------------------------------------------------------
    def _accounts(self, session_id: str, info: SessionInfo) -> list[Account]:
        accounts = []
        for terms in self._terms:
            limit = terms.limit
            key = limit.key(session_id, info)
            name = steps.account_name(self._prefix, limit, key)
            accounts.append(Account(terms, key, name, limit.owner(key, info.tenant)))
        return accounts

    def _step(
        self,
        name: steps.Name,
        session_id: str,
        info: SessionInfo,
        call_id: str = "",
        charge: Charge | None = None,
    ) -> Step:
        return Step(
            name,
            steps.session_key(self._prefix, session_id),
            self._accounts(session_id, info),
            call_id,
            charge,
            self._compared,
            self._lifetime,
            self._idle,
        )

    def _ask(self, step: Step) -> Generator[Request, Sequence[int], tuple[int, float, list[Found]]]:
        """Ask Redis; its status, its time, and how it found the accounts."""
        told_now = None if self._clock is None else self._clock()
        now = time.time() + self._ahead if told_now is None else told_now
        for _ in range(2):
            keys, arguments = step.keys(), step.arguments(now, told_now)
            try:
                reply = yield Request("evalsha", steps.SHA, keys, arguments)
            except self._clients.no_script:  # it did not run: also a replica that took over
                reply = yield Request("eval", steps.SCRIPT, keys, arguments)
            status, at = reply[0], reply[1] / 1000
            if told_now is None:
                self._ahead = at - time.time()
            if status != steps.OTHER_TIME:
                return status, at, step.found(reply, now)
            now = at  # nothing was done: the windows were not those of Redis' time
        raise ClockMoved("the clock of Redis leaps: its time was in none of the windows around it")

    # -- calls -----------------------------------------------------------------------------
    def _checking(self, call_id: str, session_id: str, estimate: Any) -> Asking:
        if not self._terms:
            return Allow()
        info = resolve(self._session_info, session_id)
        try:
            if self._reservation is None:
                return (yield from self._looking(session_id, info))
            return (yield from self._reserving(call_id, session_id, count(estimate) or 0, info))
        except self._clients.errors as error:
            if self._fail_open:
                return _down(error)
            raise

    def _looking(self, session_id: str, info: SessionInfo) -> Asking:
        step = self._step("look", session_id, info)
        _, now, found = yield from self._ask(step)
        self._remember(step)
        standings = [Standing(one.account.terms, one.used) for one in found]
        return decide(standings, now, session_id, info)

    def _reserving(
        self, call_id: str, session_id: str, estimate: int, info: SessionInfo
    ) -> Generator[Request, Sequence[int], BudgetDecision]:
        assert self._reservation is not None
        charge = self._expected(estimate, math.ceil(self._reservation.output_tokens), info)
        step = self._step("reserve", session_id, info, call_id, charge)
        status, now, found = yield from self._ask(step)
        self._remember(step)
        if status == steps.TOO_MANY:
            return too_many_held(self._terms[0].limit, session_id)
        if status == steps.OK:
            self._note_reserved(charge, info)
        standings = [
            Standing(terms, one.used, one.reserved, steps.amount(charge, terms.limit.unit))
            for one in found
            for terms in (one.account.terms,)
        ]
        return decide(standings, now, session_id, info)

    def _recording(self, session_id: str, usage: Any) -> Asking:
        if self._terms:
            info = resolve(self._session_info, session_id)
            charge = self._used(usage, info)
            step = self._step("settle", session_id, info, charge=charge)
            yield from self._ask(step)
            self._remember(step)
            self._note_used(charge, info)

    def _releasing(self, session_id: str, call_id: str = "") -> Asking:
        if self._terms and self._reservation is not None:
            info = resolve(self._session_info, session_id)
            yield from self._ask(self._step("release", session_id, info, call_id))

    # -- levels ----------------------------------------------------------------------------
    def _remember(self, step: Step) -> None:
        served = time.monotonic()
        with self._lock.current:
            for index, account in enumerate(step.accounts):
                self._recent[index, account.key] = served, account
                self._recent.move_to_end((index, account.key))
            while len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)

    def _telling(self) -> Generator[Request, Sequence[int], list[BudgetLevel]]:
        """Ask for the accounts that this process served of late, and tell their levels."""
        oldest = time.monotonic() - RECENT
        with self._lock.current:
            while self._recent and next(iter(self._recent.values()))[0] < oldest:
                self._recent.popitem(last=False)
            accounts = [account for _, account in self._recent.values()]
        found: dict[Terms, list[Found]] = defaultdict(list)
        now = 0.0
        for start in range(0, len(accounts), _AT_ONCE):
            nobody = steps.session_key(self._prefix, "")
            some = accounts[start : start + _AT_ONCE]
            _, now, answers = yield from self._ask(Step("look", nobody, some))
            for one in answers:
                found[one.account.terms].append(one)
        budgets = [
            budget for terms in self._terms for budget in _budgets(terms, found.get(terms, ()))
        ]
        age = None if self._reservation is None else _age
        return told(budgets, now, shared=True, age=age)


def _budgets(terms: Terms, found: Iterable[Found]) -> Iterable[Budget]:
    by_period: dict[Period, list[Filling]] = defaultdict(list)
    for one in found:  # midnight may come between two requests
        by_period[one.period].append(
            Filling(one.account.owner, one.used, one.reserved, one.oldest, one.uncounted)
        )
    for period, fillings in by_period.items():
        for filling in of_owners(fillings):
            yield Budget(terms, period, filling)


def _age(told_age: float | None) -> float | None:
    return told_age


def _down(error: Exception) -> SoftLimit:
    return SoftLimit(
        resource=GUARD_UNAVAILABLE,
        consumed=0.0,
        limit=0.0,
        message=f"The budget's Redis did not answer ({type(error).__name__}): not enforced.",
    )


def new_id() -> str:
    """A call's own id."""
    return uuid.uuid4().hex


def _check(
    limits: Sequence[Limit], when_down: str, timeout: float, prefix: str, forget_after: float
) -> None:
    if when_down not in ("closed", "open"):
        raise ValueError(f"when_down must be 'closed' or 'open', not {when_down!r}")
    if not prefix or "{" in prefix or "}" in prefix:
        raise ValueError(f"prefix must be a name without braces, not {prefix!r}")
    for name, value in (("timeout", timeout), ("forget_after", forget_after)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be seconds above zero, not {value}")
    names = set()
    for limit in limits:
        if limit.cap * steps.SCALE[limit.unit] > steps.MOST:
            most = steps.MOST // steps.SCALE[limit.unit]
            raise ValueError(f"a cap in Redis must be at most {most:,} {limit.unit}")
        name = steps.account_name("", limit, None)
        if name in names:
            raise ValueError(
                f"two limits share one count in Redis: per {limit.per}, in {limit.unit}, by "
                f"{limit.window}; give one a resource of its own"
            )
        names.add(name)
