"""Timing two things in turn, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Rounds, each of which times every candidate once, and calls in a round.
ROUNDS, CALLS = 25, 1_000


@dataclass(frozen=True)
class Ratio:
    """A candidate's time over the baseline's, round by round."""

    median: float
    low: float
    high: float
    microseconds: float

    def __str__(self) -> str:
        return (
            f"{self.median:5.2f}  ({self.low:.2f} to {self.high:.2f}; {self.microseconds:.1f} us)"
        )


def seconds(call: Callable[[], object], calls: int) -> float:
    """The time of `calls` calls in a row, in seconds."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def compare(
    baseline: Callable[[], object],
    candidates: dict[str, Callable[[], object]],
    *,
    between: Callable[[], object] = lambda: None,
    rounds: int = ROUNDS,
    calls: int = CALLS,
) -> tuple[float, dict[str, Ratio]]:
    """Time every candidate beside the baseline.

    Args:
        baseline: What the ratios are to.
        candidates: By name.
        between: Called before each timing, e.g. to empty a queue.
        rounds: How often.
        calls: Calls in each timing.

    Returns:
        The baseline's median in microseconds a call, and the ratios by name.
    """
    everything = {"": baseline, **candidates}
    times: dict[str, list[float]] = {name: [] for name in everything}
    for call in everything.values():
        seconds(call, calls // 5)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in everything.items():
                between()
                times[name].append(seconds(call, calls) / calls * 1e6)
            gc.collect()
    finally:
        gc.enable()
    base = times.pop("")
    return statistics.median(base), {
        name: _ratio([mine / theirs for mine, theirs in zip(own, base, strict=True)], own)
        for name, own in times.items()
    }


def _ratio(ratios: list[float], own: list[float]) -> Ratio:
    quarters = statistics.quantiles(ratios, n=4)
    return Ratio(quarters[1], quarters[0], quarters[2], statistics.median(own))
