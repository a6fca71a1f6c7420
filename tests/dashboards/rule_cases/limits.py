"""The alerts of limits: a threshold reached, a soft limit crossed, exhausted, refused."""

from __future__ import annotations

from dashboards.builder.rules.alert_model import REFUSED_HELD, THRESHOLD
from otel_budget import semconv as sc
from rule_cases.case import (
    ACME,
    BUDGET_TEXT,
    DAY,
    HARD,
    MONTH,
    SOFT,
    UTIL,
    Case,
    Fired,
    Labels,
    RecordCase,
    budget,
    hit,
    prom,
    series,
    window,
)

_USED = series(sc.METRIC_CONSUMED, DAY)
_SPENT = {sc.WINDOW: "day", sc.CAUSE: sc.CAUSE_SPENT}
_HIT_LABELS = prom({**ACME, sc.RESOURCE: "llm_cost_usd"})


def _reached(share: str, value: float, labels: Labels = DAY, text: str = BUDGET_TEXT) -> Fired:
    who, _, what = text.partition(": ")
    return Fired(
        labels={**prom(labels), THRESHOLD: share},
        value=value,
        summary=f"{who}: {share} of {what} is used",
    )


def _used(
    values: str, attributes: Labels = DAY, remaining: str = "64800-60x3000"
) -> dict[str, str]:
    return window(attributes, values, remaining)


def _exhausted(value: float = 1, more: Labels | None = None, what: str = "llm_cost_usd") -> Fired:
    return Fired(
        labels=_HIT_LABELS | prom(more or {}),
        value=value,
        summary=f"Tenant acme, agent researcher: {what} is exhausted, calls are refused",
    )


def _denied(cause: str, value: float) -> Fired:
    return Fired(
        labels=_HIT_LABELS | prom({sc.CAUSE: cause, sc.DECISION_POINT: sc.POINT_LLM}),
        value=value,
        summary="Tenant acme, agent researcher: llm calls refused, resource llm_cost_usd, cause "
        f"{cause}",
    )


def _refused(cause: str, values: str) -> dict[str, str]:
    return {hit(sc.KIND_HARD, more={sc.CAUSE: cause}): values}


