"""What the forecasts say of all budgets together."""

from __future__ import annotations

from dashboards.builder import queries
from dashboards.builder.boards.shared_panels import legend
from dashboards.builder.model import Panel, Target
from dashboards.builder.rules.alert_model import FORECAST
from dashboards.builder.rules.forecast_records import STATE
from dashboards.builder.scope import Scope


def panel(scope: Scope) -> Panel:
    """How many budgets are in each state of the forecast, over time."""
    return Panel(
        key="forecasts",
        title="Budgets by forecast",
        kind="bars",
        description="How many budgets are exhausted, being emptied now, run out before their "
        "reset, last until it, or have not enough history yet to say: the first tenth of a "
        "window is none. By recording rules.",
        targets=(
            Target(
                expr=queries.by("count", (STATE,), scope.recorded(FORECAST, queries.CAP)),
                legend=legend(STATE),
            ),
        ),
        width=24,
        height=6,
        legend_right=True,
    )
