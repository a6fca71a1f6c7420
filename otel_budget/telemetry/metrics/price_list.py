"""The published prices of ``prices="auto"``: read by a thread, not on the path of a call.

To import genai-prices takes some 0.3 s and reads files. The first check that lets a model call
proceed begins it, so that prices are mostly there when the model has answered. A record that comes
sooner waits for nothing: its span has no cost, and it is counted once the prices are there, at the
next collection at the latest.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable
from typing import Final, Literal

from otel_budget.contract.prices import BillableCall, PriceSource, price_source
from otel_budget.forks import renew_in_child

#: Seconds that a fork waits: a child cannot import what another thread was importing.
_FORK_TIMEOUT: Final = 1.0


class NotYetRead(Exception):
    """The prices are not there yet."""


class PriceList:
    """A price source that is read when the first price is needed.

    Attributes:
        source: The source once it is read; None if what is installed cannot be used.
    """

    def __init__(self) -> None:
        self.source: PriceSource | None = None
        self._renew()
        renew_in_child(self)

    def _renew(self) -> None:
        self._begun = threading.Lock()  # never waited for
        self._read = threading.Event()

    @property
    def is_read(self) -> bool:
        """Whether `source` is known."""
        return self._read.is_set()

    def cost_usd(self, call: BillableCall) -> float | None:
        """As of any price source. Raises `NotYetRead` before it is read."""
        if not self.is_read:
            raise NotYetRead
        return None if self.source is None else self.source.cost_usd(call)

    def begin(self, then: Callable[[], object]) -> None:
        """Have a thread read it and call `then`, unless that was begun before; never wait."""
        if not self._begun.acquire(blocking=False):
            return

        def read_then() -> None:
            self._read_here()
            then()

        try:
            threading.Thread(target=read_then, name="otel-budget-prices", daemon=True).start()
        except RuntimeError:  # none can be started: a collection reads it
            self._begun.release()

    def read(self, timeout: float | None = None) -> bool:
        """Read it here, or wait until the thread has, and say whether it is read.

        Args:
            timeout: Seconds to wait; None waits for as long as it takes.
        """
        if self._begun.acquire(blocking=False):
            self._read_here()
        return self._read.wait(timeout)

    def _read_here(self) -> None:
        read = self._read  # a forked child has one of its own
        try:
            self.source = price_source("auto")
        finally:
            read.set()

    def before_fork(self) -> None:
        """Wait until nothing is being read."""
        if self._begun.locked():
            self._read.wait(_FORK_TIMEOUT)

    def after_fork(self) -> None:
        """Begin anew if the parent was still reading."""
        if not self.is_read:
            self._renew()


price_list: Final = PriceList()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=price_list.before_fork)


def late_price_source(prices: PriceSource | Literal["auto"] | None) -> PriceSource | None:
    """As `price_source`, but ``"auto"`` imports nothing. Raises what that raises."""
    if not isinstance(prices, str) or prices != "auto":
        return price_source(prices)
    if price_list.is_read:
        return price_list.source
    try:
        return price_list if importlib.util.find_spec("genai_prices") is not None else None
    except Exception:  # whatever is there under this name: the reading says what is wrong
        return price_list
