"""What a counter counted, asked of Prometheus: one query for dashboards, rules and commands."""

from __future__ import annotations

from typing import Final

#: How long a process may be silent and still be recognised as the same one: a laptop that sleeps at
#: night, a frozen container, a Collector that is away. With an hour, the whole life of a process
#: counted again after each.
MEMORY: Final = "1d"


def total(counter: str, window: str, *, memory: str = MEMORY) -> str:
    """What a counter counted in the last `window`, exactly, even if it was born in the window.

    This is the difference to the last value before the window. Where there is none (a process
    born in the window), or where the window began lower (a process restarted under the same
    instance id since), it is the whole value. Where a restart lies inside the window, it is
    ``increase()``, an estimate, because nothing else can see it.

    Args:
        counter: The counter's selector.
        window: The time, as Prometheus writes durations.
        memory: How long a process may be silent and still be recognised as the same one.
    """
    highest = f"max_over_time({counter}[{window}])"
    lowest = f"min_over_time({counter}[{window}])"
    before = f"last_over_time({counter}[{memory}] offset {window})"
    return (
        f"(({highest} - ({before} <= {lowest}) or {highest})"
        f" unless (resets({counter}[{window}]) > 0) or increase({counter}[{window}]))"
    )
