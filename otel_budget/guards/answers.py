"""What a guard answers a call that finds its budgets used and reserved so far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from otel_budget.contract import Allow, BudgetDecision, Deny, SoftLimit
from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards.calendar import Period, period_at
from otel_budget.guards.limit import Limit
from otel_budget.sanitize import text

_ALLOW: Final = Allow()


class Terms:
    """A limit in whole numbers.

    Args:
        limit: The budget.
        scale: Amounts are whole numbers, in units of 1 / `scale` of the limit's unit.

    Attributes:
        cap: The cap as an amount.
        threshold: The soft threshold as an amount, or None.
    """

    def __init__(self, limit: Limit, scale: int) -> None:
        self.limit: Final = limit
        self.scale: Final = scale
        self.cap: Final = round(limit.cap * scale)
        self.threshold: Final = (
            # In floats, 100 * 0.07 is 7.000000000000001; the threshold must be 7.
            None if limit.soft is None else math.ceil(round(limit.cap * limit.soft * scale, 3))
        )

    def period(self, now: float) -> Period:
        """The window that holds `now`."""
        return period_at(self.limit.window, now)

    def window_phrase(self, now: float) -> str:
        """The window that holds `now`, and when it resets, for people."""
        period = self.period(now)
        if not period.resets:
            return "(this budget does not reset)"
        window = self.limit.window
        words = "today" if window == "day" else f"this {window}"
        return f"{words} (resets at {period.resets_at})"

    def format(self, whole: int) -> str:
        """An amount for people."""
        if self.limit.unit == "tokens":
            return f"{whole:,}"
        amount = whole / self.scale
        whole_cents = amount >= 1 or abs(amount * 100 - round(amount * 100)) < 1e-9
        return f"{amount:,.2f}" if whole_cents else f"{amount:.4f}"


class Standing(NamedTuple):
    """How a call finds its account.

    Attributes:
        used: The amount used in the current window.
        reserved: The amount reserved for other calls; None if the guard reserves nothing.
        need: The amount that this call may need.
    """

    terms: Terms
    used: int
    reserved: int | None = None
    need: int = 0

    @property
    def held(self) -> int:
        """The amount used or reserved."""
        return self.used + (self.reserved or 0)

    @property
    def fits(self) -> bool:
        """Whether the account is not spent and has what the call may need."""
        return self.used < self.terms.cap and self.held + self.need <= self.terms.cap

    @property
    def is_past_threshold(self) -> bool:
        """Whether what is used and reserved reaches the soft threshold."""
        threshold = self.terms.threshold
        return threshold is not None and self.held >= threshold

    def fullness(self) -> float:
        """Used, reserved and needed over the cap."""
        return (self.held + self.need) / max(self.terms.cap, 1)


def decide(
    standings: Iterable[Standing], now: float, session_id: str, info: SessionInfo
) -> BudgetDecision:
    """Answer a call: of several spent budgets, or several past their threshold, by the fullest."""
    fullest_first = sorted(standings, key=Standing.fullness, reverse=True)
    for one in fullest_first:
        if not one.fits:
            return _denial(one, now, session_id, info)
    for one in fullest_first:
        if one.is_past_threshold:
            return _warning(one, now, session_id, info)
    return _ALLOW


def too_many_held(limit: Limit, session_id: str) -> Deny:
    """The refusal of a call for which no reservation can be held any more."""
    return Deny(
        resource=limit.name,
        reason=f"Session {text(session_id)} must wait: this guard holds reservations "
        "for as many calls in progress as it can.",
        cause="reserved",
    )


def _denial(standing: Standing, now: float, session_id: str, info: SessionInfo) -> Deny:
    """The account is spent, or has less left than the call may need."""
    terms, limit = standing.terms, standing.terms.limit
    used, cap = terms.format(standing.used), terms.format(terms.cap)
    spender = limit.spender(session_id, info)
    reason = f"{spender} used {used} of {cap} {limit.unit} {terms.window_phrase(now)}"
    is_spent = standing.used >= terms.cap
    if not is_spent:
        reason += (
            f"; {terms.format(standing.reserved or 0)} more are reserved for calls in "
            "progress, which leaves too little for the "
            f"{terms.format(standing.need)} that this call may need"
        )
    return Deny(
        resource=limit.name,
        reason=f"{reason}.",
        consumed=standing.used / terms.scale,
        limit=float(limit.cap),
        cause="spent" if is_spent else "reserved",
        **_details(standing, now),
    )


def _warning(standing: Standing, now: float, session_id: str, info: SessionInfo) -> SoftLimit:
    """The account is past its threshold; what is reserved counts as used."""
    terms, limit = standing.terms, standing.terms.limit
    soft = limit.soft or 0.0
    used, cap = terms.format(standing.used), terms.format(terms.cap)
    if standing.reserved:
        used += f" and reserved {terms.format(standing.reserved)}"
    return SoftLimit(
        resource=limit.name,
        consumed=standing.used / terms.scale,
        limit=limit.cap * soft,
        message=f"{limit.spender(session_id, info)} used {used} {limit.unit}, over {soft:.0%} of "
        f"{cap} {terms.window_phrase(now)}.",
        **_details(standing, now),
    )


def _details(standing: Standing, now: float) -> dict[str, Any]:
    window = standing.terms.limit.window
    period = standing.terms.period(now)
    return {
        "window": window if period.resets else None,
        "resets_in": period.end - now if period.resets else None,
        "reserved": None if standing.reserved is None else standing.reserved / standing.terms.scale,
    }
