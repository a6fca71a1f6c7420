"""Soft limits and refusals: whose, of which budget, why, how often, and when last."""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.boards.shared_panels import legend
from dashboards.builder.labels import AGENT, CAUSE, JOB, KIND, POINT, RESOURCE, TENANT, TOOL, WINDOW
from dashboards.builder.model import SECONDS, WHOLE, Link, Panel, Target
from dashboards.builder.scope import STEP, Scope
from otel_budget import semconv

#: What a table of threshold hits shows: whose, of which budget, why, and where.
HIT_COLUMNS: Final = (
    (JOB, "Service"),
    (TENANT, "Tenant"),
    (AGENT, "Agent"),
    (RESOURCE, "Resource"),
    (WINDOW, "Window"),
    (CAUSE, "Cause"),
    (POINT, "Check"),
    (TOOL, "Tool"),
)

_TAG = "%22{key}%22%3A%22{value}%22"


def jaeger(title: str, tenant: str, *, denials: bool, service: str, column: str = "") -> Link:
    """A link that opens Jaeger's search for a tenant's decisions."""
    tags = [_TAG.format(key=semconv.TENANT, value=tenant)]
    if denials:
        tags.append(_TAG.format(key=semconv.DECISION, value=semconv.DENY))
    url = f"${{jaeger}}/search?service={service}&tags=%7B{'%2C'.join(tags)}%7D"
    return Link(title, url, column)


#: From a table's row, with columns Tenant and Service, to the denials of its tenant.
ROW_DENIALS: Final = jaeger(
    "Denials of this tenant in Jaeger",
    "${__data.fields.Tenant}",
    denials=True,
    service="${__data.fields.Service}",
    column="Tenant",
)


def denials(scope: Scope) -> Panel:
    """What was refused, to whom, and when last."""
    hits = semconv.METRIC_THRESHOLD_HITS
    labels = tuple(label for label, _ in HIT_COLUMNS)
    seen = f"time() - ({scope.fleet_last_counted(labels, hits, queries.HARD)})"
    return Panel(
        key="denials",
        title="Denials",
        kind="table",
        description="What was refused in the selected time, to whom, and how long ago the "
        "last time was (to about five minutes). Window and cause are the guard's own, where it "
        "tells them; its reason is on the span: the tenant's link opens Jaeger's search. Raise "
        "the limit, or leave it: a refusal is a guard doing its job.",
        targets=(
            Target(
                expr=scope.fleet_sum(labels, hits, queries.HARD) + " > 0",
                header="Refused",
                unit=WHOLE,
            ),
            Target(expr=seen, header="Last seen", unit=SECONDS),
        ),
        columns=HIT_COLUMNS,
        width=14,
        links=(ROW_DENIALS,),
    )


def hits(scope: Scope) -> list[Panel]:
    """Soft limits and denials over time, and whose, why and when last."""
    over_time = scope.fleet_sum(
        (KIND, RESOURCE, WINDOW, CAUSE), semconv.METRIC_THRESHOLD_HITS, window=STEP
    )
    columns = (*HIT_COLUMNS[:3], (KIND, "Kind"), *HIT_COLUMNS[3:])
    labels = tuple(label for label, _ in columns)
    return [
        Panel(
            key="hits",
            title="Soft limits and denials by resource",
            kind="bars",
            description="Hits between two points of the chart, by budget (with its window) and "
            "cause, where the guard tells them. Soft: the call went ahead. Hard: it was refused.",
            targets=(
                Target(
                    expr=over_time + " > 0",
                    legend=f"{legend(KIND)}: {legend(RESOURCE, WINDOW, CAUSE)}",
                ),
            ),
            width=8,
        ),
        Panel(
            key="hit_table",
            title="Soft limits and denials",
            kind="table",
            description="Hits by budget, cause and tool in the selected time, and how long ago "
            "the last one was (to about five minutes). The tenant's link opens Jaeger's search "
            "for its denials, which have the guard's reason.",
            targets=(
                Target(
                    expr=scope.fleet_sum(labels, semconv.METRIC_THRESHOLD_HITS) + " > 0",
                    header="Hits",
                    unit=WHOLE,
                ),
                Target(
                    expr="time() - ("
                    f"{scope.fleet_last_counted(labels, semconv.METRIC_THRESHOLD_HITS)})",
                    header="Last seen",
                    unit=SECONDS,
                ),
            ),
            columns=columns,
            width=16,
            links=(ROW_DENIALS,),
        ),
    ]
