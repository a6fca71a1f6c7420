"""What the canary decides and therefore must arrive: one description for sender and checker."""

from __future__ import annotations

from typing import Final

from otel_budget import semconv
from otel_budget.metric import Metric, prometheus_label

#: Of the canary's service and guard; its tenants begin with it. Alert rules leave them out.
NAME: Final = "otel-budget-verify"
#: The matcher of every other tenant's series in Prometheus.
OTHER_TENANTS: Final = f'{prometheus_label(semconv.TENANT)}!~"{NAME}-.+"'
RESOURCE: Final = "canary_usd"
MODEL: Final = "canary-model"
PROVIDER: Final = "canary"
REASON: Final = "the canary of otel-budget verify is refused"
CONSUMED: Final = 8.0
LIMIT: Final = 10.0
ESTIMATED_TOKENS: Final = 100
INPUT_TOKENS: Final = 1_000
OUTPUT_TOKENS: Final = 500
#: USD per million tokens.
INPUT_RATE: Final = 2.0
OUTPUT_RATE: Final = 8.0
COST: Final = (INPUT_TOKENS * INPUT_RATE + OUTPUT_TOKENS * OUTPUT_RATE) / 1e6

_LLM: Final = {semconv.DECISION_POINT: semconv.POINT_LLM}
_CALL: Final = {semconv.METRIC_MODEL: MODEL, semconv.METRIC_PROVIDER: PROVIDER}

#: Metric, attributes besides the tenant, and the value in each process.
VALUES: Final[tuple[tuple[Metric, dict[str, str], float], ...]] = (
    (semconv.METRIC_DECISIONS, _LLM | {semconv.DECISION: semconv.SOFT_LIMIT}, 1),
    (semconv.METRIC_DECISIONS, _LLM | {semconv.DECISION: semconv.DENY}, 1),
    (semconv.METRIC_THRESHOLD_HITS, _LLM | {semconv.KIND: semconv.KIND_SOFT}, 1),
    (semconv.METRIC_THRESHOLD_HITS, _LLM | {semconv.KIND: semconv.KIND_HARD}, 1),
    (semconv.METRIC_TOKENS, _CALL | {semconv.TOKEN_TYPE: semconv.TOKENS_INPUT}, INPUT_TOKENS),
    (semconv.METRIC_TOKENS, _CALL | {semconv.TOKEN_TYPE: semconv.TOKENS_OUTPUT}, OUTPUT_TOKENS),
    (semconv.METRIC_COST, _CALL, COST),
    (semconv.METRIC_CALLS, _CALL, 1),
    (semconv.METRIC_ESTIMATED_TOKENS, _CALL, ESTIMATED_TOKENS),
    (semconv.METRIC_CONSUMED, {semconv.RESOURCE: RESOURCE}, CONSUMED),
    (semconv.METRIC_LIMIT, {semconv.RESOURCE: RESOURCE}, LIMIT),
    (semconv.METRIC_UTILIZATION, {semconv.RESOURCE: RESOURCE}, CONSUMED / LIMIT),
)