_HALF, _MOST = _reached("50%", 0.875), _reached("80%", 0.875)
LIMITS = (
    Case(
        alert="LLMBudgetThresholdReached",
        name="each threshold that is reached",
        series=_used("50x9 87.5x30"),
        at="20m",
        fires=(_HALF, _MOST),
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="reached, but not yet for five minutes",
        series=_used("40x9 87.5x30"),
        at="14m",
    ),
    Case(alert="LLMBudgetThresholdReached", name="below", series=_used("49x60"), at="30m"),
    Case(
        alert="LLMBudgetThresholdReached",
        name="reservations rise above and settle below",
        series=_used("45 95 " * 30),
        at="31m",
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="reservations above a level that is itself above",
        series=_used("87.5 99 87.5 87.5 " * 15),
        at="43m40s",
        fires=(_HALF, _MOST),
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="the tenant is silent until its reset: it is not told again",
        series=_used("87.5x20 _x200", remaining="14400-60x20 _x200"),
        at="230m",
        fires=(_HALF, _MOST),
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="stops after the reset",
        series=_used("87.5x30 0x30", remaining="1800-60x30 86400-60x30"),
        at="45m",
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="stops after the reset of a tenant that is silent",
        series=_used("87.5x20 _x200", remaining="14400-60x20 _x200"),
        at="245m",
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="day and month budgets of one tenant: only the day's",
        series=_used("87.5x60") | _used("10x60", MONTH),
        at="30m",
        fires=(_HALF, _MOST),
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="two processes tell the level of one budget: one alert each",
        series=_used("87.5x60") | {series(sc.METRIC_CONSUMED, DAY, instance="b"): "84x60"},
        at="30m",
        fires=(_HALF, _MOST),
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="no tenant label",
        series=_used("60x60", budget(who={})),
        at="30m",
        fires=(_reached("50%", 0.6, budget(who={}), "Tenant (unknown): llm_cost_usd (day)"),),
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="a budget without limit",
        series={_USED: "1000x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetThresholdReached",
        name="a soft limit is no cap",
        series=_used("110x60", budget(source=sc.SOURCE_SOFT_LIMIT)),
        at="30m",
    ),
    # ----
    Case(
        alert="LLMBudgetSoftLimitCrossed",
        name="a guard that only tells by SoftLimit",
        series={SOFT: "0x9 1 2x30"},
        at="12m",
        fires=(
            Fired(
                labels=_HIT_LABELS,
                value=2,
                summary="Tenant acme, agent researcher: soft limit of llm_cost_usd crossed",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetSoftLimitCrossed",
        name="born above 0",
        series={SOFT: "_x9 3x30"},
        at="12m",
        fires=(
            Fired(
                labels=_HIT_LABELS,
                value=3,
                summary="Tenant acme, agent researcher: soft limit of llm_cost_usd crossed",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetSoftLimitCrossed",
        name="stops when it is over",
        series={SOFT: "0x9 1 2x100"},
        at="90m",
    ),
    Case(
        alert="LLMBudgetSoftLimitCrossed",
        name="the guard tells its cap",
        series={SOFT: "0x9 1 2x30", UTIL: "0.5x60"},
        at="12m",
    ),
    Case(
        alert="LLMBudgetSoftLimitCrossed",
        name="a gate's fail-open answer is no soft limit",
        series={hit(sc.KIND_SOFT, sc.GUARD_UNAVAILABLE): "0x9 1x30"},
        at="12m",
    ),
    # ----
    Case(
        alert="LLMBudgetExhausted",
        name="one denial of a tenant never seen before",
        series={HARD: "_x9 1x30"},
        at="11m",
        fires=(_exhausted(),),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a one-shot job that has ended",
        series={HARD: "_x9 2 _x30"},
        at="16m",
        fires=(_exhausted(2),),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="stops when it is over",
        series={HARD: "_x9 1x100"},
        at="90m",
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="one more after many",
        series={HARD: "40x29 41x30"},
        at="35m",
        fires=(_exhausted(),),
    ),
    Case(alert="LLMBudgetExhausted", name="old denials only", series={HARD: "40x190"}, at="100m"),
    Case(
        alert="LLMBudgetExhausted",
        name="an exporter's gap of twenty minutes, nothing new",
        series={HARD: "40x99 _x20 40x30"},
        at="122m",
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a denial within an exporter's gap",
        series={HARD: "40x99 _x20 41x30"},
        at="122m",
        fires=(_exhausted(),),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a restart as a new instance, nothing new",
        series={HARD: "40x99 _x60", hit(sc.KIND_HARD, instance="b"): "_x100 0x60"},
        at="105m",
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a restart under the same instance id, nothing new",
        series={HARD: "40x99 0x60"},
        at="105m",
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a restart under the same instance id, then a denial",
        series={HARD: "1x29 0 1x60"},
        at="34m10s",
        # increase() alone can see it, and extrapolates: 1 in 9 minutes is 1.11 in 10.
        fires=(_exhausted(10 / 9),),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="two processes: one alert with the sum",
        series={HARD: "0x29 1x60", hit(sc.KIND_HARD, instance="b"): "_x30 2x60"},
        at="35m",
        fires=(_exhausted(3),),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="no tenant label",
        series={hit(sc.KIND_HARD, "tokens", who={}): "0x9 1x30"},
        at="12m",
        fires=(
            Fired(
                labels=prom({sc.RESOURCE: "tokens"}),
                value=1,
                summary="Tenant (unknown): tokens is exhausted, calls are refused",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a gate's fail-closed answer is no denial",
        series={hit(sc.KIND_HARD, sc.GUARD_UNAVAILABLE): "0x9 1x30"},
        at="12m",
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="it tells the window",
        series={hit(sc.KIND_HARD, more=_SPENT): "0x9 1x30"},
        at="12m",
        fires=(_exhausted(1, {sc.WINDOW: "day"}, "llm_cost_usd (day)"),),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="hours later, while the guard told it as full",
        series={hit(sc.KIND_HARD, more=_SPENT): "0x9 1x300"}
        | _used("100x30 _x300", remaining="64800-60x30 _x300"),
        at="200m",
        fires=(_exhausted(1, {sc.WINDOW: "day"}, "llm_cost_usd (day)"),),
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="the limit was raised",
        series={hit(sc.KIND_HARD, more=_SPENT): "0x9 1x300"} | _used("100x30 50x300"),
        at="110m",
    ),
    *(
        Case(
            alert="LLMBudgetExhausted",
            name=f"refused, {cause}",
            series=_refused(cause, "0x9 9x30"),
            at="12m",
        )
        for cause in (sc.CAUSE_POLICY, sc.CAUSE_RESERVED, sc.CAUSE_UNPRICED, sc.CAUSE_UNAVAILABLE)
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a tool refused by a list",
        series={hit(sc.KIND_HARD, "tools", point=sc.POINT_TOOL): "0x9 9x30"},
        at="12m",
    ),
    Case(
        alert="LLMBudgetExhausted",
        name="a tool refused because its budget is spent",
        series={
            hit(sc.KIND_HARD, point=sc.POINT_TOOL, more={sc.CAUSE: sc.CAUSE_SPENT}): "0x9 1x30"
        },
        at="12m",
        fires=(_exhausted(),),
    ),
    Case(alert="LLMBudgetExhausted", name="soft limits", series={SOFT: "0x9 5x30"}, at="12m"),
    # ----
    Case(
        alert="LLMBudgetDenied",
        name="three refusals because calls in progress hold what is left",
        series=_refused(sc.CAUSE_RESERVED, "0x9 3x30"),
        at="12m",
        fires=(_denied(sc.CAUSE_RESERVED, 3),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="one huge estimate",
        series=_refused(sc.CAUSE_RESERVED, "0x9 1x30"),
        at="12m",
    ),
    *(
        Case(
            alert="LLMBudgetDenied",
            name=f"one refusal, {cause}",
            series=_refused(cause, "0x9 1x30"),
            at="12m",
            fires=(_denied(cause, 1),),
        )
        for cause in (sc.CAUSE_UNPRICED, sc.CAUSE_UNAVAILABLE)
    ),
    Case(
        alert="LLMBudgetDenied",
        name="stops when it is over",
        series=_refused(sc.CAUSE_UNPRICED, "0x9 1x100"),
        at="90m",
    ),
    *(
        Case(alert="LLMBudgetDenied", name=name, series=given, at="12m")
        for name, given in (
            ("an exhausted budget has an alert of its own", _refused(sc.CAUSE_SPENT, "0x9 9x30")),
            ("refused by policy", _refused(sc.CAUSE_POLICY, "0x9 9x30")),
            ("soft limits", {SOFT: "0x9 5x30"}),
        )
    ),
)
#: What `LLMBudgetExhausted` reads.
REFUSALS_HELD = (
    RecordCase(
        record=REFUSED_HELD,
        name="held while the guard tells the budget as full",
        series={hit(sc.KIND_HARD, more=_SPENT): "0x9 2x300"}
        | _used("100x30 _x300", remaining="64800-60x30 _x300"),
        at="200m",
        values=((_HIT_LABELS | prom({sc.WINDOW: "day"}), 2),),
    ),
    RecordCase(
        record=REFUSED_HELD,
        name="of another window's budget",
        series={hit(sc.KIND_HARD, more=_SPENT): "0x9 2x300"} | _used("100x300", MONTH),
        at="200m",
    ),
)
