"""The alerts of pace: emptying, burning, running out, far above the usual."""

from __future__ import annotations

from collections.abc import Mapping

from dashboards.builder.rules import alert_model as model
from otel_budget import semconv as sc
from rule_cases.case import (
    BUDGET_TEXT,
    DAY,
    DOWN,
    MONTH,
    Case,
    Fired,
    Labels,
    budget,
    prom,
    series,
    window,
)

_MONTH_LENGTH = 30 * 86400
_MONTH_TEXT = "Tenant acme: llm_cost_usd (month)"
#: Only the alerts run: what they read is given.
_ALERTS = ("llm-budget-spend",)
_HOUR, _DAY = 3600, 86400
Spent = Mapping[str, str | float]


def _recorded(
    spent: Spent,
    usual: Spent | None = None,
    *,
    used: float = 40,
    attributes: Labels = DAY,
    length: int = _DAY,
    remaining: int = 12 * _HOUR,
    exhaustion: int | None = None,
) -> dict[str, str]:
    """The records of a budget of 100, for three hours, with what was spent in each time."""
    labels = ",".join(f'{name}="{value}"' for name, value in prom(attributes).items())
    values: dict[str, str | float] = {
        model.LIMIT: 100,
        model.CONSUMED_HELD: used,
        model.WINDOW_LENGTH: length,
        model.WINDOW_END_HELD: remaining + 3 * _HOUR,
        **{model.grown(time): value for time, value in spent.items()},
        **{model.usual(time): value for time, value in (usual or {}).items()},
        **({} if exhaustion is None else {model.EXHAUSTION: exhaustion}),
    }
    return {
        f"{name}{{{labels}}}": value if isinstance(value, str) else f"{value}x180"
        for name, value in values.items()
    }


def _day(
    name: str, spent: Spent, usual: Spent | None = None, used: float = 40
) -> dict[str, object]:
    return {"name": name, "series": _recorded(spent, usual, used=used), "groups": _ALERTS}


def _month(
    name: str, spent: Spent, usual: Spent | None = None, used: float = 40
) -> dict[str, object]:
    days = 20 * _DAY
    series = _recorded(
        spent, usual, used=used, attributes=MONTH, length=_MONTH_LENGTH, remaining=days
    )
    return {"name": name, "series": series, "groups": _ALERTS}


def _emptied(value: float) -> Fired:
    return Fired(
        labels=prom(DAY),
        value=value,
        summary=f"{BUDGET_TEXT} is being emptied, {100 * value:.4g}% of its limit in ten minutes",
    )


def _spent(value: float, time: str) -> Fired:
    return Fired(
        labels=prom(DAY),
        value=value,
        summary=f"Tenant acme: {100 * value:.4g}% of llm_cost_usd (day) was spent in {time}",
    )


def _paced(value: float, text: str) -> Fired:
    return Fired(labels=prom(MONTH), value=value, summary=f"{_MONTH_TEXT} {text}")


def _times(value: float) -> str:
    return f"{value:.4g} times the pace its limit allows"


_RUN_OUT = Fired(
    labels=prom(MONTH),
    value=10 * _DAY,
    summary=f"{_MONTH_TEXT} will run out in 10d 0h 0m 0s, before its window ends",
)
_SPIKE = Fired(
    labels=prom({sc.TENANT: "acme"}),
    value=8,
    summary="Tenant acme spent 8.00 USD in the last hour, over 2 times its usual",
)


def _forecast(days: int, *, used: float = 40, length: int = 30, left: int = 15) -> dict[str, str]:
    return _recorded(
        {},
        used=used,
        attributes=MONTH,
        length=length * _DAY,
        remaining=left * _DAY,
        exhaustion=days * _DAY,
    )


def _cost(hour: str, usual: str, since: str = "0x1600") -> dict[str, str]:
    labels = '{budget_tenant="acme"}'
    return {f"{model.COST_1H}{labels}": f"{since} {hour}", f"{model.COST_USUAL}{labels}": usual}


