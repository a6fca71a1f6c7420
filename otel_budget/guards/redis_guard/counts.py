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

from otel_budget.contract import Allow, BudgetDecision, BudgetLevel, Deny, SoftLimit
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.session_info import SessionInfo, SessionInfoSource, resolve
from otel_budget.guards.answers import Standing, Terms, decide, too_many_held
from otel_budget.guards.book import Filling
from otel_budget.guards.calendar import Period
from otel_budget.guards.charges import CallCharges, Charge
from otel_budget.guards.levels import Budget, of_owners, told
from otel_budget.guards.limit import Limit
from otel_budget.guards.redis_guard import steps
from otel_budget.guards.redis_guard.client import Clients
from otel_budget.guards.redis_guard.options import check_options
from otel_budget.guards.redis_guard.steps import Account, Found, Reply, Step
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


Asking = Generator[Request, Sequence[Any], Any]


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
        shard: Literal["tenant"] | None = None,
        forget_after: float = 90 * _DAY,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(limits, deny_tools, session_info, prices)
        check_options(
            limits,
            when_down=when_down,
            timeout=timeout,
            prefix=prefix,
            shard=shard,
            forget_after=forget_after,
        )
        self._terms = tuple(Terms(limit, steps.SCALE[limit.unit]) for limit in limits)
        self._reservation = reservation
        self._fail_open = when_down == "open"
        self._prefix, self._clock = prefix, clock
        self._is_sharded, self._slot_of_all = shard == "tenant", steps.slot_of_all(prefix)
        self._lifetime = _DAY if reservation is None else reservation.expires_after
        self._idle = forget_after
        #: By how many seconds the clock of Redis is ahead of ours, as far as is known.
        self._ahead = 0.0
        self._recent: OrderedDict[str, tuple[float, Account]] = OrderedDict()
        self._clients = Clients(url, timeout)
        self._prepare()

    def _prepare(self) -> None:
        """What a guard of its kind needs besides."""

    # -- requests --------------------------------------------------------------------------
    def _accounts(self, session_id: str, info: SessionInfo) -> Iterable[Account]:
        of_tenant = self._slot_of_all
        if self._is_sharded:
            of_tenant = steps.slot_of_tenant(self._prefix, info.tenant)
        for terms in self._terms:
            limit = terms.limit
            key = limit.key(session_id, info)
            slot = self._slot_of_all if limit.per == "all" else of_tenant
            name = steps.account_name(slot, limit, key)
            yield Account(terms, slot, name, limit.owner(key, info.tenant))

    def _steps(
        self,
        name: steps.Name,
        session_id: str,
        info: SessionInfo,
        call_id: str = "",
        charge: Charge | None = None,
    ) -> list[Step]:
        """A step in each slot that the limits are in; that of the limits of `all` is the last."""
        session = (info.tenant, session_id) if self._is_sharded else session_id
        return [
            Step(
                name,
                steps.session_key(slot, session),
                accounts,
                call_id,
                charge,
                self._compared,
                self._lifetime,
                self._idle,
            )
            for slot, accounts in sorted(
                _by_slot(self._accounts(session_id, info)).items(),
                key=lambda one: one[0] == self._slot_of_all,
            )
        ]

    def _ask(self, step: Step) -> Generator[Request, Sequence[Any], Reply]:
        """Ask Redis once, or once more with the windows of its own time."""
        told_now = None if self._clock is None else self._clock()
        now = time.time() + self._ahead if told_now is None else told_now
        for _ in range(2):
            keys, arguments = step.keys(), step.arguments(now, told_now)
            try:
                answer = yield Request("evalsha", steps.SHA, keys, arguments)
            except self._clients.no_script:  # it did not run: also a replica that took over
                answer = yield Request("eval", steps.SCRIPT, keys, arguments)
            reply = step.read(answer, now)
            if told_now is None:
                self._ahead = reply.now - time.time()
            if reply.status != steps.OTHER_TIME:
                return reply
            now = reply.now  # nothing was done: the windows were not those of Redis' time
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
        standings, now = list[Standing](), 0.0
        for step in self._steps("look", session_id, info):
            _, now, found, _ = yield from self._ask(step)
            self._remember(step)
            standings += [Standing(one.account.terms, one.used) for one in found]
        return decide(standings, now, session_id, info)

    def _reserving(
        self, call_id: str, session_id: str, estimate: int, info: SessionInfo
    ) -> Generator[Request, Sequence[Any], BudgetDecision]:
        """Reserve in one slot after the other; what one refuses is let go again in those before."""
        assert self._reservation is not None
        charge = self._expected(estimate, math.ceil(self._reservation.output_tokens), info)
        reserved, standings, now = list[Step](), list[Standing](), 0.0
        for step in self._steps("reserve", session_id, info, call_id, charge):
            try:
                status, now, found, _ = yield from self._ask(step)
            except self._clients.errors:
                if not self._fail_open:  # else the call proceeds
                    yield from self._letting_go(reserved)
                raise
            self._remember(step)
            standings += [
                Standing(terms, one.used, one.reserved, steps.amount(charge, terms.limit.unit))
                for one in found
                for terms in (one.account.terms,)
            ]
            if status != steps.OK:
                error = yield from self._letting_go(reserved)
                if status == steps.TOO_MANY:
                    refused: BudgetDecision = too_many_held(self._terms[0].limit, session_id)
                else:
                    refused = decide(standings, now, session_id, info)
                return refused if error is None else _still_held(refused, error, self._lifetime)
            reserved.append(step)
        self._note_reserved(charge, info)
        return decide(standings, now, session_id, info)

    def _letting_go(
        self, reserved: Iterable[Step]
    ) -> Generator[Request, Sequence[Any], Exception | None]:
        """End what a refused call has reserved; what cannot be ended expires."""
        failure = None
        for step in reserved:
            try:
                yield from self._ask(step._replace(name="release"))
            except self._clients.errors as error:
                failure = error
        return failure

    def _recording(self, session_id: str, usage: Any) -> Asking:
        if self._terms:
            info = resolve(self._session_info, session_id)
            charge = self._used(usage, info)
            yield from self._ending(self._steps("settle", session_id, info, charge=charge))
            self._note_used(charge, info)

    def _releasing(self, session_id: str, call_id: str = "") -> Asking:
        if self._terms and self._reservation is not None:
            info = resolve(self._session_info, session_id)
            yield from self._ending(self._steps("release", session_id, info, call_id))

    def _ending(self, steps_: Sequence[Step]) -> Asking:
        """Settle or release in each slot, the last first: it holds only what is reserved in all.

        Which call fits best is found there, and ended by its id in the others. All are tried.
        """
        failure: Exception | None = None
        ended = ""
        for step in reversed(steps_):
            try:
                reply = yield from self._ask(step._replace(call_id=step.call_id or ended))
            except self._clients.errors as error:
                failure = failure or error
            else:
                ended = reply.ended
                if step.name == "settle":
                    self._remember(step)
        if failure is not None:
            raise failure

    # -- levels ----------------------------------------------------------------------------
    def _remember(self, step: Step) -> None:
        served = time.monotonic()
        with self._lock.current:
            for account in step.accounts:
                self._recent[account.name] = served, account
                self._recent.move_to_end(account.name)
            while len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)

    def _telling(self) -> Generator[Request, Sequence[Any], list[BudgetLevel]]:
        """Ask for the accounts that this process served of late, and tell their levels."""
        oldest = time.monotonic() - RECENT
        with self._lock.current:
            while self._recent and next(iter(self._recent.values()))[0] < oldest:
                self._recent.popitem(last=False)
            accounts = [account for _, account in self._recent.values()]
        found: dict[Terms, list[Found]] = defaultdict(list)
        now = 0.0
        for slot, its_accounts in _by_slot(accounts).items():
            nobody = steps.session_key(slot, "")
            for start in range(0, len(its_accounts), _AT_ONCE):
                some = its_accounts[start : start + _AT_ONCE]
                _, now, answers, _ = yield from self._ask(Step("look", nobody, some))
                for one in answers:
                    found[one.account.terms].append(one)
        budgets = [
            budget for terms in self._terms for budget in _budgets(terms, found.get(terms, ()))
        ]
        age = None if self._reservation is None else _age
        return told(budgets, now, shared=True, age=age)


def _by_slot(accounts: Iterable[Account]) -> dict[str, list[Account]]:
    by_slot: dict[str, list[Account]] = {}
    for account in accounts:
        by_slot.setdefault(account.slot, []).append(account)
    return by_slot


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


def _still_held(refused: BudgetDecision, error: Exception, lifetime: float) -> BudgetDecision:
    """The refusal, which says that a part of what the call needed is held until it expires."""
    if not isinstance(refused, Deny):
        return refused
    return refused.model_copy(
        update={
            "reason": f"{refused.reason} What other budgets had reserved for it is held for up to "
            f"{lifetime:g} s: the budget's Redis did not answer ({type(error).__name__})."
        }
    )


def new_id() -> str:
    """A call's own id."""
    return uuid.uuid4().hex
