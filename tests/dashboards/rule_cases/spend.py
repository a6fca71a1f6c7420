"""The alerts of spend: burning fast, running out."""

from __future__ import annotations

from otel_budget import semconv as sc
from rule_cases.case import (
    BUDGET_TEXT,
    COST,
    DAY,
    DOWN,
    MONTH,
    UTIL,
    Case,
    Fired,
    Labels,
    prom,
    series,
    window,
)

_MONTH_LENGTH = 30 * 86400


def _fast(attributes: Labels, value: float, text: str) -> Fired:
    return Fired(
        labels=prom(attributes),
        value=value,
        summary=f"{text} is being spent at {value:.4g} times the pace its limit allows",
    )


_OUT = "Tenant acme: llm_cost_usd (day) will run out in 9h 0m 0s, before its window ends"
_RUN_OUT = Fired(labels=prom(DAY), value=32400, summary=_OUT)
SPEND = (
    Case(
        alert="LLMBudgetBurnFast",
        name="30 % of a day's limit in an hour",
        series=window(DAY, "0+0.5x200", f"80000{DOWN}"),
        at="100m",
        fires=(_fast(DAY, 7.2, BUDGET_TEXT),),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="7.5 % of a day's limit in an hour",
        series=window(DAY, "0+0.125x200", f"80000{DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="1 % of a month's limit in an hour",
        series=window(MONTH, "0+0.015625x200", f"900000{DOWN}", length=_MONTH_LENGTH),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="was fast, has stopped",
        series=window(DAY, "0+0.5x100 50x100", f"80000{DOWN}"),
        at="130m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="reservations that are settled",
        series=window(DAY, "10 45 10 60 " * 60, f"80000{DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="the first sample of a process finds much consumed",
        series=window(DAY, "_x80 80x100", f"80000{DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="the reset at midnight is no spending",
        series=window(DAY, "90x80 0+0.0625x100", f"4860{DOWN[:3]}x80 86400{DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="fast again right after midnight",
        series=window(DAY, "90x80 0+1x100", f"4860{DOWN[:3]}x80 86400{DOWN}"),
        at="120m50s",
        # 35 of 100 since the reset (the lower edge lags four minutes), in the last hour.
        fires=(_fast(DAY, 8.4, BUDGET_TEXT),),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="3 % of a month's limit in an hour",
        series=window(MONTH, "0+0.0625x200", f"900000{DOWN}", length=_MONTH_LENGTH),
        at="100m",
        fires=(_fast(MONTH, 27, "Tenant acme: llm_cost_usd (month)"),),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="day and month budgets of one tenant: only the month's is too fast",
        series={
            **window(DAY, "0+0.0625x200", f"80000{DOWN}"),
            **window(MONTH, "0+0.0625x200", f"900000{DOWN}", length=_MONTH_LENGTH),
        },
        at="100m",
        fires=(_fast(MONTH, 27, "Tenant acme: llm_cost_usd (month)"),),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="a budget without limit",
        series={series(sc.METRIC_CONSUMED, DAY): "0+5x200"},
        at="100m",
    ),
    # ----
    Case(
        alert="LLMBudgetBurnSlow",
        name="6 % of a month's limit in six hours",
        series=window(MONTH, "0+0.015625x700", f"900000{DOWN}", length=_MONTH_LENGTH),
        at="440m",
        fires=(
            Fired(
                labels=prom(MONTH),
                value=6.75,
                summary="Tenant acme: llm_cost_usd (month) has been spent at 6.75 times the pace "
                "its limit allows for six hours",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetBurnSlow",
        name="3 % of a month's limit in six hours",
        series=window(MONTH, "0+0.0078125x700", f"900000{DOWN}", length=_MONTH_LENGTH),
        at="440m",
    ),
    Case(
        alert="LLMBudgetBurnSlow",
        name="stops when it is over",
        series=window(MONTH, "0+0.015625x440 7x200", f"900000{DOWN}", length=_MONTH_LENGTH),
        at="500m",
    ),
    # ----
    Case(
        alert="LLMBudgetSpendSpike",
        name="ten times its usual",
        series={series(sc.METRIC_COST, COST): "0+0.0078125x480 3.75+0.125x200"},
        at="560m",
        fires=(
            Fired(
                labels=prom({sc.TENANT: "acme"}),
                value=7.5,
                summary="Tenant acme spent 7.50 USD in the last hour, over 3 times its usual",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="as usual",
        series={series(sc.METRIC_COST, COST): "0+0.125x700"},
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="ten times of next to nothing",
        series={series(sc.METRIC_COST, COST): "0+0.0001x480 0.048+0.001x200"},
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="a new tenant has no past",
        series={series(sc.METRIC_COST, COST): "_x480 0+0.125x200"},
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="a restart is no spending",
        series={
            series(sc.METRIC_COST, COST): "0+0.125x480 _x300",
            series(sc.METRIC_COST, COST, instance="b"): "_x481 0+0.125x300",
        },
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="stops when it is over",
        series={series(sc.METRIC_COST, COST): "0+0.0078125x480 3.75+0.125x90 15x200"},
        at="650m",
    ),
    # ----
    Case(
        alert="LLMBudgetWillRunOut",
        name="40 % used after a quarter of the day",
        series={**window(DAY, "40x60", "64800x60"), UTIL: "0.4x60"},
        at="30m",
        fires=(_RUN_OUT,),
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="the same with reservations that are settled",
        series={**window(DAY, "40 70 40 90 " * 15, "64800x60"), UTIL: "0.4 0.7 0.4 0.9 " * 15},
        at="30m",
        fires=(_RUN_OUT,),
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="two processes tell one budget: one alert",
        series={
            **window(DAY, "40x60", "64800x60"),
            UTIL: "0.4x60",
            series(sc.METRIC_CONSUMED, DAY, instance="b"): "30x60",
            series(sc.METRIC_LIMIT, DAY, instance="b"): "100x60",
        },
        at="30m",
        fires=(_RUN_OUT,),
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="too little is used to care: 24 % after an eighth of the day",
        series={**window(DAY, "24x60", "75600x60"), UTIL: "0.24x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="the window ends first",
        series={**window(DAY, "60x60", "14400x60"), UTIL: "0.6x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="too little of the window has passed to tell",
        series={**window(DAY, "30x60", "80000x60"), UTIL: "0.3x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="has run out already",
        series={**window(DAY, "100x60", "14400x60"), UTIL: "1x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="stops after the reset at midnight",
        series={**window(DAY, "70x40 0x40", "30000x40 86400x40"), UTIL: "0.7x40 0x40"},
        at="55m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="day and month budgets of one tenant: only the day's",
        series={
            **window(DAY, "40x60", "64800x60"),
            UTIL: "0.4x60",
            **window(MONTH, "30x60", "864000x60", length=_MONTH_LENGTH),
            series(sc.METRIC_UTILIZATION, MONTH): "0.3x60",
        },
        at="30m",
        fires=(_RUN_OUT,),
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="a budget without limit",
        series={
            series(sc.METRIC_CONSUMED, DAY): "40x60",
            series(sc.METRIC_WINDOW_LENGTH, DAY): "86400x60",
            series(sc.METRIC_WINDOW_REMAINING, DAY): "64800x60",
        },
        at="30m",
    ),
)
