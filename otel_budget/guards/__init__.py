"""Guards to start with, and what a guard of your own needs to count the same way.

`measure`, `price`, `resolve` and `call_cost` are what the guards here use: a guard that counts with
them agrees with the telemetry about every call.
"""

from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.prices import price_source
from otel_budget.contract.session_info import SessionInfoSource, call_cost, resolve
from otel_budget.guards.limit import Limit
from otel_budget.guards.window import AsyncWindowGuard, WindowGuard
from otel_budget.semconv import GUARD_UNAVAILABLE

__all__ = [
    "GUARD_UNAVAILABLE",
    "AsyncWindowGuard",
    "Limit",
    "Measurement",
    "Price",
    "SessionInfoSource",
    "WindowGuard",
    "call_cost",
    "measure",
    "price",
    "price_source",
    "resolve",
]
