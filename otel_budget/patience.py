"""What a gate or bridge shares with the calls it may give up on, so that each counts once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class CutOff(Protocol):
    """A call that can be closed while the guard is still at it."""

    def cut_off(self, error: BaseException | None) -> None:
        """Close the call now: as late, or with `error`."""


class Patience:
    """What a gate or bridge shares with the calls it may give up on, so that each counts once.

    Attributes:
        late_after: Seconds after which the caller calls an answer late, whether or not it can
            still use it; None is never. It goes before the recorder's own ``late_after``.
        was_late: Whether a call that counts was reported as late.
    """

    def __init__(self, late_after: float | None = None) -> None:
        self.late_after = late_after
        self.was_late = False
        self._lock = threading.Lock()
        self._started = False
        self._over = False
        self._error: BaseException | None = None
        self._calls: list[CutOff] = []

    def start(self) -> bool:
        """The guard is about to be called: False if nobody waits for it any longer."""
        with self._lock:
            self._started = not self._over
            return self._started

    def begin(self, call: CutOff) -> None:
        """`call` is under way; one that begins after the caller has gone is closed at once."""
        with self._lock:
            if not self._over:
                self._calls.append(call)
                return
        call.cut_off(self._error)

    def end(self, call: CutOff) -> bool:
        """Whether `call` is still to be closed."""
        with self._lock:
            if call not in self._calls:
                return False
            self._calls.remove(call)
            return True

    def give_up(self, error: BaseException | None = None) -> bool:
        """Nobody waits any longer: what is under way is closed now, even if it never ends.

        Args:
            error: Why, where it is not that the deadline has passed: what was raised in the caller.

        Returns:
            Whether the guard had been called.
        """
        with self._lock:
            self._over, self._error = True, error
            calls, self._calls = self._calls, []
        for call in reversed(calls):
            call.cut_off(error)
        return self._started


#: The patience of whoever waits for the calls in this context, if they may be given up on.
waited_with: ContextVar[Patience | None] = ContextVar("otel_budget_patience", default=None)


@contextmanager
def patience(late_after: float | None = None) -> Iterator[Patience]:
    """Make the guard called inside this block one that can be given up on."""
    shared = Patience(late_after)
    token = waited_with.set(shared)
    try:
        yield shared
    finally:
        waited_with.reset(token)
