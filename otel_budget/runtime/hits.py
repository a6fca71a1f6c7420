"""Where a gate delivers its hits."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, Protocol

from otel_budget.contract import BudgetThresholdHit
from otel_budget.log_once import log_once


class _Appends(Protocol):
    def append(self, hit: BudgetThresholdHit, /) -> object: ...


class _Queues(Protocol):
    def put_nowait(self, item: BudgetThresholdHit, /) -> object: ...


#: Where hits go: a function, a list or deque, or a queue (of `queue` or `asyncio`).
HitSink = Callable[[BudgetThresholdHit], object] | _Appends | _Queues


def hit_sink(on_hit: Any) -> Callable[[BudgetThresholdHit], None]:
    """`on_hit` as a function that never raises.

    Raises:
        TypeError: `on_hit` is async or cannot take hits.
    """
    if on_hit is None:
        return lambda _: None
    names = ("put_nowait", "append", "__call__")
    methods = (getattr(on_hit, name, None) for name in names)
    deliver = next((method for method in methods if callable(method)), None)
    if deliver is None:
        raise TypeError(f"on_hit must be a function, a list or a queue, not {on_hit!r}")
    if inspect.iscoroutinefunction(on_hit) or inspect.iscoroutinefunction(deliver):
        raise TypeError("on_hit must not be async: pass an asyncio.Queue and read from it")

    def deliver_safely(hit: BudgetThresholdHit) -> None:
        try:
            deliver(hit)
        except Exception as error:
            log_once(logging.ERROR, f"on_hit raised {type(error).__name__}: a hit was lost.", error)

    return deliver_safely
