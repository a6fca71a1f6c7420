"""Calendar windows in UTC: when the current window of a budget began and when it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, get_args

Window = Literal["hour", "day", "week", "month", "ever"]
WINDOWS: Final[tuple[str, ...]] = get_args(Window)

_SECONDS: Final = {"hour": 3600, "day": 86_400, "week": 604_800}
#: Weeks begin on Mondays, and the epoch is a Thursday.
_FIRST_START: Final = {"week": 345_600}


@dataclass(frozen=True, slots=True)
class Period:
    """One window: from `start` up to but not including `end`, in seconds since the epoch."""

    start: float
    end: float

    @property
    def resets(self) -> bool:
        """Whether it ever ends."""
        return math.isfinite(self.end)

    @property
    def resets_at(self) -> str:
        """When it ends, for people."""
        return f"{datetime.fromtimestamp(self.end, UTC):%Y-%m-%d %H:%M} UTC"


EVER: Final = Period(-math.inf, math.inf)


def period_at(window: Window, now: float) -> Period:
    """The calendar window of kind `window` that holds `now`, in seconds since the epoch."""
    if window == "ever":
        return EVER
    if window == "month":
        first = datetime.fromtimestamp(now, UTC).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        return Period(first.timestamp(), following.timestamp())
    # Multiples of a day since the epoch are UTC midnights: neither clock counts leap seconds.
    seconds, begin = _SECONDS[window], _FIRST_START.get(window, 0)
    start = float((now - begin) // seconds * seconds + begin)
    return Period(start, start + seconds)
