"""Parts of panels that more than one dashboard shows."""

from __future__ import annotations

from typing import Final

from dashboards.builder.labels import (
    AGENT,
    CAUSE,
    JOB,
    POINT,
    PRINCIPAL,
    RESOURCE,
    TENANT,
    TOOL,
    WINDOW,
)
from dashboards.builder.model import Link, Panel, Step, Target, Unit
from otel_budget import semconv


def legend(*labels: str) -> str:
    """A legend of the labels' values."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)


#: What one budget is called in a legend; one that services share is without job.
BUDGET_LEGEND: Final = legend(TENANT, AGENT, RESOURCE, WINDOW)
LEVEL_LEGEND: Final = f"{BUDGET_LEGEND} {legend(JOB)}"
BUDGET_COLUMNS: Final = (
    (TENANT, "Tenant"),
    (AGENT, "Agent"),
    (PRINCIPAL, "Principal"),
    (RESOURCE, "Resource"),
    (WINDOW, "Window"),
)
LEVEL_COLUMNS: Final = ((JOB, "Service"), *BUDGET_COLUMNS)

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


def stat(
    key: str, title: str, expr: str, unit: Unit, description: str, *, steps: tuple[Step, ...] = ()
) -> Panel:
    """One number of the row at the top of a dashboard."""
    return Panel(
        key=key,
        title=title,
        kind="stat",
        description=description,
        targets=(Target(expr=expr, legend=title),),
        unit=unit,
        width=4,
        height=4,
        steps=steps,
    )


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
