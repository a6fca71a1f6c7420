"""Published prices from the package genai-prices. It is an extra, imported on first use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_budget import libraries
from otel_budget.contract.prices.billable import BillableCall, MissingRate
from otel_budget.contract.prices.model_names import readings
from otel_budget.contract.prices.providers import price_name
from otel_budget.contract.prices.rate_card import RateCard

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant

#: How to get a version that is known to work.
INSTALL: Final = "pip install 'otel-budget[prices]'"
#: The oldest version with the look-ups used here. The extra asks for newer prices.
_OLDEST: Final = "0.0.51"
#: Distinct (model, provider) pairs kept. Model names can come from outside.
_REMEMBERED: Final = 1024
#: Ways of processing as genai-prices keys its variants.
_CONTEXTS: Final = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
#: Sellers that list a rate for audio only where it differs from that for text
#: (https://ai.google.dev/gemini-api/docs/pricing).
_ONE_RATE: Final = frozenset({"google"})


class _Product(NamedTuple):
    """A model as one company sells it.

    Attributes:
        info: The library's entry.
        seller: The company that the entry belongs to.
        is_own: Whether that is the provider of the call; else its rates are those of the maker,
            which say nothing of the reseller's batches and tiers.
    """

    info: ModelInfo
    seller: str
    is_own: bool


class GenAIPrices:
    """Published prices from the package genai-prices (extra ``prices``), as estimates.

    What the library can price is priced, and costs what it says: cached tokens, 1-hour cache
    writes, audio, web searches, tiers by the size of a request, batch, flex and priority. Where it
    would take another rate for want of the right one, the call is unpriced for the reason
    ``no_rate`` (see `MissingRate`), with two exceptions that providers bill like that: cached
    tokens without a rate cost what prompt tokens do, and so does Google's audio without a rate.
    Models are found by the names that gateways write, too (``anthropic/claude-sonnet-4-5``,
    ``models/gemini-2.5-pro``, Bedrock's ids and ARNs).

    The library takes some 200 us per call, so its rates are read once per model and multiplied
    here. Models that are priced by more than these parts are left to the library; sample calls
    priced both ways find them.

    Source: https://github.com/pydantic/genai-prices

    Raises:
        ModuleNotFoundError: genai-prices is not installed.
        ImportError: The installed genai-prices is too old, or cannot be imported.
    """

    def __init__(self) -> None:
        version = installed_version()
        if version is not None and libraries.is_older(version, _OLDEST):
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
        self._products: dict[tuple[str, str | None], _Product | None] = {}
        self._cards: dict[tuple[int | str, ...], RateCard] = {}

    def cost_usd(self, call: BillableCall) -> float | None:
        """The cost of one call in USD. See `PriceSource.cost_usd`."""
        if call.model is None:
            return None
        if self._get_snapshot() is not self._snapshot:  # genai_prices.UpdatePrices has new prices
            self._products, self._cards = {}, {}
            self._snapshot = self._get_snapshot()
        key = (call.model, call.provider)
        try:
            product = self._products[key]
        except KeyError:
            if len(self._products) >= _REMEMBERED:
                self._products = {}
            product = self._products[key] = self._find(call.model, call.provider)
        if product is None:
            return None
        return self._card(product, call.processing).cost(call)

    def _card(self, product: _Product, processing: str) -> RateCard:
        now = datetime.now(tz=UTC)
        price = product.info.get_prices(now)
        key: tuple[int | str, ...] = (id(price), product.seller)
        # Without any rate it is free in every way.
        if processing != "standard" and _keys(price):
            # The library makes a new price of each call's variants; they themselves last.
            variants = _variants(product, processing, now)
            key = (*key, processing, *map(id, variants))
        try:
            return self._cards[key]
        except KeyError:
            if len(key) > 2:
                overridden = {name for variant in variants for name in _keys(variant.prices)}
                if (_keys(price) & {"input_mtok", "output_mtok"}) - overridden or not overridden:
                    raise MissingRate(
                        f"genai-prices has no rates for {processing} of {product.info.id}"
                    ) from None
                price = product.info.get_prices(now, _CONTEXTS[processing])
            has_one_rate = product.seller in _ONE_RATE
            card = self._cards[key] = RateCard.read(price, has_one_rate=has_one_rate)
            return card

    def _find(self, model: str, provider: str | None) -> _Product | None:
        for name, seller in readings(model, provider):
            product = self._find_as_written(name, seller)
            if product is not None:
                return product
        return None

    def _find_as_written(self, model: str, provider: str | None) -> _Product | None:
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
        info = seller.find_model(name, all_providers=providers)
        if info is None:
            return None
        owner = next(p for p in providers if any(own is info for own in p.models))
        return _Product(info, owner.id, is_own=owner is seller)


def _keys(price: ModelPrice) -> set[str]:
    return {key for key, rate in vars(price).items() if rate is not None}


def _variants(product: _Product, processing: str, now: datetime) -> list[PriceVariant]:
    """The library's rates for a way of processing that hold now, if any."""
    context = _CONTEXTS.get(processing)
    if context is None or not product.is_own:
        return []
    return [
        variant
        for variant in product.info.price_variants or ()
        if variant.when == context
        and (variant.constraint is None or variant.constraint.active(now))
    ]


def installed_version() -> str | None:
    """The version of genai-prices that is installed, or None if it is not known."""
    return libraries.installed_version("genai-prices")
