"""The two ledgers: what is recorded, and single situations of each alert.

What happens over days, with guards of every kind, is in `ledger_scenarios.py`.
"""

from __future__ import annotations

from dashboards.builder.labels import SOURCE, WINDOW
from dashboards.builder.rules import alert_model
from otel_budget import semconv as sc
from rule_cases.case import (
    ACME,
    COST,
    DOWN,
    Case,
    Fired,
    Labels,
    RecordCase,
    budget,
    decision,
    hit,
    prom,
    series,
    window,
)

#: A guard that does not say whether its budgets are shared, and one that does.
DAY = budget(shared="")
MONTH = budget("month", shared="")
_SHARED = budget()
_SPEND = {series(sc.METRIC_COST, COST): "0+0.0625x500"}
_WHO = "Tenant acme: the guard's count of llm_cost_usd"
_CAUSED = {sc.WINDOW: "day", sc.CAUSE: sc.CAUSE_SPENT}


def _guard(consumed: str, attributes: Labels = DAY) -> dict[str, str]:
    return {**window(attributes, consumed, f"80000{DOWN}"), **_SPEND}


def _counted(value: float, summary: str) -> Fired:
    labels = {k: v for k, v in prom(DAY).items() if k not in (WINDOW, SOURCE)}
    return Fired(labels=labels, value=value, summary=f"{_WHO} {summary}")


def _refused(hits: str = "0x9 5x60", **more: str) -> dict[str, str]:
    return {hit(sc.KIND_HARD, more={**_CAUSED, **more}): hits}


def _levels(consumed: str, attributes: Labels = DAY, reserved: str = "") -> dict[str, str]:
    told = window(attributes, consumed, f"80000{DOWN}")
    return told | ({series(sc.METRIC_RESERVED, attributes): reserved} if reserved else {})


