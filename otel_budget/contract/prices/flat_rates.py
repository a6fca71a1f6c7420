"""The host's own rates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_budget.contract.prices.billable import (
    PARTS,
    PLAIN,
    BillableCall,
    MissingRate,
    disjoint_parts,
)

if TYPE_CHECKING:
    from otel_budget.contract.prices.source import PriceSource


@dataclass(frozen=True, slots=True)
class FlatRates:
    """Your own rates, in USD per million tokens, the same for every model.

    What you give no rate for is not guessed: a call with such tokens or searches, or with another
    processing, is unpriced for the reason ``no_rate``. Only cached tokens have a substitute.

    Args:
        input: Rate of prompt tokens.
        output: Rate of generated tokens.
        cache_read: Rate of tokens read from the cache; None charges them as prompt tokens.
        cache_write: Rate of tokens written to the cache; None charges them as prompt tokens.
        cache_write_1h: Rate of tokens written to the cache for an hour.
        audio_input: Rate of audio tokens sent.
        audio_cache_read: Rate of audio tokens read from the cache; None charges them as
            `audio_input`.
        audio_output: Rate of audio tokens generated.
        web_search: USD per web search of the provider.
        processing: By ``batch``, ``flex`` or ``priority``: the factor on all rates of tokens, for
            example ``{"batch": 0.5}``.

    See `by_model` for different rates per model.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    audio_input: float | None = None
    audio_cache_read: float | None = None
    audio_output: float | None = None
    web_search: float | None = None
    processing: Mapping[str, float] = field(default_factory=dict, hash=False)

    def cost_usd(self, call: BillableCall) -> float | None:
        """The cost of one call in USD. See `PriceSource.cost_usd`."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        parts: tuple[int, ...] = call[2:6]
        cost = parts[0] * self.input + parts[1] * self.output + parts[2] * read + parts[3] * write
        if call[6:] == PLAIN:
            return cost / 1_000_000
        factor = 1.0
        if call.processing != "standard":
            try:
                factor = self.processing[call.processing]
            except KeyError:
                raise MissingRate(f"FlatRates has no rates for {call.processing}") from None
        parts = disjoint_parts(call)
        cost = parts[0] * self.input + parts[1] * self.output + parts[2] * read + parts[3] * write
        if len(parts) == 4:
            return cost * factor / 1_000_000
        audio_read = self.audio_input if self.audio_cache_read is None else self.audio_cache_read
        rates = (self.cache_write_1h, self.audio_input, audio_read, self.audio_output)
        for part, count, rate in zip(PARTS[4:8], parts[4:8], rates, strict=True):
            if count:
                cost += count * _given(rate, part)
        searches = parts[8]
        cost = cost * factor / 1_000_000
        return cost + searches * _given(self.web_search, PARTS[8]) if searches else cost

    @staticmethod
    def by_model(rates: Mapping[str, FlatRates]) -> PriceSource:
        """A price source with rates by exact model name; other models have no known price."""
        return _RatesByModel(dict(rates))


def _given(rate: float | None, part: str) -> float:
    if rate is None:
        raise MissingRate(f"FlatRates has no rate for {part}")
    return rate


@dataclass(frozen=True, slots=True)
class _RatesByModel:
    rates: dict[str, FlatRates]

    def cost_usd(self, call: BillableCall) -> float | None:
        rates = None if call.model is None else self.rates.get(call.model)
        return None if rates is None else rates.cost_usd(call)
