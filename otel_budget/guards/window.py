"""A guard to start with: budgets in USD or tokens over calendar windows, in one process.

It counts in this process's memory: it starts empty, and several processes each have the whole
budget. Where they must share one, keep the counts in a store that they share;
``examples/redis_guard`` is such a guard of the same shape.
"""

from __future__ import annotations

import logging
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
from otel_budget.contract.session_info import SessionInfo, SessionInfoSource, call_cost, resolve
from otel_budget.forks import RenewedLock
from otel_budget.guards.limit import Book, Limit
from otel_budget.sanitize import text

__all__ = ["AsyncWindowGuard", "Limit", "WindowGuard"]

_log: Final = logging.getLogger(__name__)

_TOOLS: Final = "tools"
_ALLOW: Final = Allow()


class _Windows:
    """The mechanism that both guards share."""

    def __init__(
        self,
        *limits: Limit,
        deny_tools: Iterable[str] = (),
        session_info: SessionInfoSource = None,
        prices: PriceSource | Literal["auto"] | None = "auto",
        clock: Callable[[], float] = time.time,
        max_keys: int = 10_000,
    ) -> None:
        self._books = tuple(Book(limit, max_keys) for limit in limits)
        self._deny_tools = (deny_tools,) if isinstance(deny_tools, str) else tuple(deny_tools)
        self._session_info = session_info
        self._in_usd = any(limit.unit == "USD" for limit in limits)
        self._prices = price_source(prices) if self._in_usd else None
        self._clock = clock
        self._unpriced: dict[str, int] = {}
        self._lock = RenewedLock()

    @property
    def unpriced_calls(self) -> dict[str, int]:
        """Calls that added nothing to the limits in USD, by the reason their price is unknown."""
        with self._lock.current:
            return dict(self._unpriced)

    def budget_levels(self) -> list[BudgetLevel]:
        """How full each budget is: its cap (not the soft threshold), and when it resets.

        Of a limit per session the fullest session of each tenant is told.
        """
        now = self._clock()
        with self._lock.current:
            used = [(book, book.period(now), book.levels(now)) for book in self._books]
        return [
            BudgetLevel(
                resource=book.limit.name,
                consumed=amount / book.scale,
                limit=float(book.limit.cap),
                unit=book.limit.unit,
                window=book.limit.window if period.resets else None,
                window_length=period.end - period.start if period.resets else None,
                window_remaining=max(0.0, period.end - now) if period.resets else None,
                tenant=tenant,
            )
            for book, period, levels in used
            for tenant, amount in levels.items()
        ]

    def _may_call(self, session_id: str) -> BudgetDecision:
        info = resolve(self._session_info, session_id)
        now = self._clock()
        with self._lock.current:
            used = [(book, book.used(now, session_id, info)) for book in self._books]
        # The fullest budget speaks: of several that are spent, or of several past their threshold.
        fullest = sorted(used, key=lambda pair: pair[1] / max(pair[0].cap, 1), reverse=True)
        for book, amount in fullest:
            if amount >= book.cap:
                return book.deny(amount, now, session_id, info)
        for book, amount in fullest:
            if book.threshold is not None and amount >= book.threshold:
                return book.warn(amount, now, session_id, info)
        return _ALLOW

    def _add(self, session_id: str, usage: Any) -> None:
        info = resolve(self._session_info, session_id)
        tokens = measure(usage, info.provider)
        cost = self._priced(tokens, info) if self._in_usd else Price(0.0)
        now = self._clock()
        with self._lock.current:
            for book in self._books:
                amount = tokens.tokens if book.limit.unit == "tokens" else cost.usd
                if amount:
                    book.add(now, session_id, info, round(amount * book.scale))
            if cost.usd is None:
                first = cost.reason not in self._unpriced
                self._unpriced[cost.reason] = self._unpriced.get(cost.reason, 0) + 1
        if cost.usd is None and first:
            _log.warning(
                "A call (model %s) adds nothing to the limits in USD, its price is not known: %s. "
                "Tell model and provider, pass FlatRates as prices, or add a limit in tokens.",
                info.model,
                cost.reason,
            )

    def _priced(self, tokens: Measurement, info: SessionInfo) -> Price:
        try:
            return price(tokens, self._prices, info.model, info.provider, call_cost())
        except Exception:
            return Price(None, semconv.PRICE_ERROR)

    def _may_use(self, tool_name: str) -> BudgetDecision:
        if any(fnmatchcase(str(tool_name), pattern) for pattern in self._deny_tools):
            return Deny(
                resource=_TOOLS, reason=f"Tool '{text(tool_name)}' is on this guard's deny-list."
            )
        return _ALLOW


class WindowGuard(_Windows, SyncBudgetGuard):
    """A synchronous guard over one or more `Limit`.

    Every limit counts what was *used*; nothing is reserved. So the calls that are under way when a
    cap is reached end and are counted, and a budget can be overrun by these. The estimate of a
    check decides nothing.

    A call whose price is not known adds nothing to a limit in USD: it is logged once per reason and
    counted in `unpriced_calls`. Let model and provider be known (`session_info`, `call_info`), give
    rates of your own (`FlatRates`), or put a limit in tokens beside the one in USD: that one counts
    every call whose usage can be read.

    Args:
        *limits: The budgets. The fullest one speaks.
        deny_tools: Tools that are refused: names, or patterns such as ``shell*``.
        session_info: Tenant, model and provider of a session, as `instrument` takes it; pass both
            the same, so that both count the same.
        prices: What calls cost, as `instrument` takes it; pass both the same.
        clock: The time in seconds since the epoch.
        max_keys: Tenants or sessions that one limit remembers per window; beyond that the one
            unheard of for longest is forgotten, and starts again at zero.

    Raises:
        TypeError: `prices` is no price source.
    """

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        """Refuse if a budget of this call is spent; the estimate decides nothing."""
        return self._may_call(session_id)

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; a usage in the dict dialect will do."""
        self._add(session_id, usage)

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tools of the deny-list."""
        return self._may_use(tool_name)


class AsyncWindowGuard(_Windows, BudgetGuard):
    """The async guard; all else as `WindowGuard` says."""

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        """Refuse if a budget of this call is spent; the estimate decides nothing."""
        return self._may_call(session_id)

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; a usage in the dict dialect will do."""
        self._add(session_id, usage)

    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tools of the deny-list."""
        return self._may_use(tool_name)
