"""What a call may need or has used, as a guard's limits count it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, NamedTuple

from otel_budget import semconv
from otel_budget.contract import Allow, BudgetDecision, Deny
from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.prices import PriceSource, price_source
from otel_budget.contract.session_info import (
    SessionInfo,
    SessionInfoSource,
    call_cost,
    check_source,
)
from otel_budget.forks import RenewedLock
from otel_budget.guards.limit import Limit, Unit
from otel_budget.guards.reason_counts import (
    ReasonCounts,
    log_uncounted,
    log_unreserved,
    log_upper_bound,
)
from otel_budget.sanitize import text

_FREE: Final = Price(0.0)
_TOOLS: Final = "tools"


class Charge(NamedTuple):
    """What a call may need or has used.

    Attributes:
        tokens: None if the usage cannot be read.
        cost: Its price; free for a guard without a limit in USD.
        uncounted: Why at least one limit cannot count it; empty if all can.
        bound: What is undecided in a usage that counts as the most it may be; empty if nothing is.
    """

    tokens: int | None
    cost: Price
    uncounted: str = ""
    bound: str = ""

    def amount(self, unit: Unit) -> float | None:
        """The amount in `unit`; None if it is not known."""
        return self.tokens if unit == "tokens" else self.cost.usd

    def whole(self, unit: Unit, scale: int) -> int:
        """The same in whole numbers of 1 / `scale`; what is not known is 0."""
        return round((self.amount(unit) or 0) * scale)


class CallCharges:
    """Prices calls, refuses tools, and knows which calls a limit could not count.

    Base of the guards here.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        deny_tools: Iterable[str],
        session_info: SessionInfoSource,
        prices: PriceSource | Literal["auto"] | None,
    ) -> None:
        self._deny_tools = (deny_tools,) if isinstance(deny_tools, str) else tuple(deny_tools)
        check_source(session_info)
        self._session_info = session_info
        self._has_usd_limit = any(limit.unit == "USD" for limit in limits)
        self._has_token_limit = any(limit.unit == "tokens" for limit in limits)
        #: What reservations and usage are compared by: tokens, or USD if every limit is in USD. One
        #: of them for all limits, as one reservation ends in all of them together.
        self._compared: Unit = "tokens" if self._has_token_limit else "USD"
        self._prices = price_source(prices) if self._has_usd_limit else None
        self._uncounted = ReasonCounts()
        self._at_upper_bound = ReasonCounts()
        self._unreserved = ReasonCounts()
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

    def _expected(self, estimate: int, output_tokens: int, info: SessionInfo) -> Charge:
        """What a call of the estimate may need."""
        expected = Measurement(input_tokens=estimate, output_tokens=output_tokens)
        cost = self._price(expected, info, None) if self._has_usd_limit else _FREE
        return Charge(expected.tokens, cost)

    def _used(self, usage: Any, info: SessionInfo) -> Charge:
        """What a call of this usage has used."""
        measurement = measure(usage, info.provider, upper_bound=True)
        told_cost = call_cost()
        cost = self._price(measurement, info, told_cost) if self._has_usd_limit else _FREE
        tokens = None if measurement.malformed else measurement.tokens
        uncounted, bound = "", ""
        if cost.usd is None:
            uncounted = cost.reason
        elif tokens is None and self._has_token_limit:
            uncounted = semconv.MALFORMED_USAGE
        if self._has_token_limit or (cost.usd and cost.source == semconv.COST_FROM_PRICES):
            bound = measurement.upper_bound
        return Charge(tokens, cost, uncounted, bound)

    def _price(self, measurement: Measurement, info: SessionInfo, told_cost: float | None) -> Price:
        try:
            return price(measurement, self._prices, info.model, info.provider, told_cost)
        except Exception:
            return Price(None, semconv.PRICE_ERROR)

    def _note_reserved(self, charge: Charge, info: SessionInfo) -> None:
        """Count an allowed call, if it reserved nothing in USD."""
        if charge.cost.usd is None:
            self._note(self._unreserved, charge.cost.reason, log_unreserved, info)

    def _note_used(self, charge: Charge, info: SessionInfo) -> None:
        """Count a recorded call, if a limit counts it otherwise than it should."""
        self._note(self._uncounted, charge.uncounted, log_uncounted, info)
        self._note(self._at_upper_bound, charge.bound, log_upper_bound, info)

    def _note(
        self,
        counts: ReasonCounts,
        reason: str,
        log: Callable[[str | None, str], None],
        info: SessionInfo,
    ) -> None:
        if not reason:
            return
        with self._lock.current:
            is_first = counts.add(reason)
        if is_first:  # logged without the lock: a handler may take its time
            log(info.model, reason)

    def _decide_tool(self, tool_name: str) -> BudgetDecision:
        if any(fnmatchcase(str(tool_name), pattern) for pattern in self._deny_tools):
            return Deny(
                resource=_TOOLS,
                reason=f"Tool '{text(tool_name)}' is on this guard's deny-list.",
                cause="policy",
            )
        return Allow()
