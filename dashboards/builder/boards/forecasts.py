"""What the forecasts say of all budgets together."""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.model import Color, Panel, Target
from dashboards.builder.rules.alert_model import FORECAST
from dashboards.builder.rules.forecast_records import (
    EMPTIED,
    EXHAUSTED,
    LASTS,
    RUNS_OUT,
    STATE,
    TOO_EARLY,
    UNUSED,
)
from dashboards.builder.scope import Scope

#: What a bar is called, of which states, and what colour it has.
_STATES: Final[tuple[tuple[str, str, Color], ...]] = (
    ("exhausted", EXHAUSTED, "red"),
    ("run out before their reset", f"{EMPTIED}|{RUNS_OUT}", "orange"),
    ("last until their reset", f"{LASTS}|{UNUSED}", "blue"),
    ("not enough history yet", TOO_EARLY, "grey"),
)


def panel(scope: Scope) -> Panel:
    """How many budgets are in each state of the forecast, over time."""

    def every(states: str) -> str:
        return scope.recorded(FORECAST, queries.CAP, f'{STATE}=~"{states}"')

    return Panel(
        key="forecasts",
        title="Budgets by forecast",
        kind="bars",
        description="How many budgets are exhausted, run out before their reset, last until it, or "
        "have not enough history yet to say: the first tenth of a window is none. By recording "
        "rules.",
        targets=tuple(
            Target(
                expr=queries.or_zero(f"count({every(states)})", f"count({every('.*')})"),
                legend=words,
                color=color,
            )
            for words, states, color in _STATES
        ),
        width=14,
        height=6,
    )
