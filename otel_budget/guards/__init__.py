"""Guards to start with, and the functions with which a guard of your own counts the same way.

A guard that counts with `measure`, `price`, `resolve` and `call_cost`, like the guards here, agrees
with the telemetry about every call.
"""

from typing import TYPE_CHECKING

from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.prices import price_source
from otel_budget.contract.session_info import SessionInfoSource, call_cost, resolve
from otel_budget.guards.limit import Limit
from otel_budget.guards.reservations import Reservation
from otel_budget.guards.window import AsyncWindowGuard, WindowGuard
from otel_budget.late_names import late_names
from otel_budget.semconv import GUARD_UNAVAILABLE

if TYPE_CHECKING:
    from otel_budget.guards.redis_guard.guard import AsyncRedisGuard, RedisGuard
else:
    __getattr__ = late_names(
        __name__,
        dict.fromkeys(("AsyncRedisGuard", "RedisGuard"), "otel_budget.guards.redis_guard.guard"),
    )

__all__ = [
    "GUARD_UNAVAILABLE",
    "AsyncRedisGuard",
    "AsyncWindowGuard",
    "Limit",
    "Measurement",
    "Price",
    "RedisGuard",
    "Reservation",
    "SessionInfoSource",
    "WindowGuard",
    "call_cost",
    "measure",
    "price",
    "price_source",
    "resolve",
]
