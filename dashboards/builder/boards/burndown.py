"""A budget's page: what is left of it, against the even pace, and to the end of its window."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dashboards.builder import queries
from dashboards.builder.boards import refusals
from dashboards.builder.boards.shared_panels import LEVEL_LEGEND
from dashboards.builder.labels import LEVEL, RESOURCE, TENANT, WINDOW
from dashboards.builder.model import (
    COUNT,
    SHARE,
    Annotation,
    Dashboard,
    Panel,
    Row,
    Target,
)
from dashboards.builder.rules.alert_model import (
    CONSUMED,
    ENDED,
    EXHAUSTION,
    LIMIT,
    UTILIZATION,
    WINDOW_END_HELD,
    WINDOW_LENGTH,
)
from dashboards.builder.scope import Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

UID: Final = "otel-budget-burndown"
#: How far the page looks back, and ahead.
SPAN: Final = "12h"
_SAME: Final = f"on ({', '.join(LEVEL)})"


def events(scope: Scope) -> tuple[Annotation, ...]:
    """Refusals and resets, on charts over time."""
    hits = scope.fleet_sum(
        (TENANT, RESOURCE), semconv.METRIC_THRESHOLD_HITS, queries.HARD, window="1m"
    )
    ended = scope.recorded(ENDED, queries.CAP)
    return (
        Annotation("Refusals", f"{hits} > 0", "red", f"{{{{{TENANT}}}}} {{{{{RESOURCE}}}}}"),
        Annotation(
            "Resets",
            f"{queries.by('max', (TENANT, RESOURCE, WINDOW), ended)} * 0 + 1",
            "blue",
            f"{{{{{TENANT}}}}} {{{{{RESOURCE}}}}} {{{{{WINDOW}}}}}",
        ),
    )


def build(scope: Scope, thresholds: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: burn-down",
        description="One tenant's budgets: what is left, the even pace, and the forecast to the "
        "end of the window. Choose a tenant above, or come from the overview's verdict.",
        refresh="5m",
        rows=(
            Row(title="Burn-down", panels=[_burn_down(scope)]),
            Row(title="What spends it", panels=[*_levels(scope)]),
        ),
        start=f"now-{SPAN}",
        end=f"now+{SPAN}",
        annotations=events(scope),
    )


def _lately(expr: str) -> str:
    """What was known last, also at points of a chart that lie ahead; of months more coarsely."""
    before = (f"last_over_time(({expr})[{span}])" for span in ("1d:5m", "31d:2h"))
    return f"({expr} or {' or '.join(before)})"


def _burn_down(scope: Scope) -> Panel:
    def cap(record: str) -> str:
        return queries.by("max", LEVEL, scope.recorded(record, queries.CAP))

    left = f"clamp_min(1 - {cap(UTILIZATION)}, 0)"
    rest = f"({_lately(cap(WINDOW_END_HELD))} - time() > 0)"
    even = f"{rest} / {_lately(cap(WINDOW_LENGTH))} <= 1"
    runs_out = f"({_lately(f'(time() + {cap(EXHAUSTION)})')} - time() > 0)"
    pace = _lately(f"({left} / ({cap(EXHAUSTION)} > 0))")
    # Where it ends before the window: the line stops at nothing left.
    ahead = f"({runs_out} * {pace} and {_SAME} {rest}) unless {_SAME} {cap(UTILIZATION)}"
    return Panel(
        key="burn_down",
        title="Left of each budget",
        kind="lines",
        description="The share that is left, of budgets whose guard tells cap and window. Even "
        "pace: what would be left if the limit were used evenly over the window; below it, the "
        "budget is used faster. Forecast: from the last known level to the end of the window, by "
        "the pace of the verdict; where it reaches 0, the budget is used up. The page looks ahead: "
        "choose a time that ends later for a month's budget.",
        targets=(
            Target(expr=left, legend=f"{LEVEL_LEGEND} left"),
            Target(expr=ahead, legend=f"{LEVEL_LEGEND} forecast", dashed=True),
            Target(expr=even, legend=f"{LEVEL_LEGEND} even pace", color="grey", dashed=True),
        ),
        unit=SHARE,
        width=24,
        height=12,
        top=1,
    )


def _levels(scope: Scope) -> list[Panel]:
    return [
        Panel(
            key="consumed",
            title="Used and limit",
            kind="lines",
            description="In the unit of the budget (see the drill-down's table). A step of the "
            "limit is somebody who changed it.",
            targets=(
                Target(
                    expr=queries.by("max", LEVEL, scope.recorded(CONSUMED, queries.CAP)),
                    legend=f"{LEVEL_LEGEND} used",
                ),
                Target(
                    expr=queries.by("max", LEVEL, scope.recorded(LIMIT, queries.CAP)),
                    legend=f"{LEVEL_LEGEND} limit",
                    color="red",
                    dashed=True,
                ),
            ),
            unit=COUNT,
            width=14,
            height=10,
        ),
        replace(refusals.over_time(scope), width=10, height=10),
    ]
