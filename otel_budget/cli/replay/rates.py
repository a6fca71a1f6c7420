"""What calls cost in a replay: the user's own rates, else published ones."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Final

from otel_budget.cli.terminal import CommandError
from otel_budget.contract.prices import BillableCall, FlatRates, PriceSource, price_source

_PARTS: Final = ("input", "output", "cache_read", "cache_write")


class OwnRates:
    """Rates by model, as patterns; what matches none has its published price.

    Args:
        rates: The first pattern that matches a model decides.
        others: Prices of the other models, if there are any.
    """

    def __init__(self, rates: dict[str, FlatRates], others: PriceSource | None) -> None:
        self._rates = rates
        self._others = others
        self._found: dict[str | None, FlatRates | None] = {}

    def cost_usd(self, call: BillableCall) -> float | None:
        """The cost of one call in USD. See `PriceSource.cost_usd`."""
        if len(self._found) > 1_000:
            self._found.clear()
        if call.model not in self._found:
            name = call.model or ""
            matching = (rate for key, rate in self._rates.items() if fnmatchcase(name, key))
            self._found[call.model] = next(matching, None)
        rates = self._found[call.model]
        if rates is not None:
            return rates.cost_usd(call)
        return None if self._others is None else self._others.cost_usd(call)


def prices_of(rates: Iterable[str]) -> PriceSource | None:
    """The prices by the option ``--rate``; None if none are known.

    Raises:
        CommandError: A rate is not MODEL=IN/OUT.
    """
    published = price_source("auto")
    own: dict[str, FlatRates] = {}
    for rate in rates:
        model, separator, numbers = rate.rpartition("=")
        try:
            given = [float(number) for number in numbers.split("/")]
        except ValueError:
            given = []
        if not (separator and model and 2 <= len(given) <= 4 and min(given) >= 0):
            raise CommandError(
                f"--rate {rate} is not MODEL=IN/OUT or MODEL=IN/OUT/CACHE-READ/CACHE-WRITE in USD "
                "per million tokens, such as gpt-4.1=2/8/0.5."
            )
        if max(given) > 1e9:
            raise CommandError(f"--rate {rate}: USD per million tokens cannot be that much.")
        named: dict[str, Any] = dict(zip(_PARTS, given, strict=False))
        own[model] = FlatRates(**named)
    return OwnRates(own, published) if own else published
