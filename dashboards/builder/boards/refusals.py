"""Soft limits and refusals: whose, of which budget, why, how often, and when last."""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.boards import links
from dashboards.builder.labels import (
    AGENT,
    CAUSE,
    ENVIRONMENT,
    JOB,
    KIND,
    POINT,
    PRINCIPAL,
    RESOURCE,
    TENANT,
    TOOL,
    WINDOW,
)
from dashboards.builder.model import SECONDS, WHOLE, Panel, Target
from dashboards.builder.scope import STEP, Scope
from otel_budget import semconv

#: What a table of threshold hits shows: whose, of which budget, why, and where.
HIT_COLUMNS: Final = (
    (TENANT, "Tenant"),
    (RESOURCE, "Resource"),
    (CAUSE, "Reason"),
    (WINDOW, "Window"),
    (TOOL, "Tool"),
    (POINT, "Check"),
    (AGENT, "Agent"),
    (PRINCIPAL, "User"),
    (ENVIRONMENT, "Environment"),
    (JOB, "Service"),
)
#: A row leads to its traces by the resource, to its tenant, agent or user by the drill-down.
_LINKS: Final = (*links.TO_DRILLDOWN, links.to_denials(RESOURCE))


def outcomes(scope: Scope) -> Panel:
    """Decisions that were not a plain allow, by what they were."""

    def checks(*outcomes: str) -> str:
        return scope.fleet_counted(
            semconv.METRIC_DECISIONS, queries.one_of(semconv.DECISION, outcomes), window=STEP
        )

    return Panel(
        key="not_allowed",
        title="Checks that were not simply allowed",
        kind="bars",
        description="Number of checks between two points of the chart. Above a soft limit: the "
        "call went ahead. Refused: see the table beside it. No valid answer: the guard raised, "
        "was late or unreadable, or the caller went away; see the health dashboard.",
        targets=(
            Target(expr=checks(semconv.SOFT_LIMIT), legend="above a soft limit", color="orange"),
            Target(expr=checks(semconv.DENY), legend="refused", color="red"),
            Target(expr=checks(*queries.TROUBLE), legend="no valid answer", color="purple"),
        ),
        width=8,
    )


def _table(
    scope: Scope,
    columns: tuple[tuple[str, str], ...],
    header: str,
    *matchers: str,
    key: str,
    title: str,
    description: str,
) -> Panel:
    """Threshold hits by the labels of the columns: how many, and how long ago the last was."""
    labels = tuple(label for label, _ in columns)
    hits = semconv.METRIC_THRESHOLD_HITS
    return Panel(
        key=key,
        title=title,
        kind="table",
        description=description,
        targets=(
            Target(
                expr=scope.fleet_sum(labels, hits, *matchers) + " > 0", header=header, unit=WHOLE
            ),
            Target(
                expr=f"time() - ({scope.fleet_last_counted(labels, hits, *matchers)})",
                header="Last seen",
                unit=SECONDS,
            ),
        ),
        columns=columns,
        width=16,
        links=_LINKS,
    )


def denials(scope: Scope) -> Panel:
    """What was refused, to whom, and when last."""
    return _table(
        scope,
        HIT_COLUMNS,
        "Refused",
        queries.HARD,
        key="denials",
        title="Denials",
        description="What was refused in the selected time, to whom, and how long ago the "
        "last time was (to about five minutes). Window and reason are the guard's own, where it "
        "tells them: spent, held for calls in progress (reserved), without a price, by policy, or "
        "the guard failed; its sentence is on the span: the resource opens the traces. Raise the "
        "limit, or leave it: a refusal is a guard doing its job.",
    )


def over_time(scope: Scope) -> Panel:
    """Soft limits and denials between two points."""

    def hits(kind: str) -> str:
        return scope.fleet_counted(semconv.METRIC_THRESHOLD_HITS, kind, window=STEP) + " > 0"

    return Panel(
        key="hits",
        title="Soft limits and denials over time",
        kind="bars",
        description="Hits between two points of the chart. Soft: the call went ahead. Hard: it was "
        "refused. Whose, and why, is in the table of the drill-down.",
        targets=(
            Target(expr=hits(queries.SOFT), legend="soft", color="orange"),
            Target(expr=hits(queries.HARD), legend="hard", color="red"),
        ),
        width=8,
    )


def hits(scope: Scope) -> list[Panel]:
    """Soft limits and denials over time, and whose, why and when last."""
    return [
        over_time(scope),
        _table(
            scope,
            ((KIND, "Kind"), *HIT_COLUMNS),
            "Hits",
            key="hit_table",
            title="Soft limits and denials",
            description="Hits by budget, cause and tool in the selected time, and how long ago "
            "the last one was (to about five minutes). The resource opens the traces, which have "
            "the guard's own sentence.",
        ),
    ]
