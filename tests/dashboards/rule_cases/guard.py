"""The alerts of the guard itself: failing, late, slow."""

from __future__ import annotations

from otel_budget import semconv as sc
from rule_cases.case import (
    HARD,
    SERVICE,
    SOFT,
    Case,
    Fired,
    decision,
    hit,
    over,
    prom,
    series,
)

_POINT = {sc.DECISION_POINT: sc.POINT_LLM}
_GUARD = {sc.GUARD_NAME: "RedisGuard", **_POINT}
_RAISED = {**_GUARD, sc.ERROR_TYPE: "ConnectionError"}
_ERRORS = series(sc.METRIC_GUARD_ERRORS, _RAISED)
_FAILED = Fired(
    labels={**SERVICE, **prom(_RAISED)},
    value=2,
    summary="agents: budget guard RedisGuard raised ConnectionError at the llm decisions",
)
_STOOD_IN = hit(sc.KIND_SOFT, sc.GUARD_UNAVAILABLE)
_LET_THROUGH = Fired(
    labels={**SERVICE, **prom({sc.TENANT: "acme"})},
    value=3,
    summary="agents: calls of tenant acme go ahead without a budget check",
)
_REFUSED = Fired(
    labels=SERVICE,
    value=3,
    summary="agents: calls of tenant (unknown) are refused because the guard fails",
)
_BUCKET = {**_GUARD, sc.DECISION: sc.ALLOW}


def _buckets(quick: str, slow: str, rest: str) -> dict[str, str]:
    return {
        series(sc.METRIC_GUARD_DURATION, _BUCKET, part="_bucket", le=le): values
        for le, values in (("0.25", quick), ("1", slow), ("+Inf", rest))
    }


def _outcome_cases(alert: str, outcome: str, summary: str) -> tuple[Case, ...]:
    """The same five situations for the outcomes `late` and `malformed`."""
    fired = Fired(labels={**SERVICE, **prom(_POINT)}, value=1, summary=summary)
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
        *over(alert, x, fired),
        Case(alert=alert, name="calm", series={x: "0x60", decision(sc.ALLOW): "0+9x60"}, at="30m"),
    )


GUARD = (
    Case(
        alert="LLMBudgetGuardFailing",
        name="raised twice",
        series={_ERRORS: "0x9 2x60"},
        at="12m",
        fires=(_FAILED,),
    ),
    *over("LLMBudgetGuardFailing", _ERRORS, _FAILED),
    Case(
        alert="LLMBudgetGuardFailing",
        name="restarted as a new instance, calm",
        series={
            _ERRORS: "9x99 _x60",
            series(sc.METRIC_GUARD_ERRORS, _RAISED, instance="b"): "_x100 0x60",
        },
        at="105m",
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
        series=_buckets("0x90", "0+10x90", "0+10x90"),
        at="40m",
        fires=(
            Fired(
                labels={**SERVICE, **prom(_GUARD)},
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
        series=_buckets("0x30 0+10x90", "0+10x30 300+10x90", "0+10x30 300+10x90"),
        at="110m",
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
        series={_STOOD_IN: "_x9 3x60"},
        at="12m",
        fires=(_LET_THROUGH,),
    ),
    Case(
        alert="LLMBudgetGuardFailOpen",
        name="stops when it is over",
        series={_STOOD_IN: f"0x9 {_LET_THROUGH.value:g}x90"},
        at="27m",
    ),
    Case(
        alert="LLMBudgetGuardFailOpen",
        name="ordinary soft limits",
        series={SOFT: "0+1x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetGuardFailClosed",
        name="a gate refuses calls",
        series={hit(sc.KIND_HARD, sc.GUARD_UNAVAILABLE, who={}): "_x9 3x60"},
        at="12m",
        fires=(_REFUSED,),
    ),
    Case(
        alert="LLMBudgetGuardFailClosed",
        name="ordinary denials",
        series={HARD: "0+1x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetGuardFailClosed",
        name="stops when it is over",
        series={hit(sc.KIND_HARD, sc.GUARD_UNAVAILABLE, who={}): f"0x9 {_REFUSED.value:g}x90"},
        at="27m",
    ),
)
