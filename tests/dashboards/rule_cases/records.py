"""The recorded series and the values they must have."""

from __future__ import annotations

from dashboards.builder.rules import alert_model
from otel_budget import semconv as sc
from rule_cases.case import COST, DAY, DOWN, MONTH, UTIL, RecordCase, decision, prom, series, window

_TWO = {**window(DAY, "40x90", "64800x90"), series(sc.METRIC_CONSUMED, DAY, instance="b"): "30x90"}
_NOTHING = {decision(sc.ALLOW): "1x90"}
RECORDS = (
    RecordCase(
        record=alert_model.UTILIZATION,
        name="the fullest of two processes, each window by itself",
        series={
            UTIL: "0.25x60",
            series(sc.METRIC_UTILIZATION, DAY, instance="b"): "0.5x60",
            series(sc.METRIC_UTILIZATION, MONTH): "0.125x60",
        },
        at="20m",
        values=((prom(DAY), 0.5), (prom(MONTH), 0.125)),
    ),
    RecordCase(
        record=alert_model.LIMIT, name="limit", series=_TWO, at="20m", values=((prom(DAY), 100),)
    ),
    RecordCase(
        record=alert_model.WINDOW_LENGTH,
        name="window length",
        series=_TWO,
        at="20m",
        values=((prom(DAY), 86400),),
    ),
    RecordCase(
        record=alert_model.WINDOW_REMAINING,
        name="an idle process still tells the old window",
        series={
            series(sc.METRIC_WINDOW_REMAINING, DAY): "60x60",
            series(sc.METRIC_WINDOW_REMAINING, DAY, instance="b"): "86000x60",
        },
        at="20m",
        values=((prom(DAY), 86000),),
    ),
    RecordCase(
        record=alert_model.CONSUMED,
        name="without the reservations, the fuller of two processes",
        series={
            series(sc.METRIC_CONSUMED, DAY): "40 90 " * 40,
            series(sc.METRIC_CONSUMED, DAY, instance="b"): "30x60",
        },
        at="20m",
        values=((prom(DAY), 40),),
    ),
    RecordCase(
        record=alert_model.EXHAUSTION,
        name="60 left at 40 in six hours",
        series=_TWO,
        at="20m",
        values=((prom(DAY), 32400),),
    ),
    RecordCase(
        record=alert_model.EXHAUSTION,
        name="nothing is consumed, so there is no pace",
        series=window(DAY, "0x60", "64800x60"),
        at="20m",
    ),
    *(
        case
        for name, seconds in alert_model.BURN_WINDOWS.items()
        for case in (
            RecordCase(
                record=alert_model.burn(name),
                name=f"twice the even pace for {name}",
                # 0.25 a minute of 180 in a day is twice the even pace.
                series=window(DAY, "0+0.25x500", f"80000{DOWN}", limit=180),
                at=f"{seconds // 60 + 20}m",
                values=((prom(DAY), 2),),
            ),
            RecordCase(
                record=alert_model.burn(name),
                name="seen for too short a time",
                series=window(DAY, "0+0.25x500", f"80000{DOWN}", limit=180),
                at=f"{seconds // 60 - 2}m",
            ),
        )
    ),
    RecordCase(
        record=alert_model.COST_1H,
        name="three one-shot jobs and a restart, to the cent",
        series={
            series(sc.METRIC_COST, COST, instance="job1"): "_x20 0.75 _x100",
            series(sc.METRIC_COST, COST, instance="job2"): "_x40 0.75 _x100",
            series(sc.METRIC_COST, COST, instance="job3"): "_x60 0.75x2 _x100",
            series(sc.METRIC_COST, COST, instance="old"): "8x40 8.5x10 _x100",
            series(sc.METRIC_COST, COST, instance="new"): "_x55 0+0.25x4 1x100",
        },
        at="75m",
        values=((prom({sc.TENANT: "acme"}), 3.75),),
    ),
    *(
        RecordCase(record=record, name="nothing is told", series=_NOTHING, at="20m")
        for record in (
            alert_model.UTILIZATION,
            alert_model.LIMIT,
            alert_model.WINDOW_LENGTH,
            alert_model.WINDOW_REMAINING,
            alert_model.CONSUMED,
            alert_model.COST_1H,
        )
    ),
)
