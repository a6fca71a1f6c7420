"""Queries over a dashboard's drop-downs that more than one panel asks."""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries as q
from dashboards.builder.model import (
    AGENT,
    RESOURCE,
    TENANT,
    Link,
    Panel,
    Scope,
    Step,
    Target,
    Unit,
)
from otel_budget import semconv as sc
from otel_budget.semconv import Metric, prometheus_label

RANGE: Final = "$__range"
#: The time between two points of a chart: bars over it add up to the total.
STEP: Final = "$__interval"

WINDOW = prometheus_label(sc.WINDOW)
TOOL = prometheus_label(sc.TOOL_NAME)
KIND = prometheus_label(sc.KIND)
POINT = prometheus_label(sc.DECISION_POINT)
DECISION = prometheus_label(sc.DECISION)
GUARD = prometheus_label(sc.GUARD_NAME)

#: Outcomes of checks that told the caller nothing.
TROUBLE = (sc.MALFORMED, sc.ERROR, sc.LATE, sc.CANCELLED)


def one_of(attribute: str, values: tuple[str, ...]) -> str:
    """A matcher for any of the values."""
    if len(values) == 1:
        return q.equals(attribute, values[0])
    return f'{prometheus_label(attribute)}=~"{"|".join(values)}"'


HARD = q.equals(sc.KIND, sc.KIND_HARD)
SOFT = q.equals(sc.KIND, sc.KIND_SOFT)
CAP = q.equals(sc.SOURCE, sc.SOURCE_GUARD)

BUDGET_COLUMNS = (
    (TENANT, "Tenant"),
    (AGENT, "Agent"),
    (prometheus_label(sc.PRINCIPAL), "Principal"),
    (RESOURCE, "Resource"),
    (WINDOW, "Window"),
)
#: What one budget is called in a legend.
BUDGET_LEGEND: Final = f"{{{{{TENANT}}}}} {{{{{AGENT}}}}} {{{{{RESOURCE}}}}} {{{{{WINDOW}}}}}"

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


def counted(s: Scope, metric: Metric, *matchers: str, window: str = RANGE) -> str:
    """What a counter counted, one number."""
    return q.by("sum", (), q.total(s.x(metric, *matchers), window))


def counted_by(
    s: Scope, labels: tuple[str, ...], metric: Metric, *matchers: str, window: str = RANGE
) -> str:
    """What a counter counted, by labels; ``(none)`` where a label is missing."""
    return q.named(q.by("sum", labels, q.total(s.x(metric, *matchers), window)), *labels)


def counted_or_zero(
    s: Scope, label: str, metric: Metric, *, known: Metric = sc.METRIC_DECISIONS
) -> str:
    """`counted_by` one label, or one 0 where `known` is counted and `metric` never was."""
    some = counted_by(s, (label,), metric)
    zero = q.marked(q.by("sum", (), q.total(s.x(known), RANGE)), label, "none so far")
    return f"{some} or (0 * {zero} unless on () {some})"


def jaeger(title: str, tenant: str, *, denials: bool, service: str, column: str = "") -> Link:
    """A link that opens Jaeger's search for a tenant's decisions."""
    tags = [_TAG.format(key=sc.TENANT, value=tenant)]
    if denials:
        tags.append(_TAG.format(key=sc.DECISION, value=sc.DENY))
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


def seconds_left(s: Scope) -> str:
    """Seconds until each budget is used up, at the pace of its own window."""
    labels = BUDGET_LABELS
    return q.seconds_to_exhaustion(
        *(
            q.level(s.x(metric, CAP), labels)
            for metric in (
                sc.METRIC_CONSUMED,
                sc.METRIC_LIMIT,
                sc.METRIC_WINDOW_LENGTH,
                sc.METRIC_WINDOW_REMAINING,
            )
        )
    )


#: A budget's labels without the source, which `CAP` fixes.
BUDGET_LABELS: Final = tuple(x for x in q.BUDGET if x != prometheus_label(sc.SOURCE))
