"""What all processes together counted, recorded once a minute and once in five, without instances.

A panel over a day would otherwise read every series of every process that lived in it. A record
reads them once, exactly as a panel would (`Names.total`), and has a few labels instead of each
process's own. What arrives after a record was made is missing in it: an outage that a queue repairs
later is missing whole. So spend is always asked exactly, and the health board has a stat that says
how much the records lack.
"""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import AGENT, ENVIRONMENT, GUARD, JOB, POINT, TENANT, label
from dashboards.builder.rules.alert_model import Group, Record
from otel_budget import semconv
from otel_budget.metric import Metric

#: How much time each record covers; it is made as often.
WINDOWS: Final = ("1m", "5m")
#: How long after its time a record is made: exports and queues take a while.
BEHIND: Final = "2m"
COUNTED: Final = (
    semconv.METRIC_DECISIONS,
    semconv.METRIC_THRESHOLD_HITS,
    semconv.METRIC_TOKENS,
    semconv.METRIC_COST,
    semconv.METRIC_CALLS,
    semconv.METRIC_UNPRICED_CALLS,
    semconv.METRIC_ESTIMATED_TOKENS,
)
_WHO: Final = (ENVIRONMENT, JOB, TENANT, AGENT)


def total(metric: Metric, window: str) -> str:
    """The record of what a counter counted in `window`."""
    return f"llm_budget:{_noun(metric)}:total{window}"


def bucket_total(metric: Metric, window: str) -> str:
    """The record of what a histogram's buckets counted in `window`."""
    return f"llm_budget:{_noun(metric)}_bucket:total{window}"


def last(metric: Metric, window: str) -> str:
    """The record of when (Unix time) a metric last had a sample."""
    return f"llm_budget:{_noun(metric)}:last{window}"


def labels(metric: Metric) -> tuple[str, ...]:
    """The labels that records of the metric have."""
    return (*_WHO, *(label(attribute) for attribute in metric.attributes))


def groups(names: queries.Names) -> tuple[Group, ...]:
    """A group for each window: apart from the alerts, which must not wait for them."""
    return tuple(
        Group(f"llm-budget-fleet-{window}", _records(names, window), window, BEHIND)
        for window in WINDOWS
    )


def _records(names: queries.Names, window: str) -> list[Record]:
    def counted(metric: Metric, kept: tuple[str, ...], part: str = "") -> str:
        series = queries.selector(names.of(metric, part))
        return queries.by("sum", kept, names.total(series, window))

    decisions, duration = semconv.METRIC_DECISIONS, semconv.METRIC_GUARD_DURATION
    stamps = f"timestamp({queries.selector(names.of(decisions))})"
    return [
        *(
            Record(
                record=total(metric, window),
                expr=counted(metric, labels(metric)),
                because=f"What all processes counted in {window}, exactly.",
            )
            for metric in COUNTED
        ),
        Record(
            record=bucket_total(duration, window),
            expr=counted(duration, ("le", ENVIRONMENT, JOB, GUARD, POINT), "_bucket"),
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
