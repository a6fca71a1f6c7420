"""A guard to start with: budgets in USD or tokens over calendar windows, in one process.

It counts in the process's memory: it starts at zero, and each of several processes has the whole
budget. If processes must share a budget, keep the counts in a shared store;
``examples/redis_guard`` is such a guard, built the same way.
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
from otel_budget.contract.session_info import (
    SessionInfo,
    SessionInfoSource,
    call_cost,
    check_source,
    resolve,
)
from otel_budget.forks import RenewedLock
from otel_budget.guards.limit import Book, Limit
from otel_budget.sanitize import text

__all__ = ["AsyncWindowGuard", "Limit", "WindowGuard"]

_log: Final = logging.getLogger(__name__)

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
        clock: Callable[[], float] = time.time,
        max_keys: int = 10_000,
    ) -> None:
        self._books = tuple(Book(limit, max_keys) for limit in limits)
        self._deny_tools = (deny_tools,) if isinstance(deny_tools, str) else tuple(deny_tools)
        check_source(session_info)
        self._session_info = session_info
        self._has_usd_limit = any(limit.unit == "USD" for limit in limits)
        self._prices = price_source(prices) if self._has_usd_limit else None
        self._clock = clock
        self._unpriced: dict[str, int] = {}
        self._lock = RenewedLock()

    @property
    def unpriced_calls(self) -> dict[str, int]:
        """How many calls added nothing to the limits in USD, by why their price is unknown."""
        with self._lock.current:
            return dict(self._unpriced)

    def budget_levels(self) -> list[BudgetLevel]:
        """How full each budget is, against its cap (not the soft threshold), and when it resets.

        A limit per session reports the fullest session of each tenant.
        """
        now = self._clock()
        with self._lock.current:
            snapshot = [(book, book.period(now), book.levels(now)) for book in self._books]
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
            for book, period, levels in snapshot
            for tenant, amount in levels.items()
        ]

    def _decide_call(self, session_id: str) -> BudgetDecision:
        info = resolve(self._session_info, session_id)
        now = self._clock()
        with self._lock.current:
            used = [(book, book.used(now, session_id, info)) for book in self._books]
        # Of several spent budgets, or several past their threshold, the fullest decides.
        fullest_first = sorted(used, key=lambda pair: pair[1] / max(pair[0].cap, 1), reverse=True)
        for book, amount in fullest_first:
            if amount >= book.cap:
                return book.denial(amount, now, session_id, info)
        for book, amount in fullest_first:
            if book.threshold is not None and amount >= book.threshold:
                return book.warning(amount, now, session_id, info)
        return _ALLOW

    def _add(self, session_id: str, usage: Any) -> None:
        info = resolve(self._session_info, session_id)
        measurement = measure(usage, info.provider)
        cost = self._price(measurement, info) if self._has_usd_limit else Price(0.0)
        now = self._clock()
        with self._lock.current:
            for book in self._books:
                amount = measurement.tokens if book.limit.unit == "tokens" else cost.usd
                if amount:
                    book.add(now, session_id, info, round(amount * book.scale))
            if cost.usd is None:
                is_first = cost.reason not in self._unpriced
                self._unpriced[cost.reason] = self._unpriced.get(cost.reason, 0) + 1
        if cost.usd is None and is_first:
            _log.warning(
                "A call (model %s) adds nothing to the limits in USD because its price is unknown: "
                "%s. Give its model and provider in session_info, pass FlatRates as prices, or add "
                "a limit in tokens.",
                info.model,
                cost.reason,
            )

    def _price(self, measurement: Measurement, info: SessionInfo) -> Price:
        try:
            return price(measurement, self._prices, info.model, info.provider, call_cost())
        except Exception:
            return Price(None, semconv.PRICE_ERROR)

    def _decide_tool(self, tool_name: str) -> BudgetDecision:
        if any(fnmatchcase(str(tool_name), pattern) for pattern in self._deny_tools):
            return Deny(
                resource=_TOOLS, reason=f"Tool '{text(tool_name)}' is on this guard's deny-list."
            )
        return _ALLOW


class WindowGuard(_WindowCounts, SyncBudgetGuard):
    """A synchronous guard that enforces one or more `Limit`.

    Limits count what was *used*; nothing is reserved, and a check ignores its estimate. Calls in
    progress when a cap is reached still finish and count, so a budget can be overrun by these.

    A call whose price is unknown adds nothing to a limit in USD; it is logged once per reason and
    counted in `unpriced_calls`. Give its model and provider (`session_info`, `call_info`), use your
    own rates (`FlatRates`), or add a limit in tokens, which counts every call whose usage can be
    read.

    Args:
        *limits: The budgets. If several apply to a call, the fullest decides.
        deny_tools: Tools that are refused: names, or patterns such as ``shell*``.
        session_info: Tenant, model and provider of a session. Pass the same to `instrument`, so
            that guard and telemetry agree.
        prices: What calls cost. Pass the same to `instrument`.
        clock: Returns the time in seconds since the epoch.
        max_keys: How many tenants or sessions each limit remembers per window. Beyond that, the
            least recently used is forgotten and starts again at zero.

    Raises:
        TypeError: `prices` is not a price source, or `session_info` neither a `SessionInfo` nor a
            plain function.
    """

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        """Refuse the call if one of its budgets is spent; the estimate is ignored."""
        return self._decide_call(session_id)

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; the usage may also be in the dict dialect."""
        self._add(session_id, usage)

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tool if it is in `deny_tools`."""
        return self._decide_tool(tool_name)


class AsyncWindowGuard(_WindowCounts, BudgetGuard):
    """An async guard that enforces one or more `Limit`; apart from ``await``, a `WindowGuard`."""

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        """Refuse the call if one of its budgets is spent; the estimate is ignored."""
        return self._decide_call(session_id)

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """Count a successful call; the usage may also be in the dict dialect."""
        self._add(session_id, usage)

    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """Refuse the tool if it is in `deny_tools`."""
        return self._decide_tool(tool_name)
