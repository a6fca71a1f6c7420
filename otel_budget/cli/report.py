"""A run in numbers, read from its metrics and spans, as any backend would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_budget import semconv
from otel_budget.metric import Metric

if TYPE_CHECKING:  # it needs the SDK, which a replay does not
    from otel_budget.sdk.captured import CapturedTelemetry


@dataclass(slots=True)
class Level:
    """How full a budget is at the end of the run."""

    resource: str
    tenant: str | None
    window: str | None
    unit: str
    consumed: float
    limit: float | None
    utilization: float | None


@dataclass(slots=True)
class Tenant:
    """One tenant's share of the run."""

    tenant: str | None
    calls: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    soft_hits: int = 0
    denials: int = 0
    levels: list[Level] = field(default_factory=list)


@dataclass(slots=True)
class Denial:
    """Denied calls of one tenant with the same reason."""

    tenant: str | None
    decision_point: str
    resource: str
    reason: str
    calls: int = 0


@dataclass(slots=True)
class Report:
    """The run in numbers."""

    recorded_calls: int = 0
    refused_calls: int = 0
    tool_denials: int = 0
    soft_hits: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    cost_usd: float = 0.0
    unpriced_calls: dict[str, int] = field(default_factory=dict)
    guard_errors: dict[str, int] = field(default_factory=dict)
    tenants: list[Tenant] = field(default_factory=list)
    other_levels: list[Level] = field(default_factory=list)


def report_of(telemetry: CapturedTelemetry) -> Report:
    """Build the report from the metrics of `telemetry`."""
    metrics = telemetry.metrics()
    report = Report(tokens=dict.fromkeys(semconv.TOKEN_TYPES, 0))
    tenants: dict[str | None, Tenant] = {}

    def points(metric: Metric) -> Iterator[tuple[Mapping[str, Any], Any, Tenant]]:
        for point in series(metrics, metric):
            attributes = dict(point.attributes or {})
            name = attributes.get(semconv.TENANT)
            yield attributes, getattr(point, "value", 0), tenants.setdefault(name, Tenant(name))

    for _, value, tenant in points(semconv.METRIC_CALLS):
        report.recorded_calls += value
        tenant.calls += value
    for attributes, value, tenant in points(semconv.METRIC_TOKENS):
        report.tokens[attributes[semconv.TOKEN_TYPE]] += value
        tenant.tokens += value
    for _, value, tenant in points(semconv.METRIC_COST):
        report.cost_usd += value
        tenant.cost_usd += value
    for attributes, value, tenant in points(semconv.METRIC_THRESHOLD_HITS):
        soft = attributes[semconv.KIND] == semconv.KIND_SOFT
        report.soft_hits += value if soft else 0
        tenant.soft_hits += value if soft else 0
        tenant.denials += 0 if soft else value
    for attributes, value, _ in points(semconv.METRIC_DECISIONS):
        if attributes[semconv.DECISION] in semconv.PROCEEDING:
            continue
        if attributes[semconv.DECISION_POINT] == semconv.POINT_LLM:
            report.refused_calls += value
        else:
            report.tool_denials += value
    report.unpriced_calls = _by(metrics, semconv.METRIC_UNPRICED_CALLS, semconv.REASON)
    report.guard_errors = _by(metrics, semconv.METRIC_GUARD_ERRORS, semconv.ERROR_TYPE)
    seen = {name for name, tenant in tenants.items() if tenant.calls or tenant.denials}
    for level in _levels(metrics):
        if level.tenant in seen:
            tenants[level.tenant].levels.append(level)
        else:
            report.other_levels.append(level)
    report.tenants = sorted(
        (tenants[name] for name in seen),
        key=lambda tenant: (-tenant.cost_usd, -tenant.tokens, tenant.tenant or ""),
    )
    return report


def series(metrics: Mapping[str, Any], metric: Metric) -> list[Any]:
    """The data points of `metric`."""
    found = metrics.get(metric.name)
    return [] if found is None else list(found.data.data_points)


def _by(metrics: Mapping[str, Any], metric: Metric, attribute: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for point in series(metrics, metric):
        counts[str(point.attributes[attribute])] += point.value
    return {name: count for name, count in counts.most_common() if count}


def _levels(metrics: Mapping[str, Any]) -> Iterator[Level]:
    def by_attributes(metric: Metric) -> dict[frozenset[Any], float]:
        return {
            frozenset(point.attributes.items()): point.value for point in series(metrics, metric)
        }

    limits = by_attributes(semconv.METRIC_LIMIT)
    shares = by_attributes(semconv.METRIC_UTILIZATION)
    for key, consumed in by_attributes(semconv.METRIC_CONSUMED).items():
        attributes = dict(key)
        if attributes.get(semconv.SOURCE) == semconv.SOURCE_GUARD:
            yield Level(
                resource=attributes.get(semconv.RESOURCE, ""),
                tenant=attributes.get(semconv.TENANT),
                window=attributes.get(semconv.WINDOW),
                unit=attributes.get(semconv.UNIT, ""),
                consumed=consumed,
                limit=limits.get(key),
                utilization=shares.get(key),
            )


def denials_of(telemetry: CapturedTelemetry) -> list[Denial]:
    """The denied calls by reason, in the order of each reason's first call, read from the spans."""
    denials: dict[tuple[Any, ...], Denial] = {}
    for span in telemetry.spans:
        attributes = span.attributes or {}
        if attributes.get(semconv.DECISION) != semconv.DENY:
            continue
        for event in span.events:
            details = event.attributes or {}
            if event.name == semconv.SPAN_EVENT_THRESHOLD_HIT:
                tenant = attributes.get(semconv.TENANT)
                denial = Denial(
                    None if tenant is None else str(tenant),
                    str(attributes[semconv.DECISION_POINT]),
                    str(details[semconv.RESOURCE]),
                    str(details.get(semconv.MESSAGE, "")),
                )
                key = (denial.tenant, denial.decision_point, denial.resource, denial.reason)
                denials.setdefault(key, denial).calls += 1
    return list(denials.values())
