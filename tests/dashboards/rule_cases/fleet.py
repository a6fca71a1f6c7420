"""What is recorded of all processes together, and the values it must have."""

from __future__ import annotations

from typing import Final

from dashboards.builder.rules import fleet_records
from otel_budget import semconv as sc
from otel_budget.metric import Metric
from rule_cases.case import ACME, SERVICE, UTIL, RecordCase, decision, prom, series

_SECONDS: Final = {"1m": 60, "5m": 300}
#: One sample a minute of each: a process that goes on, and one that lives for a minute.
_EACH: Final = 3
_JOB: Final = 40


def _attributes(metric: Metric) -> dict[str, str]:
    return {**ACME, **dict.fromkeys(metric.attributes, "x")}


def _counted(metric: Metric, window: str) -> RecordCase:
    attributes = _attributes(metric)
    kim = {**attributes, sc.PRINCIPAL: "kim"}
    minutes = _SECONDS[window] // 60
    return RecordCase(
        record=fleet_records.total(metric, window),
        name=f"two processes and a job of one minute in {window}",
        # The record of 20m50s is of 18m50s: the job's only sample is the last before it.
        series={
            series(metric, attributes, instance="a"): f"7+{_EACH}x60",
            series(metric, attributes, instance="b"): f"0+{_EACH}x60",
            series(metric, attributes, instance="job"): f"_x18 {_JOB} _x60",
            series(metric, kim, instance="a"): "1+1x60",
        },
        at="20m50s",
        values=(
            (SERVICE | prom(attributes), 2 * _EACH * minutes + _JOB),
            (SERVICE | prom(kim), minutes),
        ),
    )


def _others(window: str) -> tuple[RecordCase, ...]:
    minutes = _SECONDS[window] // 60
    duration = sc.METRIC_GUARD_DURATION
    told = {sc.DECISION_POINT: sc.POINT_LLM, sc.GUARD_NAME: "RedisGuard"}
    buckets = {
        series(duration, told | {sc.DECISION: outcome}, part="_bucket", le="0.1"): "0+2x60"
        for outcome in (sc.ALLOW, sc.DENY)
    }
    return (
        RecordCase(
            record=fleet_records.bucket_total(duration, window),
            name=f"the answers of both outcomes in {window}",
            series=buckets,
            at="20m50s",
            values=((SERVICE | prom(told) | {"le": "0.1"}, 2 * 2 * minutes),),
        ),
        RecordCase(
            record=fleet_records.last(sc.METRIC_DECISIONS, window),
            name=f"the youngest of two processes, {window}",
            series={
                decision(sc.ALLOW): "1x60",
                decision(sc.DENY, instance="b"): "1x5",
            },
            at="20m50s",
            values=((SERVICE | prom(ACME), 18 * 60),),
        ),
    )


def _compared() -> tuple[RecordCase, ...]:
    """The records of 20m50s are of 16m50s."""
    attributes = _attributes(sc.METRIC_COST)
    labels = SERVICE | prom(attributes)
    fine = fleet_records.total(sc.METRIC_COST, fleet_records.WINDOWS[0])
    told = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return (
        RecordCase(
            record=fleet_records.total(sc.METRIC_COST, fleet_records.COMPARED),
            name="the whole of two processes and a job, not more than a day old",
            series={
                series(sc.METRIC_COST, attributes, instance="a"): f"7+{_EACH}x60",
                series(sc.METRIC_COST, attributes, instance="b"): f"0+{_EACH}x60",
                series(sc.METRIC_COST, attributes, instance="job"): f"_x10 {_JOB} _x60",
            },
            at="20m50s",
            values=((labels, 7 + 2 * 16 * _EACH + _JOB),),
        ),
        RecordCase(
            record=fleet_records.recorded(sc.METRIC_COST),
            name="records of 17 minutes",
            series={f"{fine}{{{told}}}": "2x60"},
            at="20m50s",
            values=((labels, 2 * 17),),
        ),
    )


_TOLD: Final = (
    *(
        case
        for window in fleet_records.WINDOWS
        for case in (
            *(_counted(metric, window) for metric in fleet_records.COUNTED),
            *_others(window),
        )
    ),
    *_compared(),
)
FLEET_RECORDS: Final = (
    *_TOLD,
    *(
        RecordCase(record=case.record, name="nothing is counted", series={UTIL: "1x60"}, at="20m")
        for case in _TOLD
    ),
)
