"""What all processes together counted, recorded once a minute and once in five, without instances.

A panel over a day would otherwise read every series of every process that lived in it. A record
reads them once, exactly as a panel would (`Names.total`), and has a few labels instead of each
process's own. What arrives after a record was made is missing in it: an outage that a queue repairs
later is missing whole. So spend is always asked exactly, and the last day's is counted once more
every half hour: what the records lack of it is a stat of the health board.
"""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import (
    AGENT,
    ENVIRONMENT,
    GUARD,
    JOB,
    POINT,
    PRINCIPAL,
    TENANT,
    label,
)
from dashboards.builder.rules.alert_model import Group, Record
from otel_budget import semconv
from otel_budget.metric import Metric

#: How much time each record covers; it is made as often.
WINDOWS: Final = ("1m", "5m")
#: How long after its time a record is made: exports and queues take a while.
BEHIND: Final = "2m"
#: The time over which the records are compared with what was counted, and how often: this reads
#: every process that lived in it.
COMPARED: Final = "1d"
_COMPARED_EVERY: Final = "30m"
#: Later than the records themselves, so that the last of them is there.
_COMPARED_BEHIND: Final = "4m"
COUNTED: Final = (
    semconv.METRIC_DECISIONS,
    semconv.METRIC_THRESHOLD_HITS,
    semconv.METRIC_TOKENS,
    semconv.METRIC_COST,
    semconv.METRIC_CALLS,
    semconv.METRIC_UNPRICED_CALLS,
    semconv.METRIC_ESTIMATED_TOKENS,
)
_WHO: Final = (ENVIRONMENT, JOB, TENANT, AGENT, PRINCIPAL)


def total(metric: Metric, window: str) -> str:
    """The record of what a counter counted in `window`."""
    return f"llm_budget:{_noun(metric)}:total{window}"


def bucket_total(metric: Metric, window: str) -> str:
    """The record of what a histogram's buckets counted in `window`."""
    return f"llm_budget:{_noun(metric)}_bucket:total{window}"


def recorded(metric: Metric) -> str:
    """The record of what those of a minute hold of the time that is compared."""
    return f"llm_budget:{_noun(metric)}:recorded{COMPARED}"


def last(metric: Metric, window: str) -> str:
    """The record of when (Unix time) a metric last had a sample."""
    return f"llm_budget:{_noun(metric)}:last{window}"


def labels(metric: Metric) -> tuple[str, ...]:
    """The labels that records of the metric have."""
    return (*_WHO, *(label(attribute) for attribute in metric.attributes))


def groups(names: queries.Names) -> tuple[Group, ...]:
    """A group for each window: apart from the alerts, which must not wait for them."""
    return (
        *(
            Group(f"llm-budget-fleet-{window}", _records(names, window), window, BEHIND)
            for window in WINDOWS
        ),
        Group(f"llm-budget-fleet-{COMPARED}", _compared(names), _COMPARED_EVERY, _COMPARED_BEHIND),
    )


def _compared(names: queries.Names) -> list[Record]:
    cost = semconv.METRIC_COST
    fine = f"sum_over_time({total(cost, WINDOWS[0])}[{COMPARED}])"
    return [
        Record(
            record=total(cost, COMPARED),
            expr=_counted(names, cost, COMPARED),
            because="The last day's spend with what arrived late, for the stat of what the records "
            "lack.",
        ),
        Record(
            record=recorded(cost),
            expr=queries.by("sum", labels(cost), fine),
            because="What the records of a minute hold of the same day.",
        ),
    ]


def _counted(
    names: queries.Names,
    metric: Metric,
    window: str,
    kept: tuple[str, ...] = (),
    part: str = "",
) -> str:
    series = queries.selector(names.of(metric, part))
    return queries.by("sum", kept or labels(metric), names.total(series, window))


def _records(names: queries.Names, window: str) -> list[Record]:
    decisions, duration = semconv.METRIC_DECISIONS, semconv.METRIC_GUARD_DURATION
    stamps = f"timestamp({queries.selector(names.of(decisions))})"
    return [
        *(
            Record(
                record=total(metric, window),
                expr=_counted(names, metric, window),
                because=f"What all processes counted in {window}, exactly.",
            )
            for metric in COUNTED
        ),
        Record(
            record=bucket_total(duration, window),
            expr=_counted(
                names, duration, window, ("le", ENVIRONMENT, JOB, GUARD, POINT), "_bucket"
            ),
            because=f"The guard's answers of {window} by the time taken.",
        ),
        Record(
            record=last(decisions, window),
            expr=queries.by("max", _WHO, stamps),
            because="When each service was last heard of.",
        ),
    ]


def _noun(metric: Metric) -> str:
    return metric.name.removeprefix("budget.").replace(".", "_")
