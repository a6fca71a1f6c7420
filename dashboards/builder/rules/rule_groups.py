"""All rules: the groups, and the recorded series that alerts build on."""

from __future__ import annotations

from dashboards.builder import queries
from dashboards.builder.labels import ENVIRONMENT, JOB, TENANT
from dashboards.builder.rules import fleet_records
from dashboards.builder.rules.alert_model import (
    BURN_WINDOWS,
    CONSUMED,
    COST_1H,
    EXPECTED,
    LIMIT,
    UTILIZATION,
    WINDOW_LENGTH,
    WINDOW_REMAINING,
    Group,
    Record,
    burn,
)
from dashboards.builder.rules.budget_alerts import limits, spend
from dashboards.builder.rules.forecast_records import forecast
from dashboards.builder.rules.health_alerts import guard, telemetry
from dashboards.builder.rules.ledger_alerts import ledger
from dashboards.builder.rules.ledger_records import ledgers
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
        Group("llm-budget-records", _records(thresholds, names)),
        Group("llm-budget-limits", limits(thresholds, names)),
        Group("llm-budget-spend", spend(thresholds, names)),
        Group("llm-budget-guard", guard(thresholds, names)),
        Group("llm-budget-telemetry", telemetry(thresholds, names)),
        # They look back a day: once a minute is often enough, and says enough.
        Group("llm-budget-ledgers", [*ledgers(names), *ledger(thresholds, names)], interval="1m"),
        *fleet_records.groups(names),
    )


def _gauge(names: queries.Names, metric: Metric) -> str:
    remaining = queries.selector(names.of(semconv.METRIC_WINDOW_REMAINING))
    return queries.level(queries.running(queries.selector(names.of(metric)), remaining))


def _grown(window: str) -> str:
    """How much of a budget was consumed in `window`, even if it was reset in between."""
    reset = f"({WINDOW_REMAINING} > {WINDOW_REMAINING} offset {window})"
    return (
        f"((({CONSUMED} - {CONSUMED} offset {window}) unless {reset}) or ({CONSUMED} and {reset}))"
    )


def _records(thresholds: Thresholds, names: queries.Names) -> list[Record]:
    consumed, remaining = (
        queries.selector(names.of(metric))
        for metric in (semconv.METRIC_CONSUMED, semconv.METRIC_WINDOW_REMAINING)
    )
    cost = names.total(queries.selector(names.of(semconv.METRIC_COST)), "1h")
    records = [
        Record(
            record=UTILIZATION,
            expr=_gauge(names, semconv.METRIC_UTILIZATION),
            because="Several processes report the level of one budget: the fullest counts, of\n"
            "those whose window still runs. Services have budgets of their own unless the guard\n"
            "says that they share one.",
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
            record=burn(window),
            expr=f"{_grown(window)} / {LIMIT} * {WINDOW_LENGTH} / {seconds}",
            because=f"Pace of the last {window}: at 1 the limit lasts exactly for the window.\n"
            "What was there before the first sample was not spent now, and a reset is no refund.",
        )
        for window, seconds in BURN_WINDOWS.items()
    ]
    records.append(
        Record(
            record=COST_1H,
            expr=queries.by("sum", (ENVIRONMENT, TENANT), cost),
            because="USD of the last hour, including jobs that started and ended in it.",
        )
    )
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
