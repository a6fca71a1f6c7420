"""What tenants want to spend, as shares of a limit, a value a minute over the month."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Final

DAYS: Final = 30
HOUR: Final = 60
DAY: Final = 24 * HOUR
MINUTES: Final = DAYS * DAY
#: The month begins on a Monday.
WORKING_DAYS: Final = range(5)
WEEKEND: Final = (5, 6)

#: Wanted shares of a limit, a value a minute.
Wanted = list[float]
Shape = Callable[[Random], Wanted]


def together(*shapes: Shape) -> Shape:
    """Several shapes at once."""

    def wanted(random: Random) -> Wanted:
        parts = [shape(random) for shape in shapes]
        return [sum(values) for values in zip(*parts, strict=True)]

    return wanted


def office(
    share: float,
    *,
    zone: int = 0,
    days: Iterable[int] = WORKING_DAYS,
    hours: tuple[int, int] = (9, 18),
    monday: float = 1.0,
    spread: float = 0.12,
    factor: Callable[[int], float] = lambda day: 1.0,
) -> Shape:
    """People at work: a morning, a lunch, an afternoon, and a little in the evening.

    Args:
        share: What a local working day takes of the limit.
        zone: Hours east of UTC.
        days: Which days of the week, Monday is 0.
        hours: When work begins and ends, local.
        monday: How much more a Monday is, most of it in the morning.
        spread: How much days differ (standard deviation of the logarithm).
        factor: By day of the month, what the share is multiplied with.
    """
    first, last = (hour * HOUR for hour in hours)

    def weight(minute: int, catching_up: bool) -> float:
        if minute < first - HOUR or minute > last + 2 * HOUR:
            return 0.0
        if minute < first or minute > last:
            return 0.12
        begun = min(1.0, 0.3 + (minute - first) / HOUR)
        ending = min(1.0, 0.3 + (last - minute) / HOUR)
        lunch = 0.45 if abs(minute - (first + last) / 2 + 30) < 30 else 1.0
        early = monday if catching_up and minute < first + 3 * HOUR else 1.0
        return min(begun, ending) * lunch * early

    def wanted(random: Random) -> Wanted:
        found = [0.0] * MINUTES
        for day in range(-1, DAYS + 1):
            if day % 7 not in days:
                continue
            catching_up = day % 7 == 0 and monday > 1
            weights = _restless(random, [weight(minute, catching_up) for minute in range(DAY)])
            volume = share * factor(day) * random.lognormvariate(0, spread)
            volume *= monday if catching_up else 1
            _add(found, (day * 24 - zone) * HOUR, weights, volume)
        return found

    return wanted


def steady(share: float, *, spread: float = 0.06) -> Shape:
    """Machines that ask by day and by night; `share` of the limit a day."""

    def wanted(random: Random) -> Wanted:
        found = [0.0] * MINUTES
        for day in range(DAYS):
            weights = _restless(random, [1.0] * DAY, size=0.25)
            _add(found, day * DAY, weights, share * random.lognormvariate(0, spread))
        return found

    return wanted


def bursts(
    number: tuple[int, int],
    share: tuple[float, float],
    minutes: tuple[int, int],
    *,
    hours: tuple[int, int] = (8, 22),
    days: Iterable[int] = range(7),
) -> Shape:
    """Work that comes in bursts: so many a day, each so much of the limit in so many minutes."""

    def wanted(random: Random) -> Wanted:
        found = [0.0] * MINUTES
        for day in range(DAYS):
            if day % 7 not in days:
                continue
            for _ in range(random.randint(*number)):
                start = day * DAY + random.randint(hours[0] * HOUR, hours[1] * HOUR - 1)
                length = random.randint(*minutes)
                _add(found, start, [1.0] * length, random.uniform(*share))
        return found

    return wanted


def batch(
    share: tuple[float, float],
    minutes: tuple[int, int],
    *,
    at: int,
    days: Iterable[int] = range(7),
    only: Iterable[int] = range(DAYS),
) -> Shape:
    """One run at the same time of the day, `at` (minute UTC), a few minutes early or late.

    Args:
        share: Least and most of the limit.
        minutes: The shortest and the longest run.
        at: Minute of the day (UTC).
        days: Which days of the week.
        only: Which days of the month.
    """

    def wanted(random: Random) -> Wanted:
        found = [0.0] * MINUTES
        for day in sorted({day for day in only if day % 7 in days}):
            start = day * DAY + at + random.randint(-6, 6)
            _add(found, start, [1.0] * random.randint(*minutes), random.uniform(*share))
        return found

    return wanted


def hourly(share: float, *, minutes: tuple[int, int] = (2, 6), at: int = 5) -> Shape:
    """A job each hour; `share` of the limit a day."""

    def wanted(random: Random) -> Wanted:
        found = [0.0] * MINUTES
        for hour in range(DAYS * 24):
            start, volume = hour * HOUR + at, share / 24 * random.lognormvariate(0, 0.25)
            _add(found, start, [1.0] * random.randint(*minutes), volume)
        return found

    return wanted


def seldom(calls: int, share: float) -> Shape:
    """A few calls a week, each about `share` of the limit."""

    def wanted(random: Random) -> Wanted:
        found = [0.0] * MINUTES
        for week in range(-(-DAYS // 7)):
            for _ in range(calls):
                _add(found, week * 7 * DAY + random.randrange(7 * DAY), [1.0], share)
        return found

    return wanted


def grown(by: float) -> Callable[[int], float]:
    """A slow growth over the month, `by` at its end."""
    return lambda day: 1 + by * day / DAYS


def released(on: int, factor: float) -> Callable[[int], float]:
    """From a day on, more."""
    return lambda day: factor if day >= on else 1.0


def _restless(random: Random, weights: list[float], size: float = 0.45) -> list[float]:
    """The weights with busy and quiet stretches of 10 to 25 minutes."""
    found: list[float] = []
    while len(found) < len(weights):
        mood = random.lognormvariate(0, size)
        for _ in range(random.randint(10, 25)):
            if len(found) < len(weights):
                found.append(weights[len(found)] * mood)
    return found


def _add(found: Wanted, start: int, weights: list[float], volume: float) -> None:
    """Spread `volume` by the weights, from minute `start` on."""
    scale = volume / math.fsum(weights)
    for minute, weight in enumerate(weights, start):
        if weight and 0 <= minute < MINUTES:
            found[minute] += weight * scale
