"""How many spans are sampled only because they tell of a hit: a storm must not push others out."""

from __future__ import annotations

import time
from typing import Final

#: Such spans a second. The queue of an exporter holds 2,048 and is emptied every five seconds.
MAX_OFFERS: Final = 50


class Offers:
    """Counts the spans of hits that would not have been sampled otherwise, second by second.

    Without a lock: threads that count at the same moment may exceed the limit by their number.
    """

    __slots__ = ("_second", "_taken")

    def __init__(self) -> None:
        self._second = 0
        self._taken = 0

    def have_room(self) -> bool:
        """Whether one more may be sampled in this second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        return self._taken < MAX_OFFERS

    def take(self) -> None:
        """Count one that was sampled."""
        self._taken += 1
