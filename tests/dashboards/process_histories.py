"""Histories of counters whose truth is known: what arrived, minute by minute."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

DAY = 1440
#: Minutes of every history: two days, and what is asked is asked in the second.
LENGTH = 2 * DAY


@dataclass(frozen=True)
class History:
    """The samples of one series by minute, and what each of them told that was not known before."""

    samples: Mapping[int, float]
    arrived: Mapping[int, float]
    #: Of each sample the minute of the first of the same life; None for one from before.
    lives: Mapping[int, int | None]

    @property
    def values(self) -> str:
        """In the notation of promtool, one sample a minute."""
        return " ".join(str(self.samples.get(minute, "_")) for minute in range(LENGTH))

    def counted(self, after: float, until: float) -> float:
        """What arrived after one time and until another, in minutes."""
        return sum(value for minute, value in self.arrived.items() if after < minute <= until)


@dataclass
class _Process:
    """A process that counts, and is restarted now and then."""

    samples: dict[int, float] = field(default_factory=dict)
    arrived: dict[int, float] = field(default_factory=dict)
    lives: dict[int, int | None] = field(default_factory=dict)
    value: float = 0.0
    told: float = 0.0
    is_new: bool = False
    life: int | None = None

    def export(self, minute: int) -> None:
        if self.is_new:
            self.is_new, self.life = False, minute
        self.lives[minute] = self.life
        self.samples[minute] = round(self.value, 6)
        self.arrived[minute] = round(self.value - self.told, 6)
        self.told = self.value

    def restart(self) -> None:
        self.value = self.told = 0.0
        self.is_new = True


def history(
    exports: Iterable[int],
    *,
    calls: Collection[int] | None = None,
    restarts: Collection[int] = (),
    seed: int = 1,
    start: float = 190.0,
) -> History:
    """The history of one instance id.

    Args:
        exports: The minutes in which its value arrives.
        calls: The minutes in which it spends something (default: all).
        restarts: The minutes in which it begins at 0 again, before it spends.
        seed: Of what a call costs.
        start: What it had counted before.
    """
    costs, process, exported = random.Random(seed), _Process(), set(exports)
    process.value = process.told = start
    for minute in range(LENGTH):
        if minute in restarts:
            process.restart()
        if calls is None or minute in calls:
            process.value += costs.uniform(0.02, 0.06)
        if minute in exported:
            process.export(minute)
    return History(process.samples, process.arrived, process.lives)


def without(*gaps: tuple[int, int]) -> list[int]:
    """Every minute but those of gaps (from, to)."""
    return [m for m in range(LENGTH) if not any(start <= m < end for start, end in gaps)]


def _hour(day: int, hour: float) -> int:
    return day * DAY + int(hour * 60)


def _frozen() -> History:
    """Ten minutes of work in every hundred; in between the CPU is taken away."""
    awake = [m for m in range(LENGTH) if m % 100 < 10]
    return history(awake, calls=set(awake))


def _cron() -> History:
    """A job of four minutes every hour, always under the same instance id."""
    runs = range(7, LENGTH, 60)
    working = [start + m for start in runs for m in range(4)]
    return history(working, calls=set(working), restarts=set(runs), start=0.0)


def _job(*exports: int, born: int) -> History:
    """A process of one instance id of its own."""
    return history(exports, calls=range(born, LENGTH), restarts={born}, start=0.0)


def _cron_told_once() -> History:
    """A job every hour under one instance id that exports when it ends: rarely a lower value."""
    ends = range(16, LENGTH, 60)
    calls = [end - minute for end in ends for minute in range(5)]
    return history(ends, calls=calls, restarts={end - 5 for end in ends}, start=0.0)


def _restarted() -> History:
    """Restarted at 01:00 of the second day, two minutes late."""
    return history(without((_hour(1, 1), _hour(1, 1) + 2)), restarts={_hour(1, 1)})


def _crash_loop() -> History:
    """A life of seven minutes, and again, for an hour."""
    noon = _hour(1, 12)
    return history(range(LENGTH), restarts=set(range(noon, noon + 60, 7)))


#: Histories in which every query is exact.
EXACT = {
    "steady": history(range(LENGTH)),
    "an export every ten minutes": history(range(3, LENGTH, 10)),
    "Collector away for 75 minutes": history(without((_hour(1, 11.5), _hour(1, 12.75)))),
    "Collector away over midnight": history(without((_hour(0, 23.9), _hour(1, 0.1)))),
    "asleep for two hours": history(
        without((_hour(1, 9), _hour(1, 11))), calls=without((_hour(1, 9), _hour(1, 11)))
    ),
    "asleep for the night": history(
        without((_hour(0, 22), _hour(1, 8))), calls=without((_hour(0, 22), _hour(1, 8)))
    ),
    "frozen between bursts": _frozen(),
}
#: Histories of an instance id that is used again.
RESTARTS = {
    "restarted at one o'clock": _restarted(),
    "a cron job with a fixed id": _cron(),
    "a crash loop for an hour": _crash_loop(),
}
#: Histories of a process that begins within the second day.
BORN = {
    "a job that exports once": _job(_hour(1, 5), born=_hour(1, 4.9)),
    "born and goes on": _job(*range(_hour(1, 5), LENGTH), born=_hour(1, 4.9)),
    "born, an export every ten minutes": _job(*range(_hour(1, 5), LENGTH, 10), born=_hour(1, 4.9)),
}
#: What only start times tell: each run is a process of its own.
RUNS = {"a cron job with a fixed id, told once a run": _cron_told_once()}
