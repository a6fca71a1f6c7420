"""What a case of the rule tests is made of.

Series are written as promtool writes them ("0x5 1x20": five zeros after the first, then ones;
"_": no sample), one sample a minute. Rules are evaluated every 50 s, so that evaluations fall
between the samples as they do in life; less often in cases that take days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dashboards.builder import queries as q
from dashboards.builder.labels import JOB
from otel_budget import semconv as sc
from otel_budget.metric import Metric, prometheus_label

NAMES = q.Names()
Labels = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Fired:
    """An alert that must fire: its labels (without severity), its value, its summary."""

    labels: Labels
    value: float
    summary: str


@dataclass(frozen=True, kw_only=True)
class _Situation:
    """What Prometheus holds, when to look, which groups run (none: what is needed), how often;
    `step` is the time between two samples.
    """

    name: str
    series: Mapping[str, str]
    at: str
    groups: tuple[str, ...] = ()
    every: str = "50s"
    step: str = "1m"


@dataclass(frozen=True, kw_only=True)
class Case(_Situation):
    """One situation of one alert, and what must fire."""

    alert: str
    fires: tuple[Fired, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RecordCase(_Situation):
    """One situation of one recorded series and the values it must have (none: no series)."""

    record: str
    values: tuple[tuple[Labels, float], ...] = field(default=())


def over(alert: str, series: str, fired: Fired) -> tuple[Case, Case]:
    """What happened in the tenth minute alone: an alert that goes on for an hour, and then ends."""
    history = {series: f"0x9 {fired.value:g}x90"}
    return (
        Case(alert=alert, name="goes on for an hour", series=history, at="75m", fires=(fired,)),
        Case(alert=alert, name="stops when it is over", series=history, at="85m"),
    )


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
    more: Labels | None = None,
) -> str:
    """A series of soft limits or denials, with more attributes (window, cause)."""
    attributes = {
        **who,
        **(more or {}),
        sc.DECISION_POINT: point,
        sc.KIND: kind,
        sc.RESOURCE: resource,
    }
    return series(sc.METRIC_THRESHOLD_HITS, attributes, instance=instance)


def decision(outcome: str, *, instance: str = "a", **labels: str) -> str:
    """A series of decisions."""
    attributes = {**ACME, sc.DECISION_POINT: sc.POINT_LLM, sc.DECISION: outcome}
    return series(sc.METRIC_DECISIONS, attributes, instance=instance, **labels)


def budget(
    window: str = "day",
    source: str = sc.SOURCE_GUARD,
    who: Labels | None = None,
    shared: str = "true",
) -> dict[str, str]:
    """The attributes of a budget's level, of a guard with a store that its services share."""
    return {
        **({sc.SHARED: shared} if shared else {}),
        **({sc.TENANT: "acme"} if who is None else who),
        sc.GUARD_NAME: "RedisGuard",
        sc.RESOURCE: "llm_cost_usd",
        sc.WINDOW: window,
        sc.UNIT: "USD",
        sc.SOURCE: source,
    }


HARD, SOFT = hit(sc.KIND_HARD), hit(sc.KIND_SOFT)
DAY = budget()
MONTH = budget("month")
UTIL = series(sc.METRIC_UTILIZATION, DAY)
COST = {sc.TENANT: "acme", sc.METRIC_MODEL: "claude-sonnet-4-5"}
SERVICE = {JOB: "agents"}
DOWN = "-60x2000"
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
