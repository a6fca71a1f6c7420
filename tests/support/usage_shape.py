"""A usage as a provider, gateway or framework gives it, and what it means."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from otel_budget import FlatRates

Disjoint = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shape:
    """A usage as its source shows it, and what it means.

    Attributes:
        name: Whose it is.
        source: Where the shape is documented or was reported.
        raw: The usage.
        disjoint: Input without the cache, output, cache read, cache write; worked out by hand.
        includes: What is known of the prompt count.
        more: Billing details.
        usd: The cost in USD by hand, from `rates` or as published of `model` by `provider`.
        rates: Published rates in USD per million tokens.
        model: The model, where genai-prices knows it.
        provider: Its provider.
    """

    name: str
    source: str
    raw: dict[str, Any]
    disjoint: Disjoint
    includes: bool | None = True
    more: dict[str, Any] = dataclasses.field(default_factory=dict)
    usd: float | None = None
    rates: FlatRates | None = None
    model: str | None = None
    provider: str | None = None


SONNET = FlatRates(3.00, 15.00, 0.30, 3.75)