SPEND = (
    # ---- real levels: an idle tenant is emptied at fifty times the pace
    Case(
        alert="LLMBudgetEmptying",
        name="an idle tenant is emptied",
        series=window(DAY, "1 _x59 1+3.5x30", f"80000 _x59 76400{DOWN}"),
        at="71m",
        # 32.5 at 69 minutes, the lower of the last two minutes, and 1 ten minutes before.
        fires=(_emptied(0.315),),
    ),
    Case(
        alert="LLMBudgetEmptying",
        name="the first sample of a process finds much consumed",
        series=window(DAY, "_x60 80x60", f"_x60 80000{DOWN}"),
        at="70m",
    ),
    Case(
        alert="LLMBudgetEmptying",
        name="reservations that are settled",
        series=window(DAY, "10 45 10 60 " * 30, f"80000{DOWN}"),
        at="70m",
    ),
    Case(
        alert="LLMBudgetEmptying",
        name="one of two replicas is silent over midnight",
        series={
            **window(DAY, "60x17", "1080-60x17"),
            series(sc.METRIC_CONSUMED, DAY, instance="b"): "60x17 1x60",
            series(sc.METRIC_LIMIT, DAY, instance="b"): "100x90",
            series(sc.METRIC_WINDOW_LENGTH, DAY, instance="b"): "86400x90",
            series(sc.METRIC_WINDOW_REMAINING, DAY, instance="b"): "1080-60x17 86400-60x60",
        },
        at="21m",
    ),
    Case(
        alert="LLMBudgetEmptying",
        name="a budget without a limit",
        series={
            name: values
            for name, values in window(DAY, "0+5x90", f"80000{DOWN}").items()
            if not name.startswith("budget_limit")
        },
        at="60m",
    ),
    Case(
        alert="LLMBudgetEmptying",
        name="a soft limit is no cap",
        series=window(budget(source=sc.SOURCE_SOFT_LIMIT), "0+5x20", f"80000{DOWN}"),
        at="15m",
    ),
    # ---- records
    Case(
        alert="LLMBudgetEmptying",
        at="10m",
        fires=(_emptied(0.13),),
        **_day("six times the usual", {"10m": 13, "30m": 13}, {"10m": 2, "30m": 4}),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="10m",
        **_day("as usual in half an hour", {"10m": 13, "30m": 13}, {"10m": 2, "30m": 6}),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="10m",
        **_day("as usual", {"10m": 13, "30m": 13}, {"10m": 7, "30m": 4}),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="10m",
        **_day("a tenth, and nothing is usual yet", {"10m": 15}),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="10m",
        fires=(_emptied(0.25),),
        **_day(
            "a quarter, though it was as bad on two days",
            {"10m": 25, "30m": 25},
            {"10m": 25, "30m": 25},
        ),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="10m",
        **_day(
            "more than an hour is left at that pace",
            {"10m": 13, "30m": 13},
            {"10m": 2, "30m": 4},
            used=20,
        ),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="10m",
        **_month("a month's", {"10m": 13, "30m": 13}, {"10m": 2, "30m": 4}),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="50m",
        fires=(_emptied(0.13),),
        **_day(
            "has stopped within the hour", {"10m": "13x10 0x170", "30m": 13}, {"10m": 2, "30m": 4}
        ),
    ),
    Case(
        alert="LLMBudgetEmptying",
        at="80m",
        **_day("has stopped an hour ago", {"10m": "13x10 0x170", "30m": 13}, {"10m": 2, "30m": 4}),
    ),
    # ----
    Case(
        alert="LLMBudgetBurnFast",
        at="10m",
        fires=(_spent(0.15, "half an hour"),),
        **_day("three times the usual", {"10m": 5, "30m": 15}, {"30m": 5}),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        at="10m",
        **_day("as usual", {"10m": 5, "30m": 15}, {"30m": 11}),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        at="10m",
        fires=(_spent(0.15, "half an hour"),),
        **_day("nothing is usual yet", {"10m": 5, "30m": 15}),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        at="10m",
        **_day("less, and nothing is usual yet", {"10m": 5, "30m": 11}),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        at="10m",
        **_day("it is over", {"10m": 0, "30m": 15}, {"30m": 5}),
    ),
    # ----
    Case(
        alert="LLMBudgetBurnSlow",
        at="10m",
        fires=(_spent(0.25, "two hours"),),
        **_day("three times the usual", {"30m": 6, "2h": 25}, {"2h": 8}),
    ),
    Case(
        alert="LLMBudgetBurnSlow",
        at="10m",
        **_day("as usual", {"30m": 6, "2h": 25}, {"2h": 20}),
    ),
    Case(
        alert="LLMBudgetBurnSlow",
        at="10m",
        fires=(_spent(0.5, "two hours"),),
        **_day("half of it, and nothing is usual yet", {"30m": 12, "2h": 50}),
    ),
    Case(
        alert="LLMBudgetBurnSlow",
        at="10m",
        **_day("a quarter, and nothing is usual yet", {"30m": 6, "2h": 25}),
    ),
    Case(
        alert="LLMBudgetBurnSlow",
        at="10m",
        name="it lasts until its reset",
        series=_recorded({"30m": 6, "2h": 25}, {"2h": 8}, used=30, remaining=2 * _HOUR),
        groups=_ALERTS,
    ),
    # ----
    Case(
        alert="LLMBudgetMonthBurnFast",
        at="10m",
        fires=(_paced(21.6, f"is being spent at {_times(21.6)}"),),
        **_month("3 % of a month in an hour", {"10m": 0.5, "1h": 3}, {"1h": 0.5}),
    ),
    Case(
        alert="LLMBudgetMonthBurnFast",
        at="10m",
        **_month("as usual", {"10m": 0.5, "1h": 3}, {"1h": 2.5}),
    ),
    Case(
        alert="LLMBudgetMonthBurnFast",
        at="10m",
        **_month("nothing is usual yet", {"10m": 0.5, "1h": 3}),
    ),
    Case(
        alert="LLMBudgetMonthBurnFast",
        at="10m",
        **_month("it is over", {"10m": 0.1, "1h": 3}, {"1h": 0.5}),
    ),
    Case(
        alert="LLMBudgetMonthBurnFast",
        at="10m",
        **_day("a day's", {"10m": 0.5, "1h": 70}, {"1h": 0.5}),
    ),
    # ----
    Case(
        alert="LLMBudgetMonthBurnSlow",
        at="20m",
        fires=(_paced(6, f"has been spent at {_times(6)} for six hours"),),
        **_month("5 % of a month in six hours", {"1h": 0.8, "6h": 5}, {"6h": 1}),
    ),
    Case(
        alert="LLMBudgetMonthBurnSlow",
        at="20m",
        **_month("as usual", {"1h": 0.8, "6h": 5}, {"6h": 4}),
    ),
    Case(
        alert="LLMBudgetMonthBurnSlow",
        at="20m",
        **_month("nothing is usual yet", {"1h": 0.8, "6h": 5}),
    ),
    # ----
    Case(
        alert="LLMBudgetMonthBurnDays",
        at="80m",
        fires=(_paced(2, f"has been spent at {_times(2)} for three days"),),
        **_month("twice the pace", {"3d": 20}),
    ),
    Case(
        alert="LLMBudgetMonthBurnDays",
        at="80m",
        **_month("little is used", {"3d": 20}, used=20),
    ),
    Case(alert="LLMBudgetMonthBurnDays", at="80m", **_month("the pace", {"3d": 10})),
    # ----
    Case(
        alert="LLMBudgetWillRunOut",
        at="80m",
        fires=(_RUN_OUT,),
        name="five days before its window ends",
        series=_forecast(10),
        groups=_ALERTS,
    ),
    *(
        Case(alert="LLMBudgetWillRunOut", at="80m", name=name, series=given, groups=_ALERTS)
        for name, given in (
            ("a week goes by the days of the week", _forecast(1, length=7, left=5)),
            ("too little is used to care", _forecast(10, used=20)),
            ("too early in its month", _forecast(10, left=24)),
            ("half a day before its window ends", _forecast(15)),
            ("has run out", _forecast(0)),
        )
    ),
    # ----
    Case(
        alert="LLMBudgetSpendSpike",
        name="four times its usual",
        series=_cost("8x60", "2x1700"),
        groups=_ALERTS,
        at="1630m",
        every="4m",
        fires=(_SPIKE,),
    ),
    *(
        Case(
            alert="LLMBudgetSpendSpike",
            name=name,
            series=given,
            groups=_ALERTS,
            at="1630m",
            every="4m",
        )
        for name, given in (
            ("as usual", _cost("8x60", "5x1700")),
            ("four times of next to nothing", _cost("0.8x60", "0.2x1700")),
            ("of less than a day", _cost("8x60", "2x1700", "_x300 0x1300")),
            ("nothing is usual yet", _cost("8x60", "_x1700")),
        )
    ),
)
