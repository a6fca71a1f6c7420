"""A guard to start with: budgets in USD or tokens over calendar windows, in one process.

It counts in the process's memory: it starts at zero, and each of several processes has the whole
budget. If processes must share a budget, keep the counts in a shared store;
``examples/redis_guard`` is such a guard, built the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from otel_budget import semconv
from otel_budget.contract import (
    Allow,
    BudgetDecision,
    BudgetGuard,
    BudgetLevel,
    Deny,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.prices import PriceSource, price_source
from otel_budget.contract.session_info import (
    SessionInfo,
    SessionInfoSource,
    call_cost,
    check_source,
    resolve,
)
from otel_budget.forks import RenewedLock
from otel_budget.guards.book import SCALE, Book, Standing
from otel_budget.guards.levels import levels_of
from otel_budget.guards.limit import Limit
from otel_budget.guards.reason_counts import (
    ReasonCounts,
    log_uncounted,
    log_unreserved,
    log_upper_bound,
)
from otel_budget.guards.reservations import HeldAmount, Holds, Reservation
from otel_budget.sanitize import count, text

__all__ = ["AsyncWindowGuard", "Limit", "WindowGuard"]

_USD_SCALE: Final = SCALE["USD"]
_FREE: Final = Price(0.0)
_TOOLS: Final = "tools"
_ALLOW: Final = Allow()


class _WindowCounts:
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
        self._books = tuple(Book(limit, max_keys) for limit in limits)
        self._deny_tools = (deny_tools,) if isinstance(deny_tools, str) else tuple(deny_tools)
        check_source(session_info)
        self._session_info = session_info
        self._has_usd_limit = any(limit.unit == "USD" for limit in limits)
        self._has_token_limit = any(limit.unit == "tokens" for limit in limits)
        self._prices = price_source(prices) if self._has_usd_limit else None
        self._clock = clock
        self._uncounted = ReasonCounts()
        self._at_upper_bound = ReasonCounts()
        self._unreserved = ReasonCounts()
        self._holds = None if reservation is None or not limits else Holds(reservation)
        self._lock = RenewedLock()

    @property
    def uncounted_calls(self) -> dict[str, int]:
        """How many calls added nothing to at least one limit, by why: usage or price unknown."""
        with self._lock.current:
            return self._uncounted.by_reason()

    @property
    def upper_bound_calls(self) -> dict[str, int]:
        """How many calls counted as the most that they may have used, by what is undecided."""
        with self._lock.current:
            return self._at_upper_bound.by_reason()

    @property
    def unreserved_calls(self) -> dict[str, int]:
        """How many allowed calls reserved nothing in USD, by why their price is unknown."""
        with self._lock.current:
            return self._unreserved.by_reason()

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
            used = [(book, book.used(now, session_id, info)) for book in self._books]
        # Of several spent budgets, or several past their threshold, the fullest decides.
        fullest_first = sorted(used, key=lambda pair: pair[1] / max(pair[0].cap, 1), reverse=True)
        for book, amount in fullest_first:
            if amount >= book.cap:
                return book.denial(Standing(book, amount), now, session_id, info)
        for book, amount in fullest_first:
            if book.threshold is not None and amount >= book.threshold:
                return book.warning(Standing(book, amount), now, session_id, info)
        return _ALLOW

    def _reserve(
        self, holds: Holds, session_id: str, estimate: int, info: SessionInfo, now: float
    ) -> BudgetDecision:
        """Decide a call and reserve what it may need, in all limits; if refused, in none."""
        expected = Measurement(input_tokens=estimate, output_tokens=holds.output_tokens)
        cost = self._price(expected, info, None) if self._has_usd_limit else _FREE
        amounts: list[HeldAmount] = []
        for book in self._books:
            amount = expected.tokens if book.limit.unit == "tokens" else cost.usd
            amounts.append((book, book.key(session_id, info), round((amount or 0) * book.scale)))
        is_first_unreserved = False
        with self._lock.current:
            holds.expire()
            if not holds.has_room(session_id):
                return Deny(
                    resource=self._books[0].limit.name,
                    reason=f"Session {text(session_id)} must wait: this guard holds reservations "
                    "for as many calls in progress as it can.",
                    cause="reserved",
                )
            # Held first and looked at then, so that a call in the middle of this one, by a
            # finalizer or a signal handler, is not given the same amount once more.
            held = holds.hold(
                session_id, info.tenant, self._size(expected.tokens, cost), tuple(amounts)
            )
            standings = [
                Standing(
                    book,
                    used=book.used(now, session_id, info),
                    reserved=book.reserved(key) - need,
                    need=need,
                )
                for book, key, need in amounts
            ]
            fullest_first = sorted(standings, key=Standing.fullness, reverse=True)
            refusing = next((one for one in fullest_first if not one.fits), None)
            if refusing is not None:
                holds.end(held)
            elif cost.usd is None:
                is_first_unreserved = self._unreserved.add(cost.reason)
        if is_first_unreserved:
            log_unreserved(info.model, cost.reason)
        if refusing is not None:
            return refusing.book.denial(refusing, now, session_id, info)
        for one in fullest_first:
            if one.is_past_threshold:
                return one.book.warning(one, now, session_id, info)
        return _ALLOW

    def _size(self, tokens: int, cost: Price) -> int:
        """What reservations and usage are compared by: USD if every limit is in USD, else tokens.

        One of them for all limits, as one reservation ends in all of them together.
        """
        return tokens if self._has_token_limit else round((cost.usd or 0.0) * _USD_SCALE)

    # -- records ---------------------------------------------------------------------------
    def _add(self, session_id: str, usage: Any) -> None:
        info = resolve(self._session_info, session_id)
        measurement = measure(usage, info.provider, upper_bound=True)
        told_cost = call_cost()
        cost = self._price(measurement, info, told_cost) if self._has_usd_limit else _FREE
        tokens = None if measurement.malformed else measurement.tokens
        now = self._clock()
        uncounted, bound = "", ""
        if cost.usd is None:
            uncounted = cost.reason
        elif tokens is None and self._has_token_limit:
            uncounted = semconv.MALFORMED_USAGE
        if self._has_token_limit or (cost.usd and cost.source == semconv.COST_FROM_PRICES):
            bound = measurement.upper_bound
        with self._lock.current:
            for book in self._books:
                amount = tokens if book.limit.unit == "tokens" else cost.usd
                if amount is None:
                    book.add_uncounted(now, session_id, info)
                elif amount:
                    book.add(now, session_id, info, round(amount * book.scale))
            if self._holds is not None:
                self._holds.expire()
                self._holds.settle(session_id, self._size(tokens or 0, cost))
            is_first_uncounted = bool(uncounted) and self._uncounted.add(uncounted)
            is_first_bound = bool(bound) and self._at_upper_bound.add(bound)
        if is_first_uncounted:
            log_uncounted(info.model, uncounted)
        if is_first_bound:
            log_upper_bound(info.model, bound)

    def _release(self, session_id: str) -> None:
        if self._holds is None:
            return
        with self._lock.current:
            self._holds.expire()
            self._holds.settle(session_id, 0)

    def _price(self, measurement: Measurement, info: SessionInfo, told_cost: float | None) -> Price:
        try:
            return price(measurement, self._prices, info.model, info.provider, told_cost)
        except Exception:
            return Price(None, semconv.PRICE_ERROR)

    def _decide_tool(self, tool_name: str) -> BudgetDecision:
        if any(fnmatchcase(str(tool_name), pattern) for pattern in self._deny_tools):
            return Deny(
                resource=_TOOLS,
                reason=f"Tool '{text(tool_name)}' is on this guard's deny-list.",
                cause="policy",
            )
        return _ALLOW


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
