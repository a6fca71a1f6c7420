"""What a call costs in USD, by its own tokens.

Prices are tiered by the size of a single request, so a call is priced on its own and never as the
difference of running totals. An unknown cost is None, never 0.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

from otel_budget.contract.prices.billable import BillableCall
from otel_budget.log_once import log_once

if TYPE_CHECKING:
    from otel_budget.contract.prices.genai import GenAIPrices


@runtime_checkable
class PriceSource(Protocol):
    """Any object with this method: it knows what calls cost."""

    def cost_usd(self, call: BillableCall) -> float | None:
        """The cost of one call in USD, or None if its model is not known.

        Called on the caller's path: be quick, do no I/O, be thread-safe. Price the call wholly or
        not at all: look at each part of `call` that may cost money.

        Args:
            call: All of the call that may be billed.

        Raises:
            MissingRate: The model is known, but not the rate of a part of the call.
        """
        ...


@cache  # asked for once, with look-ups that all guards share
def _installed_prices() -> GenAIPrices | None:
    """genai-prices, or None if it is not installed or if what is installed cannot be used."""
    try:
        if importlib.util.find_spec("genai_prices") is None:
            return None
        from otel_budget.contract.prices.genai import GenAIPrices

        prices = GenAIPrices()
        # A version that looks up or multiplies in another way fails here, and not on every call.
        prices.cost_usd(_ONE_CALL)
    except Exception as error:  # whatever is there under this name
        log_once(logging.WARNING, _unusable(error), error)
        return None
    return prices


_ONE_CALL: Final = BillableCall("gpt-4o", "openai", 1, 1, 1, 1)


def _unusable(error: Exception) -> str:
    """What to log of an installed genai-prices that cannot be used."""
    from otel_budget.contract.prices.genai import INSTALL, installed_version

    reason = str(error)
    if not isinstance(error, ImportError):  # these name the version and what to do
        version = installed_version() or "of an unknown version"
        reason = (
            f"genai-prices {version} cannot be used ({type(error).__name__}: {error}): {INSTALL}"
        )
    return f"otel-budget prices no calls: {reason}, or pass prices=FlatRates(…)."


def price_source(prices: PriceSource | Literal["auto"] | None) -> PriceSource | None:
    """The price source that a ``prices=`` argument means.

    Args:
        prices: ``"auto"`` is genai-prices if it is installed, else None (if it is there and cannot
            be used, because it is too old, that is logged once); a `PriceSource` or None is
            returned unchanged.

    Raises:
        TypeError: `prices` is something else, or its method takes something else.
    """
    if prices is None:
        return None
    if isinstance(prices, PriceSource):
        if not _takes_a_call(prices):
            raise TypeError(
                f"{type(prices).__name__}.cost_usd must take one argument, the BillableCall with "
                "the model, the provider and all counts: def cost_usd(self, call)"
            )
        return prices
    if prices == "auto":
        return _installed_prices()
    raise TypeError(
        f"prices must be 'auto', None or an object with a cost_usd method, like FlatRates, not "
        f"{prices!r}"
    )


def _takes_a_call(prices: PriceSource) -> bool:
    """Whether the source's method can be called with one argument, as far as can be seen."""
    try:
        signature = inspect.signature(prices.cost_usd)
    except (TypeError, ValueError):  # it has none to look at
        return True
    try:
        signature.bind(_ONE_CALL)
    except TypeError:
        return False
    return True