_EARLY = "LLMBudgetRefusedFarFromLimit"
_FAR = Fired(
    labels=prom({sc.TENANT: "acme", sc.RESOURCE: "llm_cost_usd", sc.WINDOW: "day"}),
    value=5,
    summary="Tenant acme: llm_cost_usd (day) refuses calls although it is far from its limit",
)
LEDGERS = (
    Case(
        alert="LLMBudgetGuardNotCounting",
        name="frozen",
        series=_guard("1x200"),
        at="100m",
        fires=(_counted(0, "stands still while spend is recorded"),),
    ),
    Case(
        alert="LLMBudgetGuardNotCounting",
        name="one of its windows moves",
        series=_guard("1x200") | window(MONTH, "0+0.0625x200", f"80000{DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetGuardNotCounting",
        name="too little is spent to tell",
        series=_guard("1x200") | {series(sc.METRIC_COST, COST): "0+0.0078125x200"},
        at="100m",
    ),
    # ----
    Case(
        alert="LLMBudgetGuardUndercounts",
        name="half, of a budget that is shared",
        series=_guard("0+0.03125x200", _SHARED),
        at="100m",
        fires=(_counted(0.5, "is only 50% of the recorded spend"),),
    ),
    Case(
        alert="LLMBudgetGuardUndercounts",
        name="half, and it is not known whether it is shared",
        series=_guard("0+0.03125x200"),
        at="100m",
    ),
    # ----
    Case(
        alert="LLMBudgetGuardCountsMore",
        name="twice",
        series=_guard("0+0.125x200"),
        at="100m",
        fires=(_counted(2, "is 200% of the recorded spend"),),
    ),
    Case(
        alert="LLMBudgetGuardCountsMore",
        name="only by the window that others use, too",
        series=_guard("0+0.125x200") | window(MONTH, "0+0.0625x200", f"80000{DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetGuardCountsMore",
        name="a call had no price",
        series=_guard("0+0.125x200") | {series(sc.METRIC_UNPRICED_CALLS, ACME): "_x80 1x200"},
        at="100m",
    ),
    # ----
    Case(
        alert=_EARLY,
        name="at 30 %",
        series=_refused() | _levels("30x60"),
        at="17m",
        fires=(_FAR,),
    ),
    Case(
        alert=_EARLY,
        name="the guard tells no cause",
        series={hit(sc.KIND_HARD, more={sc.WINDOW: "day"}): "0x9 5x60"} | _levels("30x60"),
        at="17m",
        fires=(_FAR,),
    ),
    Case(alert=_EARLY, name="full", series=_refused() | _levels("100x60"), at="17m"),
    Case(
        alert=_EARLY,
        name="full until the reset",
        series=_refused() | _levels("99x9 0x60"),
        at="17m",
    ),
    Case(
        alert=_EARLY,
        name="the rest is reserved",
        series=_refused() | _levels("30x60", reserved="60x60"),
        at="17m",
    ),
    Case(
        alert=_EARLY,
        name="the month is full",
        series=_refused(**{sc.WINDOW: "month"}) | _levels("30x60") | _levels("100x60", MONTH),
        at="17m",
    ),
    Case(
        alert=_EARLY,
        name="the budget of all is full",
        series=_refused() | _levels("30x60") | _levels("100x60", budget(who={})),
        at="17m",
    ),
    Case(
        alert=_EARLY, name="one huge call", series=_refused("0x9 2x60") | _levels("30x60"), at="17m"
    ),
    Case(
        alert=_EARLY,
        name="the refusal tells no window",
        series={hit(sc.KIND_HARD): "0x9 5x60"} | _levels("30x60"),
        at="17m",
    ),
    *(
        Case(
            alert=_EARLY,
            name=f"refused for another cause: {cause}",
            series=_refused(**{sc.CAUSE: cause}) | _levels("30x60"),
            at="17m",
        )
        for cause in (sc.CAUSE_POLICY, sc.CAUSE_UNPRICED, sc.CAUSE_UNAVAILABLE)
    ),
    # ----
    Case(
        alert="LLMBudgetReservationLeaked",
        name="never settled",
        series={
            series(sc.METRIC_RESERVATION_AGE, _SHARED): "0+60x60",
            series(sc.METRIC_RESERVED, _SHARED): "2x60",
        },
        at="25m",
        fires=(
            Fired(
                labels=prom(_SHARED),
                value=1500,
                summary="Tenant acme: a reservation of llm_cost_usd (day) is 25m 0s old",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetReservationLeaked",
        name="calls of four minutes",
        series={
            series(sc.METRIC_RESERVATION_AGE, _SHARED): "0 60 120 180 240 " * 12,
            series(sc.METRIC_RESERVED, _SHARED): "2x60",
        },
        at="45m",
    ),
    Case(
        alert="LLMBudgetReservationLeaked",
        name="nothing is reserved any more",
        series={
            series(sc.METRIC_RESERVATION_AGE, _SHARED): "1500x60",
            series(sc.METRIC_RESERVED, _SHARED): "0x60",
        },
        at="25m",
    ),
)

_NOTHING = {decision(sc.ALLOW): "1x90"}
#: Two processes that tell 40, and 0.0625 a minute from the reset at twenty minutes on.
_RESET = {
    name: values
    for instance in "ab"
    for name, values in (
        (series(sc.METRIC_CONSUMED, DAY, instance=instance), "40x19 0+0.0625x200"),
        (series(sc.METRIC_WINDOW_REMAINING, DAY, instance=instance), "1200-60x19 86400-60x200"),
    )
}
_RESET_SHARED = {
    name.replace("}", ',budget_shared="true"}'): values for name, values in _RESET.items()
}


def _both(value: float) -> tuple[tuple[Labels, float], ...]:
    return tuple(({**prom(DAY), "job": "agents", "instance": i}, value) for i in "ab")


LEDGER_RECORDS = (
    RecordCase(
        record=alert_model.TOLD, name="by process", series=_RESET, at="19m", values=_both(40)
    ),
    RecordCase(
        record=alert_model.TOLD,
        name="by budget, where it is shared",
        series=_RESET_SHARED,
        at="19m",
        values=((prom(_SHARED), 40),),
    ),
    RecordCase(
        record=alert_model.TOLD,
        name="a window that has ended since",
        series=window(DAY, "40x9 _x60", "600-60x9 _x60"),
        at="12m",
    ),
    RecordCase(
        record=alert_model.WINDOW_END,
        name="the end of the window",
        series=_RESET,
        at="19m",
        values=_both(1200),
    ),
    RecordCase(
        record=alert_model.ENDED, name="at the reset", series=_RESET, at="20m", values=_both(40)
    ),
    RecordCase(
        record=alert_model.ENDED,
        name="an end that moves along is no reset",
        series=window(DAY, "40x60", "86400x19 _x10 86400x60"),
        at="30m",
    ),
    # An hour after the reset, of which nothing of the 40 was counted.
    *(
        RecordCase(
            record=record,
            name=name,
            series=told,
            at="80m",
            values=((labels, value),),
        )
        for record, name, told, labels, value in (
            (alert_model.least("1h"), "what one process saw", _RESET, prom(DAY), 3.75),
            (alert_model.least("1h"), "shared", _RESET_SHARED, prom(_SHARED), 3.75),
            (alert_model.most("1h"), "the sum of both", _RESET, prom(DAY), 7.5),
            (alert_model.most("1h"), "shared", _RESET_SHARED, prom(_SHARED), 3.75),
        )
    ),
    RecordCase(
        record=alert_model.most("6h"),
        name="over the reset, and what was there before is no growth",
        series=window(DAY, "40x300 40+0.0625x159 0+0.125x300", f"{461 * 60}-60x460 86400-60x300"),
        at="700m",
        # From minute 340 to the reset, and from there to minute 700.
        values=((prom(DAY), 120 * 0.0625 + 239 * 0.125),),
    ),
    *(
        RecordCase(
            record=alert_model.recorded_by_job(hours),
            name="USD and tokens",
            series=_SPEND | {series(sc.METRIC_TOKENS, COST): "0+100x500"},
            at=at,
            values=tuple(
                ({**prom({sc.TENANT: "acme", sc.UNIT: unit}), "job": "agents"}, value)
                for unit, value in (("USD", minutes * 0.0625), ("tokens", minutes * 100))
            ),
        )
        for hours, at, minutes in (("1h", "100m", 60), ("6h", "400m", 360))
    ),
    *(
        RecordCase(
            record=alert_model.recorded(hours),
            name="without what a job without a guard spends",
            series=_guard("1x500")
            | {series(sc.METRIC_COST, COST).replace("agents", "batch"): "0+9x500"},
            at=at,
            values=((prom(DAY), minutes * 0.0625),),
        )
        for hours, at, minutes in (("1h", "100m", 60), ("6h", "400m", 360))
    ),
    RecordCase(
        record=alert_model.FULLNESS,
        name="with what is reserved",
        series=_levels("30x60", reserved="20x60"),
        at="20m",
        values=((_FAR.labels, 0.5),),
    ),
    *(
        RecordCase(record=record, name="nothing is told", series=_NOTHING, at="20m")
        for record in (
            alert_model.WINDOW_END,
            alert_model.least("1h"),
            *(
                name(hours)
                for name in (
                    alert_model.most,
                    alert_model.recorded,
                    alert_model.recorded_by_job,
                )
                for hours in ("1h", "6h")
            ),
            alert_model.FULLNESS,
        )
    ),
)
