"""Who spends: the largest by themselves, and how many others there are."""

from __future__ import annotations

from typing import Final

from dashboards.builder.boards import links
from dashboards.builder.boards.shared_panels import legend
from dashboards.builder.labels import AGENT, MODEL, PRINCIPAL, TENANT
from dashboards.builder.model import SHARE, USD, Link, Panel, Step, Target
from dashboards.builder.scope import OTHERS, Scope
from otel_budget import semconv

#: How many lines a chart has: one fewer than there are colours.
LINES: Final = 6
_ROWS: Final = 10
_LINKS: Final[dict[str, tuple[Link, ...]]] = {
    TENANT: links.TO_DRILLDOWN[:1],
    AGENT: links.OF_AGENT,
    PRINCIPAL: links.OF_USER,
    MODEL: (),
}


def table(scope: Scope, key: str, label: str, header: str, description: str) -> Panel:
    """What each of a label's values spent in the selected time, and its share of all."""
    most, others = scope.fleet_top(label, semconv.METRIC_COST, _ROWS)
    spent = f"{most} or {others}"
    everything = scope.fleet_counted(semconv.METRIC_COST)
    return Panel(
        key=key,
        title=f"Spend by {header.lower()}",
        kind="table",
        description=f"{description} In the selected time; the {_ROWS} largest and the others "
        "together. Without a name: what tells none.",
        targets=(
            Target(expr=spent, header="Spend", unit=USD),
            Target(
                expr=f"({spent}) / on () group_left () ({everything} > 0)",
                header="Share",
                unit=SHARE,
                steps=(Step(0, "blue"),),
            ),
        ),
        columns=((label, header), (OTHERS, "Others")),
        width=6,
        height=7,
        links=_LINKS[label],
    )


def over_time(
    scope: Scope,
    key: str,
    title: str,
    label: str,
    description: str,
    *,
    width: int = 24,
    window: str = "1h",
) -> Panel:
    """What each of a label's values spent in the `window` before each point."""
    most, others = scope.fleet_top(label, semconv.METRIC_COST, LINES, window=window)
    return Panel(
        key=key,
        title=title,
        kind="lines",
        description=f"{description} The {LINES} largest of the selected time, and the others "
        "together.",
        targets=(
            Target(expr=most, legend=legend(label)),
            Target(expr=others, legend=legend(OTHERS), color="grey"),
        ),
        unit=USD,
        width=width,
        height=7,
        legend_right=width == 24,
    )
