"""The rates of one model, read once from genai-prices and multiplied here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otel_budget.contract.prices.billable import PARTS, BillableCall, MissingRate, disjoint_parts

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

#: USD for a million of a part: a base rate, and (start, rate) by the size of the prompt, the
#: highest start first.
_Rate = tuple[float, tuple[tuple[int, float], ...]]
_FREE: Final[_Rate] = (0.0, ())


@dataclass(frozen=True, slots=True)
class RateCard:
    """The rates of one model in one way of processing.

    Attributes:
        price: The library's own rates.
        rates: By `PARTS`; None where there is no rate.
        is_exact: Whether these rates are all that the model is priced by.
    """

    price: ModelPrice
    rates: tuple[_Rate | None, ...]
    is_exact: bool

    @classmethod
    def read(cls, price: ModelPrice, *, has_one_rate: bool) -> RateCard:
        """The card of `price`.

        Args:
            price: The library's rates.
            has_one_rate: Whether audio without a rate of its own costs what text does.
        """
        rates = _rates(price, has_one_rate=has_one_rate)
        card = cls(price, rates, is_exact=True)
        starts = {start for rate in rates if rate is not None for start, _ in rate[1]}
        sizes = (1_000, *(edge for start in starts for edge in (start, start + 1, 2 * start)))
        is_exact = all(card._agrees(call) for size in sizes for call in _probes(size, rates))
        return cls(price, rates, is_exact=is_exact)

    def cost(self, call: BillableCall) -> float:
        """The cost of `call` in USD.

        Raises:
            MissingRate: There is no rate for a part of it.
        """
        size = call.input_tokens + call.cache_read_tokens + call.cache_write_tokens
        total = 0.0
        for part, count, rate in zip(PARTS, disjoint_parts(call), self.rates, strict=False):
            if not count:
                continue
            if rate is None:
                raise MissingRate(f"genai-prices has no rate for {part} of {call.model}")
            usd, tiers = rate
            for start, tier_usd in tiers:
                if size > start:
                    usd = tier_usd
                    break
            total += count * usd
        return total / 1_000_000 if self.is_exact else _library_cost(self.price, call)

    def _agrees(self, call: BillableCall) -> bool:
        expected = _library_cost(self.price, call)
        return abs(self.cost(call) - expected) <= 1e-9 * max(1.0, expected)


def _rates(price: ModelPrice, *, has_one_rate: bool) -> tuple[_Rate | None, ...]:
    """The rates by `PARTS`, with the library's substitutes where providers bill like that."""
    if not any(value is not None for value in vars(price).values()):
        return (_FREE,) * len(PARTS)  # as the library lists what is free

    def rate(key: str) -> _Rate | None:
        value = getattr(price, key, None)
        if value is None:
            return None
        if not hasattr(value, "base"):
            return float(value), ()
        tiers = tuple((tier.start, float(tier.price)) for tier in reversed(value.tiers))
        return float(value.base), tiers

    sent, generated, read = rate("input_mtok"), rate("output_mtok"), rate("cache_read_mtok")
    audio_sent, audio_read = rate("input_audio_mtok"), rate("cache_audio_read_mtok")
    audio_generated, searches = rate("output_audio_mtok"), rate("web_searches_kcount")
    if has_one_rate:
        audio_read = audio_read or (read if audio_sent is None else None)
        audio_sent, audio_generated = audio_sent or sent, audio_generated or generated
    if read is None:  # there is no discount for cached tokens
        audio_read = audio_read or audio_sent
    return (
        sent,
        generated,
        read or sent,
        rate("cache_write_mtok") or sent,
        # Twice the prompt's at Anthropic, where the library would take that of five minutes.
        rate("cache_write_1h_mtok"),
        audio_sent,
        audio_read,
        audio_generated,
        None if searches is None else (searches[0] * 1_000, ()),
    )


def _probes(size: int, rates: tuple[_Rate | None, ...]) -> list[BillableCall]:
    """Calls with a prompt of `size` tokens: a plain one, and one with each part that has a rate."""
    if rates[0] is None:
        return [BillableCall(output_tokens=0 if rates[1] is None else 77)]
    read, written = size // 4, size // 2 - size // 4
    generated = 0 if rates[1] is None else 77
    plain = BillableCall(None, None, size - size // 2, generated, read, written)
    probes = [plain]
    if rates[4] is not None:
        probes.append(plain._replace(cache_write_1h_tokens=written // 2))
    if rates[5] is not None and rates[6] is not None:
        no_writes = plain._replace(cache_write_tokens=0, input_tokens=size - read)
        heard, kept = size // 3, read // 3
        probes.append(no_writes._replace(audio_input_tokens=heard, audio_cache_read_tokens=kept))
    if rates[7] is not None and generated:
        probes.append(plain._replace(audio_output_tokens=33))
    if rates[8] is not None:
        probes.append(plain._replace(web_searches=3))
    return probes


def _library_cost(price: ModelPrice, call: BillableCall) -> float:
    from genai_prices import Usage

    details = {
        "cache_write_1h_tokens": call.cache_write_1h_tokens,
        "input_audio_tokens": call.audio_input_tokens,
        "cache_audio_read_tokens": call.audio_cache_read_tokens,
        "output_audio_tokens": call.audio_output_tokens,
        "web_searches": call.web_searches,
    }
    if call.audio_input_tokens == 0:
        details = {key: count for key, count in details.items() if count}
    usage = Usage(
        input_tokens=call.input_tokens + call.cache_read_tokens + call.cache_write_tokens,
        output_tokens=call.output_tokens,
        cache_read_tokens=call.cache_read_tokens,
        cache_write_tokens=call.cache_write_tokens,
        **details,
    )
    return float(price.calc_price(usage)["total_price"])
