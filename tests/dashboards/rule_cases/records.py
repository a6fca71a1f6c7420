"""The recorded series and the values they must have."""

from __future__ import annotations

from dashboards.builder.rules import alert_model, forecast_records
from otel_budget import semconv as sc
from rule_cases.case import (
    COST,
    DAY,
    MONTH,
    UTIL,
    Labels,
    RecordCase,
    budget,
    decision,
    prom,
    series,
    window,
)

_TWO = {**window(DAY, "40x90", "64800x90"), series(sc.METRIC_CONSUMED, DAY, instance="b"): "30x90"}
_NOTHING = {decision(sc.ALLOW): "1x90"}


def _forecast(name: str, series: dict[str, str], at: str, state: str) -> RecordCase:
    labels = {**prom(DAY), forecast_records.STATE: state}
    return RecordCase(
        record=alert_model.FORECAST, name=name, series=series, at=at, values=((labels, 1),)
    )


def _over_midnight(attributes: Labels = DAY) -> dict[str, str]:
    """Midnight is at 18 minutes; one process falls silent a minute before, the other goes on."""
    return {
        series(sc.METRIC_CONSUMED, attributes): "60x17",
        series(sc.METRIC_LIMIT, attributes): "90x17",
        series(sc.METRIC_UTILIZATION, attributes): "0.75x17",
        series(sc.METRIC_WINDOW_REMAINING, attributes): "1080-60x17",
        series(sc.METRIC_CONSUMED, attributes, instance="b"): "60x17 1x60",
        series(sc.METRIC_LIMIT, attributes, instance="b"): "100x90",
        series(sc.METRIC_UTILIZATION, attributes, instance="b"): "0.6x17 0.01x60",
        series(sc.METRIC_WINDOW_REMAINING, attributes, instance="b"): "1080-60x17 86400-60x60",
    }


#: Two services with guards of their own, whose budgets are called the same.
_OWN = budget(shared="")
_SERVICES = {
    **window(_OWN, "72x90", "64800x90"),
    **{
        name.replace('job="agents"', 'job="other"'): values
        for name, values in window(_OWN, "24x90", "64800x90", limit=100_000).items()
    },
}
_AGENTS, _OTHER = ({**prom(_OWN), "job": job} for job in ("agents", "other"))
#: A day in which a hundredth of the limit goes a minute from the thirtieth on.
_RUNAWAY = window(DAY, "10x30 10+1x90", "64800x120")
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
        record=alert_model.WITH_RESERVED,
        name="a quarter used and an eighth held, more in another process",
        series={
            **window(DAY, "20x60", "64800x60"),
            series(sc.METRIC_RESERVED, DAY): "5x60",
            **{
                name.replace('instance="a"', 'instance="b"'): values
                for name, values in window(DAY, "25x60", "64800x60").items()
            },
            series(sc.METRIC_RESERVED, DAY, instance="b"): "12.5x60",
        },
        at="20m",
        values=((prom(DAY), 0.375),),
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
    *(
        RecordCase(
            record=record,
            name="a process fell silent before the reset",
            series=_over_midnight(),
            at="20m",
            values=((prom(DAY), value),),
        )
        for record, value in (
            (alert_model.CONSUMED, 1),
            (alert_model.LIMIT, 100),
            (alert_model.UTILIZATION, 0.01),
        )
    ),
    *(
        RecordCase(
            record=record,
            name="two services with budgets of one name",
            series=_SERVICES,
            at="20m",
            values=((_AGENTS, agents), (_OTHER, other)),
        )
        for record, agents, other in (
            (alert_model.LIMIT, 100, 100_000),
            (alert_model.CONSUMED, 72, 24),
            (alert_model.EXHAUSTION, 8400, 21600 * 99_976 / 24),
        )
    ),
    RecordCase(
        record=alert_model.EMPTYING,
        name="ten hundredths in ten minutes",
        series=_RUNAWAY,
        at="75m",
        # 50 of 100 four minutes ago, at one a minute.
        values=((prom(DAY), 60 * 50),),
    ),
    RecordCase(
        record=alert_model.EMPTYING, name="calm before it", series=_RUNAWAY, at="25m", values=()
    ),
    RecordCase(
        record=alert_model.EXHAUSTION,
        name="emptied in minutes",
        series=_RUNAWAY,
        at="75m",
        values=((prom(DAY), 60 * 50),),
    ),
    RecordCase(
        record=alert_model.EXHAUSTION,
        name="too early in its window",
        series=window(DAY, "40x60", "82800x60"),
        at="20m",
    ),
    RecordCase(
        record=alert_model.EXHAUSTION,
        name="exhausted early in its window",
        series=window(DAY, "100x60", "82800x60"),
        at="20m",
        values=((prom(DAY), 0),),
    ),
    _forecast("spent", window(DAY, "100x60", "82800x60"), "20m", forecast_records.EXHAUSTED),
    _forecast("a runaway", _RUNAWAY, "75m", forecast_records.EMPTIED),
    _forecast("40 in six hours", _TWO, "20m", forecast_records.RUNS_OUT),
    _forecast("20 in six hours", window(DAY, "20x60", "64800x60"), "20m", forecast_records.LASTS),
    _forecast("idle", window(DAY, "0x60", "64800x60"), "20m", forecast_records.UNUSED),
    _forecast("too early", window(DAY, "40x60", "82800x60"), "20m", forecast_records.TOO_EARLY),
    RecordCase(record=alert_model.FORECAST, name="nothing is told", series=_NOTHING, at="20m"),
    RecordCase(
        record=alert_model.EXHAUSTION,
        name="nothing is consumed, so there is no pace",
        series=window(DAY, "0x60", "64800x60"),
        at="20m",
    ),
    RecordCase(
        record=alert_model.EXHAUSTED_SINCE,
        name="exhausted at 21 minutes, settled at 25, and not told for twenty",
        series=window(DAY, "90x20 100x14 _x20 100x60", "64800x35 _x20 64800x60"),
        at="65m",
        values=((prom(DAY), 1500),),
    ),
    RecordCase(
        record=alert_model.EXHAUSTED_SINCE,
        name="exhausted in the window before, and in the new one at once",
        series=window(DAY, "100x60", "600-60x10 86400-60x60"),
        at="40m",
        values=((prom(DAY), 700),),
    ),
    RecordCase(
        record=alert_model.EXHAUSTED_SINCE,
        name="a raised limit",
        series=window(DAY, "100x20 90x60", "64800x90"),
        at="40m",
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
            alert_model.WITH_RESERVED,
            alert_model.LIMIT,
            alert_model.WINDOW_LENGTH,
            alert_model.WINDOW_REMAINING,
            alert_model.CONSUMED,
            alert_model.COST_1H,
        )
    ),
)
