"""A guard to start with: budgets in USD or tokens over calendar windows, in one process.

It counts in the process's memory: it starts at zero, and each of several processes has the whole
budget. If processes must share a budget, use a `RedisGuard`, or ``examples/postgres_guard.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

from otel_budget.contract import (
    BudgetDecision,
    BudgetGuard,
    BudgetLevel,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.session_info import SessionInfo, SessionInfoSource, resolve
from otel_budget.guards.answers import Standing, decide, too_many_held
from otel_budget.guards.book import SCALE, Book
from otel_budget.guards.charges import CallCharges, Charge
from otel_budget.guards.levels import levels_of
from otel_budget.guards.limit import Limit
from otel_budget.guards.reservations import HeldAmount, Holds, Reservation
from otel_budget.sanitize import count

__all__ = ["AsyncWindowGuard", "Limit", "WindowGuard"]


class _WindowCounts(CallCharges):
    """Counts and decisions, shared by both guards."""

    def __init__(
        self,
        *limits: Limit,
        deny_tools: Iterable[str] = (),
        session_info: SessionInfoSource = None,
        prices: PriceSource | Literal["auto"] | None = "auto",
        reservation: Reservation | None = None,
        clock: Callable[[], float] = time.time,
        max_keys: int = 10_000,
    ) -> None:
        super().__init__(limits, deny_tools, session_info, prices)
        self._books = tuple(Book(limit, max_keys) for limit in limits)
        self._clock = clock
        self._holds = None if reservation is None or not limits else Holds(reservation)

    def budget_levels(self) -> list[BudgetLevel]:
        """How full each budget is, against its cap (not the soft threshold), and when it resets.

        A limit per session reports the fullest session of each tenant, and the uncounted calls of
        all its sessions. Of more than 2,000 budgets the fullest are told.
        """
        return levels_of(self._books, self._holds, self._lock, self._clock())

    # -- checks ----------------------------------------------------------------------------
    def _decide_call(self, session_id: str, estimate: Any) -> BudgetDecision:
        info = resolve(self._session_info, session_id)
        now = self._clock()
        if self._holds is not None:
            return self._reserve(self._holds, session_id, count(estimate) or 0, info, now)
        with self._lock.current:
            standings = [Standing(book, book.used(now, session_id, info)) for book in self._books]
        return decide(standings, now, session_id, info)

    def _reserve(
        self, holds: Holds, session_id: str, estimate: int, info: SessionInfo, now: float
    ) -> BudgetDecision:
        """Decide a call and reserve what it may need, in all limits; if refused, in none."""
        charge = self._expected(estimate, holds.output_tokens, info)
        amounts: list[HeldAmount] = [
            (book, book.limit.key(session_id, info), charge.whole(book.limit.unit, book.scale))
            for book in self._books
        ]
        with self._lock.current:
            holds.expire()
            if not holds.has_room(session_id):
                return too_many_held(self._books[0].limit, session_id)
            # Held first and looked at then, so that a call in the middle of this one, by a
            # finalizer or a signal handler, is not given the same amount once more.
            held = holds.hold(session_id, info.tenant, self._size(charge), tuple(amounts))
            standings = [
                Standing(
                    book,
                    used=book.used(now, session_id, info),
                    reserved=book.reserved(key) - need,
                    need=need,
                )
                for book, key, need in amounts
            ]
            fits = all(one.fits for one in standings)
            if not fits:
                holds.end(held)
        if fits:
            self._note_reserved(charge, info)
        return decide(standings, now, session_id, info)

    def _size(self, charge: Charge) -> int:
        return charge.whole(self._compared, SCALE[self._compared])

    # -- records ---------------------------------------------------------------------------
    def _add(self, session_id: str, usage: Any) -> None:
        info = resolve(self._session_info, session_id)
        charge = self._used(usage, info)
        now = self._clock()
        with self._lock.current:
            for book in self._books:
                amount = charge.amount(book.limit.unit)
                if amount is None:
                    book.add_uncounted(now, session_id, info)
                elif amount:
                    book.add(now, session_id, info, round(amount * book.scale))
            if self._holds is not None:
                self._holds.expire()
                self._holds.settle(session_id, self._size(charge))
        self._note_used(charge, info)

    def _release(self, session_id: str) -> None:
        if self._holds is None:
            return
        with self._lock.current:
            self._holds.expire()
            self._holds.settle(session_id, 0)


class WindowGuard(_WindowCounts, SyncBudgetGuard):
    """A synchronous guard that enforces one or more `Limit`.

    Limits count what was *used*. Without a `reservation` a check ignores its estimate, and calls in
    progress when a cap is reached still finish and count, so a budget can be overrun by these.

    With one, an allowed check reserves its estimate and the expected output in all limits, and is
    refused if that does not fit beside what is used and reserved. A record ends the smallest of its
    session's reservations that covers what was used, or the smallest; `release_llm`, which a
    `BudgetGate` calls for calls that end without a record, the smallest. A budget is then overrun
    only by what calls use beyond their reservation (and meanwhile by the difference to the larger
    reservation that such a call ended) or after it has expired. Usage is compared in tokens; in
    USD if every limit is in USD, which holds the bound also if one session calls several models.

    Where it is undecided how a usage counts cached tokens or reasoning, the call counts as the
    most that it may have used (`upper_bound_calls`). A call whose usage cannot be read or whose
    price is unknown adds nothing to the limits that it concerns (`uncounted_calls`, also in the
    levels). Both are logged once per reason. Give model and provider (`session_info`,
    `call_info`), use your own rates (`FlatRates`), or add a limit in tokens, which counts every
    call whose usage can be read.

    Args:
        *limits: The budgets. If several apply to a call, the fullest decides.
        deny_tools: Tools that are refused: names, or patterns such as ``shell*``.
        session_info: Tenant, model and provider of a session. Pass the same to `instrument`, so
            that guard and telemetry agree.
        prices: What calls cost. Pass the same to `instrument`.
        reservation: What checks reserve; None for nothing. A session may hold 1,000 reservations
            and a guard 100,000: beyond that, calls are refused until one ends.
        clock: Returns the time in seconds since the epoch.
        max_keys: How many tenants or sessions each limit remembers per window. Beyond that, the
            least recently used without a reservation is forgotten and starts again at zero.

    Raises:
        TypeError: `prices` is not a price source, or `session_info` neither a `SessionInfo` nor a
            plain function.
    """

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        """Refuse the call if one of its budgets is spent, or too small for its reservation."""
        return self._decide_call(session_id, estimated_prompt_tokens)

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; the usage may also be in the dict dialect."""
        self._add(session_id, usage)

    def release_llm(self, session_id: str) -> None:
        """End the reservation of a call that used nothing, as far as is known."""
        self._release(session_id)

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tool if it is in `deny_tools`."""
        return self._decide_tool(tool_name)


class AsyncWindowGuard(_WindowCounts, BudgetGuard):
    """An async guard that enforces one or more `Limit`; apart from ``await``, a `WindowGuard`."""

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        """Refuse the call if one of its budgets is spent, or too small for its reservation."""
        return self._decide_call(session_id, estimated_prompt_tokens)

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; the usage may also be in the dict dialect."""
        self._add(session_id, usage)

    async def release_llm(self, session_id: str) -> None:
        """End the reservation of a call that used nothing, as far as is known."""
        self._release(session_id)

    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tool if it is in `deny_tools`."""
        return self._decide_tool(tool_name)
