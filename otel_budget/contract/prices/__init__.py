"""What calls cost: what may be billed, the host's own rates, published rates."""

from otel_budget.contract.prices.billable import BillableCall, MissingRate
from otel_budget.contract.prices.flat_rates import FlatRates
from otel_budget.contract.prices.genai import GenAIPrices
from otel_budget.contract.prices.source import PriceSource, price_source

__all__ = [
    "BillableCall",
    "FlatRates",
    "GenAIPrices",
    "MissingRate",
    "PriceSource",
    "price_source",
]
