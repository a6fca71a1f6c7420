"""The alerts of limits: near, crossed, refused."""

from __future__ import annotations

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
    budget,
    hit,
    prom,
    series,
)

_NEAR = Fired(labels=prom(DAY), value=0.875, summary=f"{BUDGET_TEXT} is 87.5% used")
_SPENT = {sc.WINDOW: "day", sc.CAUSE: sc.CAUSE_SPENT}
_HIT_LABELS = prom({**ACME, sc.RESOURCE: "llm_cost_usd"})
_DENIED_LABELS = {**_HIT_LABELS, **prom({sc.DECISION_POINT: sc.POINT_LLM})}


def _denied(value: float = 1) -> Fired:
    return Fired(
        labels=_DENIED_LABELS,
        value=value,
        summary="Tenant acme, agent researcher: llm calls refused, resource llm_cost_usd",
    )


LIMITS = (
    Case(
        alert="LLMBudgetNearLimit",
        name="over the threshold for more than five minutes",
        series={UTIL: "0.5x9 0.875x30"},
        at="20m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="over the threshold, but not yet for five minutes",
        series={UTIL: "0.5x9 0.875x30"},
        at="14m",
    ),
    Case(
        alert="LLMBudgetNearLimit", name="below the threshold", series={UTIL: "0.79x60"}, at="30m"
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="reservations rise above and settle below",
        series={UTIL: "0.6 0.95 " * 30},
        at="31m",
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="reservations above a level that is itself above",
        series={UTIL: "0.875 0.99 0.875 0.875 " * 15},
        at="43m40s",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="stops after the reset at midnight",
        series={UTIL: "0.875x30 0x30"},
        at="45m",
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="fires until the reset at midnight",
        series={UTIL: "0.875x30 0x30"},
        at="30m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="day and month budgets of one tenant: only the day's",
        series={UTIL: "0.875x60", series(sc.METRIC_UTILIZATION, MONTH): "0.1x60"},
        at="30m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="two processes tell the level of one budget: one alert",
        series={UTIL: "0.875x60", series(sc.METRIC_UTILIZATION, DAY, instance="b"): "0.84x60"},
        at="30m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="a restart: another process goes on where the first ended",
        series={
            UTIL: "0.875x19 _x30",
            series(sc.METRIC_UTILIZATION, DAY, instance="b"): "_x20 0.875x30",
        },
        at="40m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="no tenant label",
        series={series(sc.METRIC_UTILIZATION, budget(who={})): "0.875x60"},
        at="30m",
        fires=(
            Fired(
                labels=prom(budget(who={})),
                value=0.875,
                summary="Tenant (unknown): llm_cost_usd (day) is 87.5% used",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="a budget without limit",
        series={series(sc.METRIC_CONSUMED, DAY): "1000x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="a soft limit is no cap",
        series={series(sc.METRIC_UTILIZATION, budget(source=sc.SOURCE_SOFT_LIMIT)): "1.1x60"},
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
        series={SOFT: "0x9 1 2x60"},
        at="40m",
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
        alert="LLMBudgetDenied",
        name="one denial of a tenant never seen before",
        series={HARD: "_x9 1x30"},
        at="11m",
        fires=(_denied(),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a one-shot job that has ended",
        series={HARD: "_x9 2 _x30"},
        at="16m",
        fires=(_denied(2),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="stops when it is over",
        series={HARD: "_x9 1x60"},
        at="31m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="one more after many",
        series={HARD: "40x29 41x30"},
        at="35m",
        fires=(_denied(),),
    ),
    Case(alert="LLMBudgetDenied", name="old denials only", series={HARD: "40x90"}, at="50m"),
    Case(
        alert="LLMBudgetDenied",
        name="an exporter's gap of twenty minutes, nothing new",
        series={HARD: "40x29 _x20 40x30"},
        at="52m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a denial within an exporter's gap",
        series={HARD: "40x29 _x20 41x30"},
        at="52m",
        fires=(_denied(),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a restart as a new instance, nothing new",
        series={HARD: "40x29 _x60", hit(sc.KIND_HARD, instance="b"): "_x30 0x60"},
        at="35m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a restart under the same instance id, nothing new",
        series={HARD: "40x29 0x60"},
        at="35m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a restart under the same instance id, then a denial",
        series={HARD: "1x29 0 1x60"},
        at="34m10s",
        # increase() alone can see it, and extrapolates: 1 in 9 minutes is 1.11 in 10.
        fires=(_denied(10 / 9),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="two processes: one alert with the sum",
        series={HARD: "0x29 1x60", hit(sc.KIND_HARD, instance="b"): "_x30 2x60"},
        at="35m",
        fires=(_denied(3),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="no tenant label",
        series={hit(sc.KIND_HARD, "tool_calls", who={}, point=sc.POINT_TOOL): "0x9 1x30"},
        at="12m",
        fires=(
            Fired(
                labels=prom({sc.RESOURCE: "tool_calls", sc.DECISION_POINT: sc.POINT_TOOL}),
                value=1,
                summary="Tenant (unknown): tool calls refused, resource tool_calls",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a gate's fail-closed answer is no denial",
        series={hit(sc.KIND_HARD, sc.GUARD_UNAVAILABLE): "0x9 1x30"},
        at="12m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="it tells the window and the cause",
        series={hit(sc.KIND_HARD, more=_SPENT): "0x9 1x30"},
        at="12m",
        fires=(
            Fired(
                labels={**_DENIED_LABELS, **prom(_SPENT)},
                value=1,
                summary="Tenant acme, agent researcher: llm calls refused, resource llm_cost_usd "
                "(day), cause spent",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="refused by policy: no budget is exhausted",
        series={
            hit(
                sc.KIND_HARD, "tools", point=sc.POINT_TOOL, more={sc.CAUSE: sc.CAUSE_POLICY}
            ): "0x9 1x30"
        },
        at="12m",
    ),
    Case(alert="LLMBudgetDenied", name="soft limits", series={SOFT: "0x9 5x30"}, at="12m"),
)
