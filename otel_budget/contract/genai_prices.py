"""Published prices from the package genai-prices. It is an extra, imported on first use."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from otel_budget.contract.providers import price_name

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

#: How to get a version that is known to work.
INSTALL: Final = "pip install 'otel-budget[prices]'"
#: The oldest version with the look-ups used here. The extra asks for newer prices.
_OLDEST: Final = "0.0.51"
#: Distinct (model, provider) pairs kept. Model names can come from outside.
_REMEMBERED: Final = 1024


class GenAIPrices:
    """Published prices from the package genai-prices (extra ``prices``), as estimates.

    The library takes some 200 us per call, so its rates are read once per model and multiplied
    here. Models that are priced by more than tokens are left to the library; sample calls priced
    both ways find them.

    Source: https://github.com/pydantic/genai-prices

    Raises:
        ModuleNotFoundError: genai-prices is not installed.
        ImportError: The installed genai-prices is too old, or cannot be imported.
    """

    def __init__(self) -> None:
        version = installed_version()
        if version is not None and _is_too_old(version):
            raise ImportError(
                f"GenAIPrices needs genai-prices {_OLDEST} or newer, and {version} is installed: "
                f"{INSTALL}"
            )
        try:
            from genai_prices.data_snapshot import get_snapshot
        except ImportError as error:
            if version is None and isinstance(error, ModuleNotFoundError):
                raise ModuleNotFoundError(
                    f"GenAIPrices needs the package genai-prices: {INSTALL}"
                ) from error
            raise ImportError(
                f"GenAIPrices cannot import genai-prices {version} ({error}): {INSTALL}"
            ) from error
        self._get_snapshot = get_snapshot
        self._snapshot = get_snapshot()
        self._models: dict[tuple[str, str | None], ModelInfo | None] = {}
        self._cards: dict[int, _Card | None] = {}

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
        if model is None:
            return None
        if self._get_snapshot() is not self._snapshot:  # genai_prices.UpdatePrices has new prices
            self._models, self._cards = {}, {}
            self._snapshot = self._get_snapshot()
        key = (model, provider)
        try:
            info = self._models[key]
        except KeyError:
            if len(self._models) >= _REMEMBERED:
                self._models = {}
            info = self._models[key] = self._find(model, provider)
        if info is None:
            return None
        price = info.get_prices(datetime.now(tz=UTC))
        try:
            card = self._cards[id(price)]
        except KeyError:
            card = self._cards[id(price)] = _Card.read(price)
        tokens = (input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)
        if card is None:
            return _library_cost(price, tokens)
        return card.cost(*tokens)

    def _find(self, model: str, provider: str | None) -> ModelInfo | None:
        from genai_prices.data_snapshot import find_provider_by_id

        # Not the snapshot's own look-up, which keeps every miss forever.
        providers, name = self._snapshot.providers, model.lower()
        if provider is not None:
            seller = find_provider_by_id(providers, price_name(provider))
        else:
            matches = (p for p in providers if p.model_match and p.model_match.is_match(name))
            seller = next(matches, None)
        if seller is None:
            return None
        return seller.find_model(name, all_providers=providers)


def installed_version() -> str | None:
    """The version of genai-prices that is installed, or None if it is not known."""
    try:
        return importlib.metadata.version("genai-prices") or None
    except Exception:  # not installed, or what is there has no readable metadata
        return None


def _is_too_old(version: str) -> bool:
    """Whether `version` is older than what is used here; one without numbers is not."""
    numbers, oldest = (
        [int(number) for number in re.findall(r"\d+", text)[:3]] for text in (version, _OLDEST)
    )
    return bool(numbers) and numbers < oldest


_Tokens = tuple[int, int, int, int]
_KEYS: Final = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")


@dataclass(frozen=True, slots=True)
class _Card:
    """The four token rates of a model: each a base rate and (start, rate) tiers by request size."""

    rates: tuple[tuple[float, tuple[tuple[int, float], ...]], ...]

    @classmethod
    def read(cls, price: ModelPrice) -> _Card | None:
        """The card of `price`, or None where the library's costs differ from the card's."""
        rates: list[tuple[float, tuple[tuple[int, float], ...]]] = []
        for key in _KEYS:
            rate = getattr(price, key, None)
            if rate is None:
                # Without a rate of their own, cached tokens are charged as prompt tokens.
                rates.append(rates[0] if key.startswith("cache") else (0.0, ()))
            elif hasattr(rate, "base"):
                tiers = tuple((tier.start, float(tier.price)) for tier in reversed(rate.tiers))
                rates.append((float(rate.base), tiers))
            else:
                rates.append((float(rate), ()))
        card = cls(tuple(rates))
        starts = {start for _, tiers in rates for start, _ in tiers}
        for size in (1_000, *(edge for start in starts for edge in (start, start + 1, 2 * start))):
            probe = (size - size // 2, 77, size // 4, size // 2 - size // 4)
            expected = _library_cost(price, probe)
            if expected is None or abs(card.cost(*probe) - expected) > 1e-9 * max(1.0, expected):
                return None
        return card

    def cost(self, uncached: int, completion: int, read: int, written: int) -> float:
        size = uncached + read + written
        total = 0.0
        for tokens, (rate, tiers) in zip(
            (uncached, completion, read, written), self.rates, strict=True
        ):
            for start, tier_rate in tiers:
                if size > start:
                    rate = tier_rate  # noqa: PLW2901
                    break
            total += tokens * rate
        return total / 1_000_000


def _library_cost(price: ModelPrice, tokens: _Tokens) -> float | None:
    from genai_prices import Usage

    uncached, completion, read, written = tokens
    usage = Usage(
        input_tokens=uncached + read + written,
        output_tokens=completion,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )
    return float(price.calc_price(usage)["total_price"])
