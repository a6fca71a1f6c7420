"""The table of the rule tests: when each rule fires, and when it must stay silent.

Series are written as promtool writes them ("0x5 1x20": five zeros after the first, then ones;
"_": no sample), one sample a minute. Rules are evaluated every 50 s, so that evaluations fall
between the samples as they do in life.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboards.builder import alert_model, collector_metrics
from dashboards.builder import queries as q
from dashboards.builder.labels import JOB
from otel_budget import semconv as sc
from otel_budget.semconv import Metric, prometheus_label

NAMES = q.Names()
Labels = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Fired:
    """An alert that must fire: its labels (without severity), its value, its summary."""

    labels: Labels
    value: float
    summary: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One situation of one alert: what Prometheus holds, when to look, what must fire."""

    alert: str
    name: str
    series: Mapping[str, str]
    at: str
    fires: tuple[Fired, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RecordCase:
    """One situation of one recorded series and the values it must have (none: no series)."""

    record: str
    name: str
    series: Mapping[str, str]
    at: str
    values: tuple[tuple[Labels, float], ...] = field(default=())


def prom(attributes: Labels) -> dict[str, str]:
    """OpenTelemetry attributes as Prometheus labels."""
    return {prometheus_label(name): value for name, value in attributes.items()}


def series(
    metric: Metric, attributes: Labels, *, instance: str = "a", part: str = "", **labels: str
) -> str:
    """A series as OTLP ingestion writes it: with job, instance and the attributes."""
    every = {"job": "agents", "instance": instance, **prom(attributes), **labels}
    inner = ",".join(f'{name}="{value}"' for name, value in every.items())
    return f"{NAMES.of(metric, part)}{{{inner}}}"


ACME = {sc.TENANT: "acme", sc.AGENT: "researcher"}


def hit(
    kind: str,
    resource: str = "llm_cost_usd",
    *,
    instance: str = "a",
    who: Labels = ACME,
    point: str = sc.POINT_LLM,
) -> str:
    """A series of soft limits or denials."""
    attributes = {**who, sc.DECISION_POINT: point, sc.KIND: kind, sc.RESOURCE: resource}
    return series(sc.METRIC_THRESHOLD_HITS, attributes, instance=instance)


def decision(outcome: str, *, instance: str = "a", **labels: str) -> str:
    """A series of decisions."""
    attributes = {**ACME, sc.DECISION_POINT: sc.POINT_LLM, sc.DECISION: outcome}
    return series(sc.METRIC_DECISIONS, attributes, instance=instance, **labels)


def budget(
    window: str = "day",
    source: str = sc.SOURCE_GUARD,
    who: Labels | None = None,
) -> dict[str, str]:
    """The attributes of a budget's level."""
    return {
        **({sc.TENANT: "acme"} if who is None else who),
        sc.GUARD_NAME: "RedisGuard",
        sc.RESOURCE: "llm_cost_usd",
        sc.WINDOW: window,
        sc.UNIT: "USD",
        sc.SOURCE: source,
    }


DAY = budget()
MONTH = budget("month")
BUDGET_TEXT = "Tenant acme: llm_cost_usd (day)"


def window(
    attributes: Labels, consumed: str, remaining: str, *, length: int = 86400, limit: int = 100
) -> dict[str, str]:
    """The four gauges of a budget with a window."""
    return {
        series(sc.METRIC_CONSUMED, attributes): consumed,
        series(sc.METRIC_LIMIT, attributes): f"{limit}x3000",
        series(sc.METRIC_WINDOW_LENGTH, attributes): f"{length}x3000",
        series(sc.METRIC_WINDOW_REMAINING, attributes): remaining,
    }


# -- limits --------------------------------------------------------------------------------
_UTIL = series(sc.METRIC_UTILIZATION, DAY)
_NEAR = Fired(labels=prom(DAY), value=0.875, summary=f"{BUDGET_TEXT} is 87.5% used")
_HIT_LABELS = prom({**ACME, sc.RESOURCE: "llm_cost_usd"})
_DENIED_LABELS = {**_HIT_LABELS, **prom({sc.DECISION_POINT: sc.POINT_LLM})}
_HARD, _SOFT = hit(sc.KIND_HARD), hit(sc.KIND_SOFT)


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
        series={_UTIL: "0.5x9 0.875x30"},
        at="20m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="over the threshold, but not yet for five minutes",
        series={_UTIL: "0.5x9 0.875x30"},
        at="14m",
    ),
    Case(
        alert="LLMBudgetNearLimit", name="below the threshold", series={_UTIL: "0.79x60"}, at="30m"
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="reservations rise above and settle below",
        series={_UTIL: "0.6 0.95 " * 30},
        at="31m",
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="reservations above a level that is itself above",
        series={_UTIL: "0.875 0.99 0.875 0.875 " * 15},
        at="43m40s",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="stops after the reset at midnight",
        series={_UTIL: "0.875x30 0x30"},
        at="45m",
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="fires until the reset at midnight",
        series={_UTIL: "0.875x30 0x30"},
        at="30m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="day and month budgets of one tenant: only the day's",
        series={_UTIL: "0.875x60", series(sc.METRIC_UTILIZATION, MONTH): "0.1x60"},
        at="30m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="two processes tell the level of one budget: one alert",
        series={_UTIL: "0.875x60", series(sc.METRIC_UTILIZATION, DAY, instance="b"): "0.84x60"},
        at="30m",
        fires=(_NEAR,),
    ),
    Case(
        alert="LLMBudgetNearLimit",
        name="a restart: another process goes on where the first ended",
        series={
            _UTIL: "0.875x19 _x30",
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
        series={_SOFT: "0x9 1 2x30"},
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
        series={_SOFT: "_x9 3x30"},
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
        series={_SOFT: "0x9 1 2x60"},
        at="40m",
    ),
    Case(
        alert="LLMBudgetSoftLimitCrossed",
        name="the guard tells its cap",
        series={_SOFT: "0x9 1 2x30", _UTIL: "0.5x60"},
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
        series={_HARD: "_x9 1x30"},
        at="11m",
        fires=(_denied(),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a one-shot job that has ended",
        series={_HARD: "_x9 2 _x30"},
        at="16m",
        fires=(_denied(2),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="stops when it is over",
        series={_HARD: "_x9 1x60"},
        at="31m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="one more after many",
        series={_HARD: "40x29 41x30"},
        at="35m",
        fires=(_denied(),),
    ),
    Case(alert="LLMBudgetDenied", name="old denials only", series={_HARD: "40x90"}, at="50m"),
    Case(
        alert="LLMBudgetDenied",
        name="an exporter's gap of twenty minutes, nothing new",
        series={_HARD: "40x29 _x20 40x30"},
        at="52m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a denial within an exporter's gap",
        series={_HARD: "40x29 _x20 41x30"},
        at="52m",
        fires=(_denied(),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a restart as a new instance, nothing new",
        series={_HARD: "40x29 _x60", hit(sc.KIND_HARD, instance="b"): "_x30 0x60"},
        at="35m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a restart under the same instance id, nothing new",
        series={_HARD: "40x29 0x60"},
        at="35m",
    ),
    Case(
        alert="LLMBudgetDenied",
        name="a restart under the same instance id, then a denial",
        series={_HARD: "1x29 0 1x60"},
        at="34m10s",
        # increase() alone can see it, and extrapolates: 1 in 9 minutes is 1.11 in 10.
        fires=(_denied(10 / 9),),
    ),
    Case(
        alert="LLMBudgetDenied",
        name="two processes: one alert with the sum",
        series={_HARD: "0x29 1x60", hit(sc.KIND_HARD, instance="b"): "_x30 2x60"},
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
    Case(alert="LLMBudgetDenied", name="soft limits", series={_SOFT: "0x9 5x30"}, at="12m"),
)

# -- spend ---------------------------------------------------------------------------------
_MONTH_LENGTH = 30 * 86400
_DOWN = "-60x2000"


def _fast(attributes: Labels, value: float, text: str) -> Fired:
    return Fired(
        labels=prom(attributes),
        value=value,
        summary=f"{text} is being spent at {value:.4g} times the pace its limit allows",
    )


_OUT = "Tenant acme: llm_cost_usd (day) will run out in 9h 0m 0s, before its window ends"
_RUN_OUT = Fired(labels=prom(DAY), value=32400, summary=_OUT)
_COST = {sc.TENANT: "acme", sc.METRIC_MODEL: "claude-sonnet-4-5"}

SPEND = (
    Case(
        alert="LLMBudgetBurnFast",
        name="30 % of a day's limit in an hour",
        series=window(DAY, "0+0.5x200", f"80000{_DOWN}"),
        at="100m",
        fires=(_fast(DAY, 7.2, BUDGET_TEXT),),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="7.5 % of a day's limit in an hour",
        series=window(DAY, "0+0.125x200", f"80000{_DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="1 % of a month's limit in an hour",
        series=window(MONTH, "0+0.015625x200", f"900000{_DOWN}", length=_MONTH_LENGTH),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="was fast, has stopped",
        series=window(DAY, "0+0.5x100 50x100", f"80000{_DOWN}"),
        at="130m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="reservations that are settled",
        series=window(DAY, "10 45 10 60 " * 60, f"80000{_DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="the first sample of a process finds much consumed",
        series=window(DAY, "_x80 80x100", f"80000{_DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="the reset at midnight is no spending",
        series=window(DAY, "90x80 0+0.0625x100", f"4860{_DOWN[:3]}x80 86400{_DOWN}"),
        at="100m",
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="fast again right after midnight",
        series=window(DAY, "90x80 0+1x100", f"4860{_DOWN[:3]}x80 86400{_DOWN}"),
        at="120m50s",
        # 35 of 100 since the reset (the lower edge lags four minutes), in the last hour.
        fires=(_fast(DAY, 8.4, BUDGET_TEXT),),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="3 % of a month's limit in an hour",
        series=window(MONTH, "0+0.0625x200", f"900000{_DOWN}", length=_MONTH_LENGTH),
        at="100m",
        fires=(_fast(MONTH, 27, "Tenant acme: llm_cost_usd (month)"),),
    ),
    Case(
        alert="LLMBudgetBurnFast",
        name="day and month budgets of one tenant: only the month's is too fast",
        series={
            **window(DAY, "0+0.0625x200", f"80000{_DOWN}"),
            **window(MONTH, "0+0.0625x200", f"900000{_DOWN}", length=_MONTH_LENGTH),
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
        series=window(MONTH, "0+0.015625x700", f"900000{_DOWN}", length=_MONTH_LENGTH),
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
        series=window(MONTH, "0+0.0078125x700", f"900000{_DOWN}", length=_MONTH_LENGTH),
        at="440m",
    ),
    Case(
        alert="LLMBudgetBurnSlow",
        name="stops when it is over",
        series=window(MONTH, "0+0.015625x440 7x200", f"900000{_DOWN}", length=_MONTH_LENGTH),
        at="500m",
    ),
    # ----
    Case(
        alert="LLMBudgetSpendSpike",
        name="ten times its usual",
        series={series(sc.METRIC_COST, _COST): "0+0.0078125x480 3.75+0.125x200"},
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
        series={series(sc.METRIC_COST, _COST): "0+0.125x700"},
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="ten times of next to nothing",
        series={series(sc.METRIC_COST, _COST): "0+0.0001x480 0.048+0.001x200"},
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="a new tenant has no past",
        series={series(sc.METRIC_COST, _COST): "_x480 0+0.125x200"},
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="a restart is no spending",
        series={
            series(sc.METRIC_COST, _COST): "0+0.125x480 _x300",
            series(sc.METRIC_COST, _COST, instance="b"): "_x481 0+0.125x300",
        },
        at="560m",
    ),
    Case(
        alert="LLMBudgetSpendSpike",
        name="stops when it is over",
        series={series(sc.METRIC_COST, _COST): "0+0.0078125x480 3.75+0.125x90 15x200"},
        at="650m",
    ),
    # ----
    Case(
        alert="LLMBudgetWillRunOut",
        name="40 % used after a quarter of the day",
        series={**window(DAY, "40x60", "64800x60"), _UTIL: "0.4x60"},
        at="30m",
        fires=(_RUN_OUT,),
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="the same with reservations that are settled",
        series={**window(DAY, "40 70 40 90 " * 15, "64800x60"), _UTIL: "0.4 0.7 0.4 0.9 " * 15},
        at="30m",
        fires=(_RUN_OUT,),
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="two processes tell one budget: one alert",
        series={
            **window(DAY, "40x60", "64800x60"),
            _UTIL: "0.4x60",
            series(sc.METRIC_CONSUMED, DAY, instance="b"): "30x60",
            series(sc.METRIC_LIMIT, DAY, instance="b"): "100x60",
        },
        at="30m",
        fires=(_RUN_OUT,),
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="too little is used to care: 24 % after an eighth of the day",
        series={**window(DAY, "24x60", "75600x60"), _UTIL: "0.24x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="the window ends first",
        series={**window(DAY, "60x60", "14400x60"), _UTIL: "0.6x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="too little of the window has passed to tell",
        series={**window(DAY, "30x60", "80000x60"), _UTIL: "0.3x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="has run out already",
        series={**window(DAY, "100x60", "14400x60"), _UTIL: "1x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="stops after the reset at midnight",
        series={**window(DAY, "70x40 0x40", "30000x40 86400x40"), _UTIL: "0.7x40 0x40"},
        at="55m",
    ),
    Case(
        alert="LLMBudgetWillRunOut",
        name="day and month budgets of one tenant: only the day's",
        series={
            **window(DAY, "40x60", "64800x60"),
            _UTIL: "0.4x60",
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

# -- guard ---------------------------------------------------------------------------------
_POINT = {sc.DECISION_POINT: sc.POINT_LLM}
_SERVICE = {JOB: "agents"}
_GUARD = {sc.GUARD_NAME: "RedisGuard", **_POINT}
_RAISED = {**_GUARD, sc.ERROR_TYPE: "ConnectionError"}
_ERRORS = series(sc.METRIC_GUARD_ERRORS, _RAISED)
_BUCKET = {**_GUARD, sc.DECISION: sc.ALLOW}


def _buckets(quick: str, slow: str, rest: str) -> dict[str, str]:
    return {
        series(sc.METRIC_GUARD_DURATION, _BUCKET, part="_bucket", le=le): values
        for le, values in (("0.25", quick), ("1", slow), ("+Inf", rest))
    }


def _outcome_cases(alert: str, outcome: str, summary: str) -> tuple[Case, ...]:
    """The same five situations for the outcomes `late` and `malformed`."""
    fired = Fired(labels={**_SERVICE, **prom(_POINT)}, value=1, summary=summary)
    x, y = decision(outcome), decision(outcome, instance="b")
    return (
        Case(alert=alert, name="once", series={x: "0x9 1x60"}, at="12m", fires=(fired,)),
        Case(
            alert=alert, name="a job, born above 0", series={x: "_x9 1 _"}, at="12m", fires=(fired,)
        ),
        Case(
            alert=alert,
            name="in one of two processes",
            series={x: "0x9 1x60", y: "5x60"},
            at="19m",
            fires=(fired,),
        ),
        Case(alert=alert, name="stops when it is over", series={x: "0x9 1x60"}, at="40m"),
        Case(alert=alert, name="calm", series={x: "0x60", decision(sc.ALLOW): "0+9x60"}, at="30m"),
    )


GUARD = (
    Case(
        alert="LLMBudgetGuardFailing",
        name="raised twice",
        series={_ERRORS: "0x9 2x60"},
        at="12m",
        fires=(
            Fired(
                labels={**_SERVICE, **prom(_RAISED)},
                value=2,
                summary="agents: budget guard RedisGuard raised ConnectionError at the llm "
                "decisions",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetGuardFailing",
        name="stops when it is over",
        series={_ERRORS: "0x9 2x60"},
        at="40m",
    ),
    Case(
        alert="LLMBudgetGuardFailing",
        name="restarted as a new instance, calm",
        series={
            _ERRORS: "9x29 _x60",
            series(sc.METRIC_GUARD_ERRORS, _RAISED, instance="b"): "_x30 0x60",
        },
        at="35m",
    ),
    *_outcome_cases(
        "LLMBudgetGuardLate",
        sc.LATE,
        "agents: the budget guard answered too late at the llm decisions",
    ),
    *_outcome_cases(
        "LLMBudgetGuardMalformed",
        sc.MALFORMED,
        "agents: the budget guard gave an unreadable answer at the llm decisions",
    ),
    Case(
        alert="LLMBudgetGuardSlow",
        name="nearly every answer takes up to a second",
        series=_buckets("0x60", "0+10x60", "0+10x60"),
        at="40m",
        fires=(
            Fired(
                labels={**_SERVICE, **prom(_GUARD)},
                value=0.9625,
                summary="agents: budget guard RedisGuard takes 962.5ms (95th percentile) at the "
                "llm decisions",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetGuardSlow",
        name="one in a hundred takes long",
        series=_buckets("0+99x60", "0+100x60", "0+100x60"),
        at="40m",
    ),
    Case(
        alert="LLMBudgetGuardSlow",
        name="stops when it is over",
        series=_buckets("0x30 0+10x60", "0+10x30 300+10x60", "0+10x30 300+10x60"),
        at="70m",
    ),
    Case(
        alert="LLMBudgetGuardSlow",
        name="nobody calls",
        series=_buckets("5x60", "5x60", "5x60"),
        at="40m",
    ),
    Case(
        alert="LLMBudgetGuardFailOpen",
        name="a gate lets calls through",
        series={hit(sc.KIND_SOFT, sc.GUARD_UNAVAILABLE): "_x9 3x60"},
        at="12m",
        fires=(
            Fired(
                labels={**_SERVICE, **prom({sc.TENANT: "acme"})},
                value=3,
                summary="agents: calls of tenant acme go ahead without a budget check",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetGuardFailOpen",
        name="stops when it is over",
        series={hit(sc.KIND_SOFT, sc.GUARD_UNAVAILABLE): "_x9 3x60"},
        at="40m",
    ),
    Case(
        alert="LLMBudgetGuardFailOpen",
        name="ordinary soft limits",
        series={_SOFT: "0+1x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetGuardFailClosed",
        name="a gate refuses calls",
        series={hit(sc.KIND_HARD, sc.GUARD_UNAVAILABLE, who={}): "_x9 3x60"},
        at="12m",
        fires=(
            Fired(
                labels=_SERVICE,
                value=3,
                summary="agents: calls of tenant (unknown) are refused because the guard fails",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetGuardFailClosed",
        name="ordinary denials",
        series={_HARD: "0+1x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetGuardFailClosed",
        name="stops when it is over",
        series={hit(sc.KIND_HARD, sc.GUARD_UNAVAILABLE): "_x9 3x60"},
        at="40m",
    ),
)

# -- telemetry -----------------------------------------------------------------------------
_UNPRICED = {
    sc.METRIC_MODEL: "llama-local",
    sc.METRIC_PROVIDER: "ollama",
    sc.REASON: sc.UNKNOWN_MODEL,
}
_UNCOUNTED = {sc.METRIC_MODEL: "claude-sonnet-4-5", sc.REASON: sc.NOT_REPORTED}
_EXPECTED = f'{alert_model.EXPECTED}{{job="shop"}}'
_ABSENT = Fired(
    labels={"job": "shop"}, value=1, summary="shop has sent no budget telemetry for 15m"
)
_COLLECTOR = {"job": "otel-collector", "instance": "127.0.0.1:8888"}
_AT_COLLECTOR = ",".join(f'{name}="{value}"' for name, value in _COLLECTOR.items())
_LOST = [
    (name, signal, where.partition("_")[0])
    for places in collector_metrics.LOSSES.values()
    for where in places
    for signal, name in collector_metrics.counters(where).items()
]
_COLLISION = Fired(
    labels={"job": "agents", "instance": "a"},
    value=10,
    summary="agents: two processes report as instance a",
)


def _queue(size: str) -> dict[str, str]:
    place = f'{_AT_COLLECTOR},exporter="otlp_grpc/jaeger",data_type="traces"'
    return {
        f"{collector_metrics.QUEUE_SIZE}{{{place}}}": size,
        f"{collector_metrics.QUEUE_CAPACITY}{{{place}}}": "1000x90",
    }


TELEMETRY = (
    Case(
        alert="LLMBudgetUnpricedCalls",
        name="a model nobody has a price for",
        series={series(sc.METRIC_UNPRICED_CALLS, {**ACME, **_UNPRICED}): "_x9 4x60"},
        at="12m",
        fires=(
            Fired(
                labels={**_SERVICE, **prom(_UNPRICED)},
                value=4,
                summary="agents: calls of model llama-local have no price (unknown_model)",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetUnpricedCalls",
        name="stops when it is over",
        series={series(sc.METRIC_UNPRICED_CALLS, {**ACME, **_UNPRICED}): "_x9 4x60"},
        at="40m",
    ),
    Case(
        alert="LLMBudgetUnpricedCalls",
        name="calm",
        series={series(sc.METRIC_UNPRICED_CALLS, {**ACME, **_UNPRICED}): "0x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetUncountedCalls",
        name="again and again",
        series={series(sc.METRIC_CALLS_WITHOUT_USAGE, {**ACME, **_UNCOUNTED}): "0x9 1+1x60"},
        at="40m20s",
        fires=(
            Fired(
                labels={**_SERVICE, **prom(_UNCOUNTED)},
                value=10,
                summary="agents: calls of model claude-sonnet-4-5 ended without usage "
                "(not_reported)",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetUncountedCalls",
        name="one stream that somebody left",
        series={series(sc.METRIC_CALLS_WITHOUT_USAGE, {**ACME, **_UNCOUNTED}): "0x9 1x60"},
        at="19m",
    ),
    Case(
        alert="LLMBudgetUncountedCalls",
        name="stops when it is over",
        series={series(sc.METRIC_CALLS_WITHOUT_USAGE, {**ACME, **_UNCOUNTED}): "0+1x30 30x60"},
        at="50m",
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="two processes write one series in turn",
        series={decision(sc.ALLOW): "100+1x30 " + "140 5 " * 20},
        at="50m20s",
        fires=(_COLLISION,),
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="a restart under the same instance id",
        series={decision(sc.ALLOW): "100+1x30 0+1x60"},
        at="50m",
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="two processes, two instance ids",
        series={decision(sc.ALLOW): "100+1x60", decision(sc.ALLOW, instance="b"): "5+1x60"},
        at="50m",
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="stops when it is over",
        series={decision(sc.ALLOW): "140 5 " * 20 + "6+1x60"},
        at="90m",
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="an expected service never came",
        series={_EXPECTED: "1x60"},
        at="12m",
        fires=(_ABSENT,),
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="an expected service fell silent",
        series={_EXPECTED: "1x60", decision(sc.ALLOW, job="shop"): "0+1x10 _x60"},
        at="40m",
        fires=(_ABSENT,),
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="a restart of the service",
        series={
            _EXPECTED: "1x60",
            decision(sc.ALLOW, job="shop"): "0+1x10 _x60",
            decision(sc.ALLOW, job="shop", instance="b"): "_x20 0+1x60",
        },
        at="40m",
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="a job that nobody expects fell silent",
        series={decision(sc.ALLOW): "0+1x10 _x60"},
        at="40m",
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="an expected service that decides nothing now is not silent",
        series={_EXPECTED: "1x60", decision(sc.ALLOW, job="shop"): "7x60"},
        at="40m",
    ),
    *(
        Case(
            alert="LLMBudgetCollectorDropping",
            name=name,
            series={f'{name}{{{_AT_COLLECTOR},{place}="otlp"}}': "_x9 12x60"},
            at="12m",
            fires=(
                Fired(
                    labels={**_COLLECTOR, place: "otlp", collector_metrics.SIGNAL: signal},
                    value=12,
                    summary=f"Collector 127.0.0.1:8888 loses {signal} at otlp",
                ),
            ),
        )
        for name, signal, place in _LOST
    ),
    Case(
        alert="LLMBudgetCollectorDropping",
        name="nothing lost",
        series={f"{name}{{{_AT_COLLECTOR}}}": "0x60" for name, _, _ in _LOST},
        at="30m",
    ),
    Case(
        alert="LLMBudgetCollectorDropping",
        name="stops when it is over",
        series={f"{_LOST[0][0]}{{{_AT_COLLECTOR}}}": "0x9 12x60"},
        at="40m",
    ),
    Case(
        alert="LLMBudgetCollectorQueueFilling",
        name="three quarters full for a while",
        series=_queue("0x9 750x60"),
        at="30m",
        fires=(
            Fired(
                labels={
                    **_COLLECTOR,
                    "exporter": "otlp_grpc/jaeger",
                    "data_type": "traces",
                },
                value=0.75,
                summary="Collector 127.0.0.1:8888: queue of otlp_grpc/jaeger is 75% full",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetCollectorQueueFilling",
        name="full for a few minutes while Jaeger restarts",
        series=_queue("0x9 750x5 0x60"),
        at="30m",
    ),
    Case(
        alert="LLMBudgetCollectorQueueFilling",
        name="nearly empty",
        series=_queue("10x60"),
        at="30m",
    ),
)

CASES = (*LIMITS, *SPEND, *GUARD, *TELEMETRY)

# -- recorded series -----------------------------------------------------------------------
_TWO = {**window(DAY, "40x90", "64800x90"), series(sc.METRIC_CONSUMED, DAY, instance="b"): "30x90"}
_NOTHING = {decision(sc.ALLOW): "1x90"}

RECORDS = (
    RecordCase(
        record=alert_model.UTILIZATION,
        name="the fullest of two processes, each window by itself",
        series={
            _UTIL: "0.25x60",
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
                series=window(DAY, "0+0.25x500", f"80000{_DOWN}", limit=180),
                at=f"{seconds // 60 + 20}m",
                values=((prom(DAY), 2),),
            ),
            RecordCase(
                record=alert_model.burn(name),
                name="seen for too short a time",
                series=window(DAY, "0+0.25x500", f"80000{_DOWN}", limit=180),
                at=f"{seconds // 60 - 2}m",
            ),
        )
    ),
    RecordCase(
        record=alert_model.COST_1H,
        name="three one-shot jobs and a restart, to the cent",
        series={
            series(sc.METRIC_COST, _COST, instance="job1"): "_x20 0.75 _x100",
            series(sc.METRIC_COST, _COST, instance="job2"): "_x40 0.75 _x100",
            series(sc.METRIC_COST, _COST, instance="job3"): "_x60 0.75x2 _x100",
            series(sc.METRIC_COST, _COST, instance="old"): "8x40 8.5x10 _x100",
            series(sc.METRIC_COST, _COST, instance="new"): "_x55 0+0.25x4 1x100",
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
