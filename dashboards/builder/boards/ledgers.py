"""Two ledgers side by side: what the guard says it counted, and what was recorded meanwhile."""

from __future__ import annotations

from dashboards.builder import queries
from dashboards.builder.boards.shared_panels import BUDGET_COLUMNS, BUDGET_LEGEND
from dashboards.builder.labels import ENVIRONMENT, GUARD, SHARED, SOURCE, UNIT
from dashboards.builder.model import SHARE, Panel, Step, Target
from dashboards.builder.rules.alert_model import least, most, recorded
from dashboards.builder.scope import Scope
from dashboards.builder.thresholds import Thresholds


def panels(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    """Both ledgers of each budget and their difference, now and over time."""
    low, high, spent = (scope.recorded(name("1h")) for name in (least, most, recorded))
    # Where the two readings differ, the one that is nearer to what was recorded.
    nearer = f"clamp_min({low} - {spent}, 0) or 0 * {spent}"
    difference = f"({nearer}) - clamp_min({spent} - {high}, 0)"
    return [
        Panel(
            key="ledgers",
            title="Both ledgers of each budget",
            kind="table",
            description="In the unit of the budget, of the last hour. Recorded: the cost (or the "
            "tokens) of the budget's owner, in jobs that tell a level of this guard. The guard "
            "counted: by its own levels, over resets and restarts. Whether several processes "
            "tell one budget or each its own is known only where the guard says so (shared); "
            "elsewhere the truth lies between at least and at most. The difference is the "
            "smallest that both readings leave: above 0 the guard counts more than was recorded, "
            "or somebody spends unseen; below 0 it counts too little.",
            targets=(
                # Without the records' names, which would tell rows apart.
                Target(expr=f"{spent} + 0", header="Recorded"),
                Target(expr=f"{low} + 0", header="Guard, at least"),
                Target(expr=f"{high} + 0", header="Guard, at most"),
                Target(expr=difference, header="Difference"),
            ),
            columns=(*BUDGET_COLUMNS, (GUARD, "Guard"), (UNIT, "Unit"), (SHARED, "Shared")),
            hidden=(ENVIRONMENT, SOURCE),
            width=24,
            height=7,
        ),
        Panel(
            key="ledger_share",
            title="The guard's count in what was recorded",
            kind="lines",
            description="Of the hour before each point; 100 % is a guard that counts what is "
            "recorded. Shown is the reading that is nearer to 100 %, where the guard does not say "
            f"whether its budgets are shared. Below {thresholds.ledger_not_counting:.0%} or above "
            f"{thresholds.ledger_counts_more:.0%} for a quarter of an hour an alert fires, if at "
            f"least {thresholds.ledger_floor_usd:g} USD were recorded.",
            targets=(
                Target(
                    expr=queries.by(
                        "max",
                        (*(name for name, _ in BUDGET_COLUMNS), GUARD, ENVIRONMENT),
                        f"1 + ({difference}) / ({spent} > 0)",
                    ),
                    legend=BUDGET_LEGEND,
                ),
            ),
            unit=SHARE,
            width=24,
            height=8,
            steps=(Step(thresholds.ledger_counts_more, "orange"),),
        ),
    ]
