"""The Prometheus labels that queries, panels and alerts name, each written once."""

from __future__ import annotations

from typing import Final

from otel_budget import semconv
from otel_budget.metric import prometheus_label


def label(attribute: str) -> str:
    """The label that Prometheus makes of an OpenTelemetry attribute."""
    return prometheus_label(attribute)


#: Prometheus' names for service.namespace/service.name and service.instance.id.
JOB: Final = "job"
INSTANCE: Final = "instance"
#: The resource attribute deployment.environment.name, where the backend promotes it to a label
#: (``otlp.promote_resource_attributes`` of the shipped Prometheus configuration).
ENVIRONMENT: Final = label("deployment.environment.name")

TENANT: Final = label(semconv.TENANT)
AGENT: Final = label(semconv.AGENT)
PRINCIPAL: Final = label(semconv.PRINCIPAL)
RESOURCE: Final = label(semconv.RESOURCE)
WINDOW: Final = label(semconv.WINDOW)
UNIT: Final = label(semconv.UNIT)
SOURCE: Final = label(semconv.SOURCE)
SHARED: Final = label(semconv.SHARED)
CAUSE: Final = label(semconv.CAUSE)
MODEL: Final = label(semconv.METRIC_MODEL)
PROVIDER: Final = label(semconv.METRIC_PROVIDER)
TOKEN_TYPE: Final = label(semconv.TOKEN_TYPE)
REASON: Final = label(semconv.REASON)
TOOL: Final = label(semconv.TOOL_NAME)
GUARD: Final = label(semconv.GUARD_NAME)
POINT: Final = label(semconv.DECISION_POINT)
DECISION: Final = label(semconv.DECISION)
KIND: Final = label(semconv.KIND)
ERROR_TYPE: Final = label(semconv.ERROR_TYPE)
COMPONENT: Final = label(semconv.COMPONENT)
#: Of the label overflows: which label overflowed.
OVERFLOWED: Final = label(semconv.LABEL)

#: What a budget is called. Every other label belongs to the reporting process.
BUDGET: Final = (
    ENVIRONMENT,
    *(label(attribute) for attribute in semconv.LABELS.values()),
    GUARD,
    RESOURCE,
    WINDOW,
    UNIT,
    SOURCE,
)
#: The same for levels of one source.
BUDGET_OF_ONE_SOURCE: Final = tuple(name for name in BUDGET if name != SOURCE)
#: What makes two levels the same budget. Two services whose budgets are called the same have two,
#: unless the guard says that the budget is shared: such levels are without job (`queries.level`).
LEVEL: Final = (*BUDGET, SHARED, JOB)
LEVEL_OF_ONE_SOURCE: Final = tuple(name for name in LEVEL if name != SOURCE)
