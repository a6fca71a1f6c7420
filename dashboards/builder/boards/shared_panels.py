"""Parts of panels that more than one dashboard shows."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import (
    AGENT,
    ENVIRONMENT,
    GUARD,
    JOB,
    PRINCIPAL,
    RESOURCE,
    TENANT,
    TOKEN_TYPE,
    WINDOW,
)
from dashboards.builder.model import Panel, Step, Target, Unit
from dashboards.builder.rules.fleet_records import WINDOWS
from dashboards.builder.scope import RANGE, RECORDS, STEP, Scope
from otel_budget import semconv


def legend(*labels: str) -> str:
    """A legend of the labels' values."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)


#: What one budget is called in a legend; one that services share is without job.
BUDGET_LEGEND: Final = legend(TENANT, AGENT, PRINCIPAL, RESOURCE, WINDOW, GUARD, ENVIRONMENT)
LEVEL_LEGEND: Final = f"{BUDGET_LEGEND} {legend(JOB)}"
BUDGET_COLUMNS: Final = (
    (TENANT, "Tenant"),
    (AGENT, "Agent"),
    (PRINCIPAL, "User"),
    (RESOURCE, "Resource"),
    (WINDOW, "Window"),
)
LEVEL_COLUMNS: Final = ((JOB, "Service"), *BUDGET_COLUMNS)

#: What the description of a panel from the rules' records says.
FROM_RECORDS: Final = (
    "From recording rules: without what arrived later than two minutes (how much that is stands "
    "on the health dashboard)."
)


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


def token_types(scope: Scope, width: int) -> Panel:
    """Tokens of each type, over time."""
    tokens = scope.fleet_sum((TOKEN_TYPE,), semconv.METRIC_TOKENS, window=STEP)
    return Panel(
        key="token_types",
        title="Tokens by type",
        kind="bars",
        description="Number of tokens between two points of the chart. The types do not overlap: "
        "cached prompt tokens are not in input. Much cache_write and little cache_read means a "
        "cache that is paid for but not used.",
        targets=(Target(expr=tokens + " > 0", legend=legend(TOKEN_TYPE)),),
        width=width,
    )


def per_priced_call(
    scope: Scope, cost: str, labels: tuple[str, ...] = (), *, window: str = RANGE
) -> str:
    """USD of `cost` per call that has a price, by labels."""
    calls = scope.fleet_sum(labels, semconv.METRIC_CALLS, window=window)
    unpriced = scope.fleet_sum(labels, semconv.METRIC_UNPRICED_CALLS, window=window)
    return f"{cost} / (({calls} - ({queries.or_zero(unpriced, calls)})) > 0)"


def without_price(scope: Scope, window: str = RANGE) -> str:
    """The share of the calls that add nothing to the cost."""
    return queries.share(
        scope.fleet_counted(semconv.METRIC_UNPRICED_CALLS, window=window),
        scope.fleet_counted(semconv.METRIC_CALLS, window=window),
    )


def guard_quantile(
    scope: Scope,
    fraction: float,
    labels: tuple[str, ...],
    *,
    window: str = "$__rate_interval",
    exemplars: bool = False,
) -> str:
    """Seconds within which a guard gave `fraction` (0..1) of its answers."""
    duration = semconv.METRIC_GUARD_DURATION
    buckets = scope.fleet_buckets(("le", *labels), duration, window=window)
    if exemplars:
        buckets = scope.with_exemplars(buckets, duration)
    return f"histogram_quantile({fraction}, {buckets})"


def read_records(panel: Panel) -> Panel:
    """A panel from the rules' records says so, and has its points as far apart as they are.

    A 0 for what was never counted may stand on a record, and a table's second column: neither
    makes a number less exact.
    """
    if not panel.targets or RECORDS not in re.split(r" or \(?0 \* ", panel.targets[0].expr)[0]:
        return panel
    # Bars a minute apart are noise.
    interval = WINDOWS[-1] if panel.kind == "bars" else RECORDS
    return replace(panel, description=f"{panel.description} {FROM_RECORDS}", interval=interval)
