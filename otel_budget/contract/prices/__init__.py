"""What calls cost: what may be billed, the host's own rates, published rates."""

from typing import TYPE_CHECKING

from otel_budget.contract.prices.billable import BillableCall, MissingRate
from otel_budget.contract.prices.source import PriceSource, price_source
from otel_budget.late_names import late_names

if TYPE_CHECKING:
    from otel_budget.contract.prices.flat_rates import FlatRates
    from otel_budget.contract.prices.genai import GenAIPrices
else:
    __getattr__ = late_names(
        __name__,
        {
            "FlatRates": "otel_budget.contract.prices.flat_rates",
            "GenAIPrices": "otel_budget.contract.prices.genai",
        },
    )

__all__ = [
    "BillableCall",
    "FlatRates",
    "GenAIPrices",
    "MissingRate",
    "PriceSource",
    "price_source",
]
