"""Times candidates in turn, so that a noisy machine disturbs all of them equally."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Rounds, each of which times every candidate once, and calls per round.
ROUNDS, CALLS = 25, 1_000


@dataclass(frozen=True)
class Ratio:
    """A candidate's time over the baseline's, round by round."""

    median: float
    low: float
    high: float
    microseconds: float

    def __str__(self) -> str:
        taken = self.microseconds
        shown = f"{taken:.1f} us" if taken < 1_000 else f"{taken / 1_000:.1f} ms"
        return f"{self.median:5.2f}  ({self.low:.2f} to {self.high:.2f}; {shown})"


def seconds(call: Callable[[], object], calls: int) -> float:
    """The time of `calls` consecutive calls, in seconds."""
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
    """Time every candidate and the baseline in turn.

    Args:
        baseline: The call that the ratios refer to.
        candidates: The other calls, by name.
        between: Called before each timing, e.g. to empty a queue.
        rounds: How often each is timed.
        calls: Calls in each timing.

    Returns:
        The baseline's median in microseconds per call, and the ratios by name.
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
        name: _ratio(candidate, base) for name, candidate in times.items()
    }


def _ratio(candidate: list[float], base: list[float]) -> Ratio:
    ratios = [own / reference for own, reference in zip(candidate, base, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return Ratio(quartiles[1], quartiles[0], quartiles[2], statistics.median(candidate))
