"""What is reserved for calls in progress, between their check and their record.

Calls are never paired: several of one session overlap, and a runtime does not say which check a
record belongs to. A record ends, of its session's reservations, the smallest that covers what was
used. Ending the oldest instead would overspend whenever a small call outlasts a large one.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

from otel_budget.guards.book import Book
from otel_budget.guards.limit import Key

#: Reservations held at a time: by one session, and in all.
MOST_OF_A_SESSION: Final = 1_000
MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a check reserves: its estimate and the expected output, until the call is recorded.

    Args:
        output_tokens: Tokens that a call is expected to generate; best the most that it may.
        expires_after: Seconds after which a reservation ends if nobody told how its call ended;
            longer than a call may take.
        clock: Returns seconds and never steps back.

    Raises:
        ValueError: `output_tokens` is not a number of zero or more, or `expires_after` is not a
            number above zero.
    """

    output_tokens: int
    expires_after: float = 120.0
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if not (math.isfinite(self.output_tokens) and self.output_tokens >= 0):
            raise ValueError(
                f"a reservation's output_tokens must be zero or more, not {self.output_tokens}"
            )
        if not (math.isfinite(self.expires_after) and self.expires_after > 0):
            raise ValueError(
                f"a reservation's expires_after must be above zero, not {self.expires_after}"
            )


#: An amount of one account.
HeldAmount = tuple[Book, Key, int]


@dataclass(slots=True, eq=False)
class Hold:
    """One reservation: what a call in progress holds in all limits together.

    Attributes:
        size: What is compared with a call's usage.
        amounts: The amount in each limit, and of which account.
        ended: Whether it was let go.
    """

    number: int
    session_id: str
    size: int
    amounts: tuple[HeldAmount, ...]
    expires_at: float
    ended: bool = False


class Holds:
    """The reservations of one guard.

    Not thread-safe: its owner holds a lock. Since that lock is reentrant, a finalizer or a signal
    handler may call any method in the middle of any other.

    Args:
        reservation: How long they are held.

    Attributes:
        output_tokens: Tokens that a call is expected to generate.
    """

    def __init__(self, reservation: Reservation) -> None:
        self.output_tokens: Final = math.ceil(reservation.output_tokens)
        self._expires_after: Final = reservation.expires_after
        self._clock: Final = reservation.clock
        self._numbers = count()
        #: In the order in which they expire.
        self._held: OrderedDict[int, Hold] = OrderedDict()
        self._of_session: dict[str, dict[int, Hold]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def age(self, since: float | None) -> float | None:
        """Seconds since `since`; None if that is None."""
        return None if since is None else max(0.0, self._clock() - since)

    def has_room(self, session_id: str) -> bool:
        """Whether one more may be held for the session."""
        of_session = self._of_session.get(session_id, ())
        return len(self._held) < MOST and len(of_session) < MOST_OF_A_SESSION

    def hold(
        self, session_id: str, tenant: str | None, size: int, amounts: tuple[HeldAmount, ...]
    ) -> Hold:
        """Reserve the amounts for a call of the session and its tenant."""
        number, now = next(self._numbers), self._clock()
        held = Hold(number, session_id, size, amounts, now + self._expires_after)
        for book, key, amount in amounts:
            book.reserve(key, tenant, amount, number, now)
        self._held[number] = held
        self._index(held)
        return held

    def settle(self, session_id: str, used: int) -> None:
        """End the session's smallest reservation that covers `used` (of several the newest).

        If none covers it, the smallest of all ends.
        """
        while True:
            of_session = self._of_session.get(session_id, {})
            open_holds = [held for held in list(of_session.values()) if not held.ended]
            if not open_holds:
                return
            covering = [held for held in open_holds if held.size >= used]
            smallest = min(covering or open_holds, key=lambda held: (held.size, -held.number))
            if self.end(smallest):
                return

    def expire(self) -> None:
        """End those that nobody ended in time."""
        if not self._held:
            return
        now = self._clock()
        while (oldest := self._oldest()) is not None and oldest.expires_at <= now:
            self.end(oldest)

    def end(self, held: Hold) -> bool:
        """Let go of what `held` reserves, once. Whether it was this call that did."""
        if held.ended:
            return False
        held.ended = True
        self._held.pop(held.number, None)
        self._drop_from_index(held)
        for book, key, amount in held.amounts:
            book.let_go(key, amount, held.number)
        return True

    # Any call below may be followed by a signal handler or a finalizer that calls the guard.
    def _index(self, held: Hold) -> None:
        while True:
            of_session = self._of_session.setdefault(held.session_id, {})
            of_session[held.number] = held
            if self._of_session.get(held.session_id) is of_session:
                break
        if held.ended:
            self._drop_from_index(held)

    def _drop_from_index(self, held: Hold) -> None:
        of_session = self._of_session.get(held.session_id)
        if of_session is None:
            return
        of_session.pop(held.number, None)
        if not of_session:
            newer = self._of_session.pop(held.session_id, None) or {}
            for other in list(newer.values()):
                self._index(other)

    def _oldest(self) -> Hold | None:
        while True:
            try:
                return next(iter(self._held.values()), None)
            except RuntimeError:  # changed by a call in the middle of this one
                continue
