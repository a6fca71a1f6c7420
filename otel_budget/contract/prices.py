"""What a call costs in USD, by its own tokens.

Prices are tiered by the size of a single request, so a call is priced on its own and never as the
difference of running totals. An unknown cost is None, never 0.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

from otel_budget.contract.genai_prices import INSTALL, GenAIPrices, installed_version
from otel_budget.log_once import log_once

if TYPE_CHECKING:
    from collections.abc import Mapping


@runtime_checkable
class PriceSource(Protocol):
    """Any object with this method: it knows what calls cost."""

    def cost_usd(
        self,
        model: str | None,
        provider: str | None,
        *,
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int,
        cache_write_tokens: int,
    ) -> float | None:
        """The cost of one call in USD, or None if it is not known.

        Called on the caller's path: be quick, do no I/O, be thread-safe.

        Args:
            model: The model's name as the provider knows it, if known.
            provider: OpenTelemetry's ``gen_ai.provider.name``, if known.
            input_tokens: Prompt tokens *without* the cached ones.
            output_tokens: Generated tokens.
            cache_read_tokens: Prompt tokens read from the provider's cache.
            cache_write_tokens: Prompt tokens written to it.
        """
        ...


@dataclass(frozen=True, slots=True)
class FlatRates:
    """Your own rates, in USD per million tokens, the same for every model.

    Args:
        input: Rate of prompt tokens.
        output: Rate of generated tokens.
        cache_read: Rate of tokens read from the cache; None charges them as prompt tokens.
        cache_write: Rate of tokens written to the cache; None charges them as prompt tokens.

    See `by_model` for different rates per model.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def cost_usd(
        self,
        model: str | None,
        provider: str | None,
        *,
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int,
        cache_write_tokens: int,
    ) -> float | None:
        """The cost of one call in USD. See `PriceSource.cost_usd`."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        return (
            input_tokens * self.input
            + output_tokens * self.output
            + cache_read_tokens * read
            + cache_write_tokens * write
        ) / 1_000_000

    @staticmethod
    def by_model(rates: Mapping[str, FlatRates]) -> PriceSource:
        """A price source with rates by exact model name; other models have no known price."""
        return _RateCard(dict(rates))


@dataclass(frozen=True, slots=True)
class _RateCard:
    rates: dict[str, FlatRates]

    def cost_usd(self, model: str | None, provider: str | None, **tokens: int) -> float | None:
        rates = None if model is None else self.rates.get(model)
        return None if rates is None else rates.cost_usd(model, provider, **tokens)


@cache  # asked for once, with look-ups that all guards share
def _installed_prices() -> GenAIPrices | None:
    """genai-prices, or None if it is not installed or if what is installed cannot be used."""
    try:
        if importlib.util.find_spec("genai_prices") is None:
            return None
        prices = GenAIPrices()
        # A version that looks up or multiplies in another way fails here, and not on every call.
        prices.cost_usd("gpt-4o", "openai", **_ONE_CALL)
    except Exception as error:  # whatever is there under this name
        log_once(logging.WARNING, _unusable(error), error)
        return None
    return prices


_ONE_CALL: Final = {
    "input_tokens": 1,
    "output_tokens": 1,
    "cache_read_tokens": 1,
    "cache_write_tokens": 1,
}


def _unusable(error: Exception) -> str:
    """What to log of an installed genai-prices that cannot be used."""
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
        TypeError: `prices` is something else.
    """
    if prices is None or isinstance(prices, PriceSource):
        return prices
    if prices == "auto":
        return _installed_prices()
    raise TypeError(
        f"prices must be 'auto', None or an object with a cost_usd method, like FlatRates, not "
        f"{prices!r}"
    )
