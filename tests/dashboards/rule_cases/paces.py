"""The records of held levels, of what was spent in each time, and of what is usual."""

from __future__ import annotations

from dashboards.builder.rules import alert_model as model
from dashboards.builder.rules import pace_records
from otel_budget import semconv as sc
from rule_cases.case import COST, DAY, RecordCase, budget, decision, prom, series, window

_NOTHING = {decision(sc.ALLOW): "1x90"}
_SOFT = window(budget(source=sc.SOURCE_SOFT_LIMIT), "40x60", "64800x60")
_HELD = (model.CONSUMED_HELD, model.LIMIT_HELD, model.WINDOW_END_HELD)
_MINUTES = {"10m": 10, "30m": 30, "1h": 60, "2h": 120, "6h": 360, "3d": 4320}
_DAY = 1440


def _once() -> dict[str, str]:
    """Told once, at ten minutes, of a window that ends at 190."""
    told = {
        sc.METRIC_CONSUMED: 5,
        sc.METRIC_LIMIT: 100,
        sc.METRIC_WINDOW_LENGTH: 86400,
        sc.METRIC_WINDOW_REMAINING: 10800,
    }
    return {series(metric, DAY): f"_x10 {value} _x300" for metric, value in told.items()}


def _bursts(*most: float) -> tuple[str, str]:
    """A counter that rises once each day, at noon, by so much; and the time left of each day."""
    risen, left = [], []
    for each in most:
        risen.append(f"0x{_DAY // 2 - 1} {each}x{_DAY // 2 - 1}")
        left.append(f"86400-60x{_DAY - 1}")
    return " ".join(risen), " ".join(left)


_WEEK = _bursts(10, 20, 90, 30, 30, 30, 30, 0)
_WEEK_OF_COST = "0x719 " + " ".join(f"{at}x1439" for at in (10, 30, 120, 150, 180, 210, 240, 240))
#: 0.834 of the way from the first to the seventh: at the sixth, and a little towards the seventh.
_PAST = 0.834 * 6 - 5
_SECOND = 30 * (1 - _PAST) + 90 * _PAST
PACE_RECORDS = (
    *(
        RecordCase(
            record=record,
            name="told once, then held",
            series=_once(),
            at="150m",
            values=((prom(DAY), value),),
        )
        for record, value in zip(_HELD, (5, 100, 190 * 60), strict=True)
    ),
    *(
        RecordCase(
            record=record,
            name="held until its window ends",
            series=_once(),
            at="195m",
        )
        for record in _HELD
    ),
    *(
        RecordCase(record=record, name="a soft limit is no cap", series=_SOFT, at="20m")
        for record in _HELD
    ),
    *(
        case
        for name in pace_records.WINDOWS
        for minutes in (_MINUTES[name],)
        for case in (
            RecordCase(
                record=model.grown(name),
                name=f"one a minute for {name}",
                series=window(DAY, "0+1x5000", "900000-60x5000", limit=10_000),
                at=f"{minutes + 40}m",
                every="2m",
                values=((prom(DAY), minutes),),
            ),
            RecordCase(
                record=model.grown(name),
                name="nothing is told",
                series=_NOTHING,
                at="20m",
            ),
        )
    ),
    *(
        RecordCase(
            record=model.grown("1h"),
            name=name,
            series=told,
            at="120m",
            every="1m",
            values=((prom(DAY), value),),
        )
        # The lower of the last two minutes is told: a minute's worth less.
        for name, told, value in (
            (
                "its window was reset within the hour",
                window(DAY, "60x90 0+0.5x90", "5400-60x90 86400-60x90"),
                14,
            ),
            (
                "first seen with much consumed",
                window(DAY, "_x100 80 80+1x90", "_x100 64800-60x90"),
                18,
            ),
            (
                "silent for an hour, then told again",
                window(DAY, "0+1x20 _x79 20+1x90", "64800-60x20 _x79 58800-60x90"),
                19,
            ),
            ("a window that moves along", window(DAY, "40x200", "86400x200"), 0),
            ("reservations that are settled", window(DAY, "10 45 10 60 " * 60, "80000-60x240"), 0),
        )
    ),
    *(
        case
        for name in pace_records.USUAL_WINDOWS
        for case in (
            RecordCase(
                record=model.highest(name),
                name="the most of today so far",
                series=window(DAY, _WEEK[0], _WEEK[1]),
                at="2d20h",
                every="4m",
                values=((prom(DAY), 90),),
            ),
            RecordCase(
                record=model.highest(name), name="nothing is told", series=_NOTHING, at="20m"
            ),
            RecordCase(
                record=model.usual(name),
                name="the second largest of seven days'",
                series=window(DAY, _WEEK[0], _WEEK[1]),
                at="7d12h",
                every="4m",
                values=((prom(DAY), _SECOND),),
            ),
            RecordCase(
                record=model.usual(name),
                name="no day has passed",
                series=window(DAY, _WEEK[0], _WEEK[1]),
                at="20h",
                every="4m",
            ),
        )
    ),
    RecordCase(
        record=model.COST_HIGHEST,
        name="the dearest hour of today so far",
        series={series(sc.METRIC_COST, COST): _WEEK_OF_COST},
        at="2d20h",
        every="4m",
        values=((prom({sc.TENANT: "acme"}), 90),),
    ),
    RecordCase(
        record=model.COST_USUAL,
        name="the second largest of seven days' dearest hours",
        series={series(sc.METRIC_COST, COST): _WEEK_OF_COST},
        at="7d12h",
        every="4m",
        values=((prom({sc.TENANT: "acme"}), _SECOND),),
    ),
    *(
        RecordCase(record=record, name="nothing is told", series=_NOTHING, at="20m")
        for record in (model.COST_HIGHEST, model.COST_USUAL)
    ),
)
