"""A guard whose counts are in PostgreSQL: the limits of a `WindowGuard`, for many processes.

    createdb budgets && psql budgets -f examples/postgres_guard.sql
    .venv-examples/bin/python examples/postgres_guard.py --postgres postgresql:///budgets

Each step is one statement: it checks and reserves in all limits or in none, and a record settles
what its call reserved. Windows begin and end by the server's clock. The statement's span, by
opentelemetry-instrumentation-psycopg, is a child of the guard's.

With a `reservation`, a limit is passed by no more than what calls in progress use beyond theirs
(and meanwhile by the difference to the larger reservation that such a call ended), and what is
recorded and cannot be counted: records that ended in an error, calls of `uncounted_calls`, and what
a call uses after its reservation has expired. What PostgreSQL acknowledged it keeps, unless
`synchronous_commit` is off or a replica takes over that was behind.

It uses parts of the package's own guards that are not public and may move: pin the version.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal

import psycopg
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from otel_budget import (
    Allow,
    BudgetDecision,
    BudgetExhausted,
    BudgetGate,
    BudgetLevel,
    FlatRates,
    SessionInfo,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
    instrument,
)
from otel_budget.contract.prices import PriceSource
from otel_budget.guards import (
    GUARD_UNAVAILABLE,
    Limit,
    Reservation,
    SessionInfoSource,
    resolve,
)
from otel_budget.guards.answers import Standing, Terms, decide
from otel_budget.guards.book import SCALE, Filling
from otel_budget.guards.calendar import period_at
from otel_budget.guards.charges import CallCharges, Charge
from otel_budget.guards.levels import Budget, of_owners, told
from otel_budget.guards.limit import Owner
from otel_budget.sanitize import count
from otel_budget.sdk import configure

STEP = """SELECT * FROM budget_step(%s, %s, %s::numeric, %s, %s::text[], %s::text[], %s::numeric[],
  %s::numeric[])"""
LOOK = "SELECT * FROM budget_look(%s::text[], %s::text[], clock_timestamp())"
#: Levels are told of the accounts served in the last so many seconds, and of so many at most.
RECENT, MOST_RECENT = 300.0, 10_000


class Connection(psycopg.Connection[Any]):
    """Waits for `bound` seconds at most, also for a server that hangs."""

    bound: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, self.bound if timeout is None else timeout)


class PostgresGuard(CallCharges, SyncBudgetGuard):
    """Enforces one or more `Limit` over all processes that share a database; see `RedisGuard`.

    Args:
        conninfo: A database with the functions of ``postgres_guard.sql``.
        timeout: Seconds that an answer may take, with the wait for other steps. Connecting may take
            two, libpq's least. Nothing is tried twice.
    """

    def __init__(
        self,
        *limits: Limit,
        conninfo: str,
        deny_tools: Iterable[str] = (),
        session_info: SessionInfoSource = None,
        prices: PriceSource | Literal["auto"] | None = "auto",
        reservation: Reservation | None = None,
        when_down: Literal["closed", "open"] = "closed",
        timeout: float = 0.5,
    ) -> None:
        super().__init__(limits, deny_tools, session_info, prices)
        if when_down not in ("closed", "open"):
            raise ValueError(f"when_down must be 'closed' or 'open', not {when_down!r}")
        if len({_name(limit, None) for limit in limits}) < len(limits):
            raise ValueError("two limits share one count; give one a resource of its own")
        self._terms = [Terms(limit, SCALE[limit.unit]) for limit in limits]
        self._reservation, self._when_down, self._timeout = reservation, when_down, timeout
        # So each statement of a step sees what was committed before the step had its locks.
        options = str(conninfo_to_dict(conninfo).get("options") or "")
        options += r" -c default_transaction_isolation=read\ committed"
        options += f" -c statement_timeout={math.ceil(timeout * 1000)}"
        self._conninfo = make_conninfo(conninfo, options=options, connect_timeout=2)
        self._idle: dict[int, list[Connection]] = defaultdict(list)  # of each process: it may fork
        self._recent: OrderedDict[tuple[int, str], tuple[float, Owner]] = OrderedDict()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        if not self._terms:
            return Allow()
        info = resolve(self._session_info, session_id)
        try:
            if self._reservation is None:
                return self._look(session_id, info)
            return self._reserve(session_id, count(estimated_prompt_tokens) or 0, info)
        except psycopg.OperationalError:
            if self._when_down == "closed":
                raise
            message = "The budget's PostgreSQL did not answer: not enforced."
            return SoftLimit(resource=GUARD_UNAVAILABLE, consumed=0.0, limit=0.0, message=message)

    def _look(self, session_id: str, info: SessionInfo) -> BudgetDecision:
        windows = [terms.limit.window for terms in self._terms]
        rows = self._ask(LOOK, [self._accounts(session_id, info), windows])
        found = [Standing(terms, int(row[2])) for terms, row in zip(self._terms, rows, strict=True)]
        return decide(found, rows[0][1], session_id, info)

    def _reserve(self, session_id: str, estimate: int, info: SessionInfo) -> BudgetDecision:
        assert self._reservation is not None
        charge = self._expected(estimate, math.ceil(self._reservation.output_tokens), info)
        needs = [charge.whole(terms.limit.unit, terms.scale) for terms in self._terms]
        rows = self._step("reserve", session_id, info, self._size(charge), needs)
        found = [
            Standing(terms, int(row[2]), int(row[3]), need)
            for terms, row, need in zip(self._terms, rows, needs, strict=True)
        ]
        if all(one.fits for one in found):  # then the step has reserved
            self._note_reserved(charge, info)
        return decide(found, rows[0][1], session_id, info)

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        if self._terms:
            info = resolve(self._session_info, session_id)
            charge = self._used(usage, info)
            amounts = [
                None if charge.amount(unit) is None else charge.whole(unit, scale)
                for unit, scale in ((terms.limit.unit, terms.scale) for terms in self._terms)
            ]
            self._step("settle", session_id, info, self._size(charge), amounts)
            self._note_used(charge, info)

    def release_llm(self, session_id: str) -> None:
        if self._terms and self._reservation is not None:
            self._step("release", session_id, resolve(self._session_info, session_id))

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        return self._decide_tool(tool_name)

    def budget_levels(self) -> list[BudgetLevel]:
        with self._lock.current:
            while self._recent and next(iter(self._recent.values()))[0] < time.monotonic() - RECENT:
                self._recent.popitem(last=False)
            recent = [(*key, owner) for key, (_, owner) in self._recent.items()]
        if not recent:
            return []
        windows = [self._terms[index].limit.window for index, _, _ in recent]
        rows = self._ask(LOOK, [[account for _, account, _ in recent], windows])
        now = rows[0][1]
        budgets = [
            Budget(terms, period_at(terms.limit.window, now), filling)
            for number, terms in enumerate(self._terms)
            for filling in of_owners(
                Filling(owner, int(row[2]), int(row[3]), row[5], row[4])
                for (index, _, owner), row in zip(recent, rows, strict=True)
                if index == number
            )
        ]
        age = None if self._reservation is None else (lambda age: age)
        return told(budgets, now, shared=True, age=age)

    def close(self) -> None:
        idle = self._idle[os.getpid()]
        while idle:
            with suppress(IndexError):  # taken meanwhile
                idle.pop().close()

    # -- the database ----------------------------------------------------------------------
    def _size(self, charge: Charge) -> int:
        return charge.whole(self._compared, SCALE[self._compared])

    def _accounts(self, session_id: str, info: SessionInfo) -> list[str]:
        accounts, served = [], time.monotonic()
        with self._lock.current:
            for index, limit in enumerate(terms.limit for terms in self._terms):
                key = limit.key(session_id, info)
                accounts.append(_name(limit, key))
                self._recent[index, accounts[-1]] = served, limit.owner(key, info.tenant)
                self._recent.move_to_end((index, accounts[-1]))
            while len(self._recent) > MOST_RECENT:
                self._recent.popitem(last=False)
        return accounts

    def _step(
        self,
        name: str,
        session_id: str,
        info: SessionInfo,
        size: int = 0,
        amounts: Sequence[int | None] = (),
    ) -> list[Any]:
        lifetime = 0.0 if self._reservation is None else self._reservation.expires_after
        windows = [terms.limit.window for terms in self._terms]
        caps = [terms.cap for terms in self._terms]
        accounts = self._accounts(session_id, info)
        call = [name, json.dumps(session_id), size, lifetime]
        return self._ask(STEP, [*call, accounts, windows, list(amounts), caps])

    def _ask(self, statement: str, values: list[Any]) -> list[Any]:
        idle = self._idle[os.getpid()]
        try:
            connection = idle.pop()
        except IndexError:
            connection = Connection.connect(self._conninfo, autocommit=True)
            connection.bound = self._timeout
        try:
            rows = connection.execute(statement, values).fetchall()
        except BaseException:
            connection.close()
            self.close()  # what broke this one broke those
            raise
        idle.append(connection)
        return rows


def _name(limit: Limit, key: object) -> str:
    return json.dumps([limit.name, limit.per, limit.unit, limit.window, key])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--postgres", required=True, help="URL of a database with the functions")
    options = parser.parse_args()
    try:
        with psycopg.connect(options.postgres, connect_timeout=2) as connection:
            connection.execute(LOOK, [[], []])
    except psycopg.Error as error:
        sys.exit(f"No database with the functions of postgres_guard.sql there: {error}")
    telemetry = configure("postgres-guard")
    PsycopgInstrumentor().instrument()
    info = SessionInfo(
        tenant="acme", principal="ann", model="claude-sonnet-5", provider="anthropic"
    )
    prices = FlatRates(3, 15)
    guard = PostgresGuard(
        Limit(1.0, "USD", per="tenant", window="day"),
        Limit(50_000, "tokens", per="principal", window="hour"),
        conninfo=options.postgres,
        session_info=info,
        prices=prices,
        reservation=Reservation(output_tokens=300),  # the most that a call may generate
    )
    gate = BudgetGate(instrument(guard, session_info=info, prices=prices))

    def work(session_id: str) -> str:
        while True:
            try:
                with gate.llm_call(session_id, 1_000) as call:
                    usage = {"input_tokens": 1_000, "output_tokens": 200}
                    call.usage(TokenUsage.from_anthropic(usage))
            except BudgetExhausted as refusal:
                return str(refusal)

    with ThreadPoolExecutor(4) as workers:
        for answer in workers.map(work, ("s1", "s2", "s3", "s4")):
            print(answer)
    guard.close()
    telemetry.shutdown()


if __name__ == "__main__":
    main()
