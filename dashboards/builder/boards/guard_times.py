"""How long the guard's answers take."""

from __future__ import annotations

from typing import Final

from dashboards.builder.model import Color, Panel, Target
from dashboards.builder.scope import STEP, Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

#: What nobody notices, in seconds.
_QUICK: Final = 0.05


def bands(scope: Scope, thresholds: Thresholds) -> Panel:
    """Few bands, each with its meaning: Perses has heat maps of native histograms alone."""
    duration = semconv.METRIC_GUARD_DURATION

    def within(bound: str) -> str:
        return scope.fleet_buckets((), duration, f"le=~`{bound}`", window=STEP)

    quick, slow, late = (
        max(edge for edge in semconv.GUARD_DURATION_BUCKETS if edge <= wanted)
        for wanted in (_QUICK, thresholds.guard_slow_seconds, thresholds.guard_late_seconds)
    )
    # Prometheus writes a bound of 5.0 as "5" or "5.0", by the way it came.
    at_quick, at_slow, at_late = (
        within(f"{edge:g}".replace(".", "[.]") + "([.]0)?") for edge in (quick, slow, late)
    )
    bands: tuple[tuple[str, Color, str], ...] = (
        (f"up to {quick:g} s", "blue", at_quick),
        (f"up to {slow:g} s", "grey", f"{at_slow} - {at_quick}"),
        (f"up to {late:g} s", "orange", f"{at_late} - {at_slow}"),
        ("longer", "red", f"{within('[+]Inf')} - {at_late}"),
    )
    return Panel(
        key="speed",
        title="Guard answers by time taken",
        kind="bars",
        description="How many answers between two points of the chart took how long. Many in two "
        "bands: a cache and its misses, or one of two guards is slow.",
        targets=tuple(Target(expr=expr, legend=name, color=color) for name, color, expr in bands),
        width=12,
        height=10,
    )
