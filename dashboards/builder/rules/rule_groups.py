"""All rules: the groups, and the recorded series that alerts build on."""

from __future__ import annotations

from dashboards.builder import queries
from dashboards.builder.labels import JOB
from dashboards.builder.rules import fleet_records
from dashboards.builder.rules.alert_model import (
    CONSUMED,
    EXPECTED,
    LIMIT,
    UTILIZATION,
    WINDOW_LENGTH,
    WINDOW_REMAINING,
    WITH_RESERVED,
    Group,
    Record,
)
from dashboards.builder.rules.forecast_records import forecast
from dashboards.builder.rules.health_alerts import guard, telemetry
from dashboards.builder.rules.ledger_alerts import ledger
from dashboards.builder.rules.ledger_records import ledgers
from dashboards.builder.rules.limit_alerts import limits, refused_held
from dashboards.builder.rules.pace_records import paces
from dashboards.builder.rules.pipeline_alerts import pipeline
from dashboards.builder.rules.spend_alerts import spend
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv
from otel_budget.metric import Metric


def groups(thresholds: Thresholds, names: queries.Names) -> tuple[Group, ...]:
    """All rule groups.

    Args:
        thresholds: The numbers of `dashboards/thresholds.toml`.
        names: How the backend names the metrics.
    """
    return (
        Group(
            "llm-budget-records",
            [*_records(thresholds, names), *paces(names), refused_held(thresholds, names)],
        ),
        Group("llm-budget-limits", limits(thresholds, names)),
        Group("llm-budget-spend", spend(thresholds)),
        Group("llm-budget-guard", guard(thresholds, names)),
        Group("llm-budget-telemetry", telemetry(thresholds, names)),
        Group("llm-budget-pipeline", pipeline(thresholds)),
        # They look back a day: once a minute is often enough, and says enough.
        Group("llm-budget-ledgers", [*ledgers(names), *ledger(thresholds, names)], interval="1m"),
        *fleet_records.groups(names),
    )


def _gauge(names: queries.Names, metric: Metric) -> str:
    remaining = queries.selector(names.of(semconv.METRIC_WINDOW_REMAINING))
    gauge = queries.selector(names.of(metric), queries.NOT_CANARY)
    return queries.level(queries.running(gauge, remaining))


def _records(thresholds: Thresholds, names: queries.Names) -> list[Record]:
    consumed, remaining = (
        queries.selector(names.of(metric), queries.NOT_CANARY)
        for metric in (semconv.METRIC_CONSUMED, semconv.METRIC_WINDOW_REMAINING)
    )
    records = [
        Record(
            record=UTILIZATION,
            expr=_gauge(names, semconv.METRIC_UTILIZATION),
            because="Several processes report the level of one budget: the fullest counts, of\n"
            "those whose window still runs. Services have budgets of their own unless the guard\n"
            "says that they share one.",
        ),
        Record(
            record=WITH_RESERVED,
            expr=_with_reserved(names),
            because="As above, with what is held for calls in progress, of guards that reserve.",
        ),
        Record(
            record=LIMIT,
            expr=_gauge(names, semconv.METRIC_LIMIT),
            because="As above. A budget without a limit has no utilization, so no alert fires.",
        ),
        Record(
            record=WINDOW_LENGTH,
            expr=_gauge(names, semconv.METRIC_WINDOW_LENGTH),
            because="As above.",
        ),
        Record(
            record=WINDOW_REMAINING,
            expr=queries.level(queries.time_left(remaining)),
            because="As above, as of now. The largest: after a reset the new window counts.",
        ),
        Record(
            record=CONSUMED,
            expr=queries.level(queries.running(f"min_over_time({consumed}[5m])", remaining)),
            because="The minimum of five minutes: a guard that reserves before a call and\n"
            "settles after it shows spikes that were never spent.",
        ),
        *forecast(thresholds),
    ]
    records += [
        Record(
            record=EXPECTED,
            expr="vector(1)",
            labels=((JOB, service),),
            because="A service whose silence raises an alert (expected_services).",
        )
        for service in thresholds.expected_services
    ]
    return records


def _with_reserved(names: queries.Names) -> str:
    consumed, reserved, limit, remaining = (
        queries.selector(names.of(metric), queries.CAP, queries.NOT_CANARY)
        for metric in (
            semconv.METRIC_CONSUMED,
            semconv.METRIC_RESERVED,
            semconv.METRIC_LIMIT,
            semconv.METRIC_WINDOW_REMAINING,
        )
    )
    return queries.level(queries.running(f"(({consumed} + {reserved}) / {limit})", remaining))
