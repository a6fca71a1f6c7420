"""Every name, unit and bucket of the telemetry. They are written here and nowhere else.

Names change only in a major version; the minor version before it emits old and new. The prefix
is ``budget.``; only model and provider of *metrics* carry their OpenTelemetry GenAI names
(https://github.com/open-telemetry/semantic-conventions-genai). On spans they do not, or a backend
would take a guard's span for a model call and count its tokens twice.
"""

from __future__ import annotations

from typing import Final

from otel_budget.metric import Metric

SCOPE_NAME: Final = "otel_budget"

# -- spans ---------------------------------------------------------------------------------
SPAN_CHECK_BEFORE_LLM: Final = "budget.check_before_llm"
SPAN_RECORD_AFTER_LLM: Final = "budget.record_after_llm"
SPAN_CHECK_BEFORE_TOOL: Final = "budget.check_before_tool"
SPAN_SESSION: Final = "budget.session"

# -- events --------------------------------------------------------------------------------
#: On the check's span; the tag of the runtime's own event.
SPAN_EVENT_THRESHOLD_HIT: Final = "budget_threshold_hit"
#: The same as a log event, which is kept when the span is sampled out.
LOG_EVENT_THRESHOLD_HIT: Final = "budget.threshold_hit"
#: An exception of the guard, under OpenTelemetry's own event name.
SPAN_EVENT_EXCEPTION: Final = "exception"

# -- attributes of spans and events --------------------------------------------------------
SESSION_ID: Final = "session.id"
#: Of a log event alone, each its own: records with the same one are copies, says OpenTelemetry.
LOG_RECORD_UID: Final = "log.record.uid"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

DECISION_POINT: Final = "budget.decision_point"
DECISION: Final = "budget.decision"
ANSWER: Final = "budget.answer"
RESOURCE: Final = "budget.resource"
KIND: Final = "budget.kind"
CONSUMED: Final = "budget.consumed"
LIMIT: Final = "budget.limit"
UTILIZATION: Final = "budget.utilization"
RESERVED: Final = "budget.reserved"
WINDOW: Final = "budget.window"
RESETS_IN: Final = "budget.resets_in"
CAUSE: Final = "budget.cause"
NUMBERS_FROM: Final = "budget.numbers_from"
LEVEL_AGE: Final = "budget.level.age"
MESSAGE: Final = "budget.message"
ESTIMATED_PROMPT_TOKENS: Final = "budget.estimated_prompt_tokens"
TOOL_NAME: Final = "budget.tool.name"
USAGE_INPUT_TOKENS: Final = "budget.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "budget.usage.output_tokens"
USAGE_CACHE_READ_TOKENS: Final = "budget.usage.cache_read_tokens"
USAGE_CACHE_WRITE_TOKENS: Final = "budget.usage.cache_write_tokens"
USAGE_TOTAL_TOKENS: Final = "budget.usage.total_tokens"
COST: Final = "budget.cost"
#: Who told the cost: one of `COST_SOURCES`.
COST_SOURCE: Final = "budget.cost.source"
SESSION_COST: Final = "budget.session.cost"
SESSION_TOKENS: Final = "budget.session.tokens"
MODEL: Final = "budget.model"
PROVIDER: Final = "budget.provider"
TENANT: Final = "budget.tenant"
PRINCIPAL: Final = "budget.principal"
AGENT: Final = "budget.agent"
CORRELATION_ID: Final = "budget.correlation_id"
GUARD_NAME: Final = "budget.guard.name"

# -- attributes of metrics only ------------------------------------------------------------
TOKEN_TYPE: Final = "budget.token.type"
REASON: Final = "budget.reason"
UNIT: Final = "budget.unit"
SOURCE: Final = "budget.source"
SHARED: Final = "budget.shared"
COMPONENT: Final = "budget.component"
LABEL: Final = "budget.label"
METRIC_MODEL: Final = "gen_ai.request.model"
METRIC_PROVIDER: Final = "gen_ai.provider.name"

# -- values --------------------------------------------------------------------------------
POINT_LLM: Final = "llm"
POINT_TOOL: Final = "tool"
POINT_USAGE: Final = "usage"
CHECK_POINTS: Final = (POINT_LLM, POINT_TOOL)

ALLOW: Final = "allow"
SOFT_LIMIT: Final = "soft_limit"
DENY: Final = "deny"
MALFORMED: Final = "malformed"
ERROR: Final = "error"
LATE: Final = "late"
CANCELLED: Final = "cancelled"
#: The possible outcomes of a check: each check has exactly one, so that shares add up.
DECISIONS: Final = (ALLOW, SOFT_LIMIT, DENY, MALFORMED, ERROR, LATE, CANCELLED)
#: The outcomes that let the call proceed.
PROCEEDING: Final = frozenset({ALLOW, SOFT_LIMIT})
#: Those whose spans are offered to a sampler once more: refusals, warnings, failures.
HIT_DECISIONS: Final = frozenset({SOFT_LIMIT, DENY, MALFORMED, ERROR, LATE})
#: The outcome of a successful usage record, on the duration histogram.
RECORDED: Final = "recorded"

KIND_SOFT: Final = "soft"
KIND_HARD: Final = "hard"
KINDS: Final = (KIND_SOFT, KIND_HARD)

# Why a call was refused: the budget is spent, or held by calls in progress; its price is not
# known; a rule refuses it whatever is left; the guard gave no answer that could be used.
CAUSE_SPENT: Final = "spent"
CAUSE_RESERVED: Final = "reserved"
CAUSE_UNPRICED: Final = "unpriced"
CAUSE_POLICY: Final = "policy"
CAUSE_UNAVAILABLE: Final = "unavailable"
CAUSES: Final = (CAUSE_SPENT, CAUSE_RESERVED, CAUSE_UNPRICED, CAUSE_POLICY, CAUSE_UNAVAILABLE)

# Whose the numbers on a hit are: the decision's own, or those of the guard's level.
FROM_DECISION: Final = "decision"
FROM_LEVEL: Final = "level"

TOKENS_INPUT: Final = "input"
TOKENS_OUTPUT: Final = "output"
TOKENS_CACHE_READ: Final = "cache_read"
TOKENS_CACHE_WRITE: Final = "cache_write"
#: Disjoint, so that a sum over them is the true total.
TOKEN_TYPES: Final = (TOKENS_INPUT, TOKENS_OUTPUT, TOKENS_CACHE_READ, TOKENS_CACHE_WRITE)

NO_PRICES: Final = "no_prices"
NO_MODEL: Final = "no_model"
UNKNOWN_MODEL: Final = "unknown_model"
NO_RATE: Final = "no_rate"
CACHE_ACCOUNTING: Final = "cache_accounting"
MALFORMED_USAGE: Final = "malformed_usage"
PRICE_ERROR: Final = "price_error"
UNPRICED_REASONS: Final = (
    NO_PRICES,
    NO_MODEL,
    UNKNOWN_MODEL,
    NO_RATE,
    CACHE_ACCOUNTING,
    MALFORMED_USAGE,
    PRICE_ERROR,
)

COST_FROM_HOST: Final = "host"
COST_FROM_PROVIDER: Final = "provider"
COST_FROM_PRICES: Final = "local"
COST_SOURCES: Final = (COST_FROM_HOST, COST_FROM_PROVIDER, COST_FROM_PRICES)

#: Beside `CACHE_ACCOUNTING`, why an enforcing guard counts a usage as the most that it can be.
REASONING_ACCOUNTING: Final = "reasoning_accounting"

#: Why a model call behind a gate ended without a usage to record: it succeeded but reported none,
#: its stream was abandoned, or it failed after it had reported one.
NOT_REPORTED: Final = "not_reported"
ABANDONED: Final = "abandoned"
DISCARDED: Final = "discarded"
WITHOUT_USAGE_REASONS: Final = (NOT_REPORTED, ABANDONED, DISCARDED)

SOURCE_GUARD: Final = "guard"
SOURCE_SOFT_LIMIT: Final = "soft_limit"

#: Stands for every value beyond a label's cap.
OTHER: Final = "_other_"
#: The resource of an answer that a gate or bridge gives in place of a failing guard's.
GUARD_UNAVAILABLE: Final = "guard_unavailable"

# Which part of the telemetry failed, on `budget.telemetry.errors`.
COMPONENT_SPAN: Final = "span"
COMPONENT_METRICS: Final = "metrics"
COMPONENT_LOG_EVENT: Final = "log_event"
COMPONENT_SESSION_INFO: Final = "session_info"
COMPONENT_PRICES: Final = "prices"
COMPONENT_LEVELS: Final = "budget_levels"
COMPONENT_DECISION: Final = "decision"
COMPONENT_QUEUE: Final = "duration_queue"

# What overflowed, on `budget.label_overflows`; other values there are names of single attributes.
OVERFLOW_LABELS: Final = "labels"
OVERFLOW_SERIES: Final = "series"

#: The attribute of each detail of a hit (`contract.hit_details.HitDetails`), in its order.
DETAIL_ATTRIBUTES: Final = {
    "consumed": CONSUMED,
    "limit": LIMIT,
    "reserved": RESERVED,
    "window": WINDOW,
    "resets_in": RESETS_IN,
    "cause": CAUSE,
    "numbers_from": NUMBERS_FROM,
    "level_age": LEVEL_AGE,
}
#: The span and event attribute of each field of `SessionInfo`.
SESSION_ATTRIBUTES: Final = {
    "tenant": TENANT,
    "principal": PRINCIPAL,
    "agent": AGENT,
    "correlation_id": CORRELATION_ID,
    "model": MODEL,
    "provider": PROVIDER,
}
#: The metric labels that ``metric_labels`` chooses from, and their attributes.
LABELS: Final = {"tenant": TENANT, "agent": AGENT, "principal": PRINCIPAL}


# -- metrics -------------------------------------------------------------------------------
def _counter(
    name: str, unit: str, description: str, attributes: tuple[str, ...], *, labelled: bool = True
) -> Metric:
    return Metric(name, "counter", unit, description, attributes, labelled)


def _level_gauge(name: str, description: str, *, unit: str = "") -> Metric:
    return Metric(name, "gauge", unit, description, _LEVEL)


_CALL: Final = (METRIC_MODEL, METRIC_PROVIDER)
_LEVEL: Final = (GUARD_NAME, RESOURCE, WINDOW, UNIT, SOURCE, SHARED)

METRIC_DECISIONS: Final = _counter(
    "budget.decisions",
    "{decision}",
    "Decisions of the guard by decision point and outcome.",
    (DECISION_POINT, DECISION),
)
METRIC_THRESHOLD_HITS: Final = _counter(
    "budget.threshold_hits",
    "{hit}",
    "Soft limits and denials by resource (and by tool, where a tool was checked).",
    (DECISION_POINT, KIND, RESOURCE, TOOL_NAME, WINDOW, CAUSE),
)
METRIC_TOKENS: Final = _counter(
    "budget.tokens",
    "{token}",
    "Tokens of recorded calls by disjoint type: their sum is the true total.",
    (TOKEN_TYPE, *_CALL),
)
METRIC_COST: Final = _counter(
    "budget.cost",
    "USD",
    "Cost of the recorded calls that could be priced.",
    (*_CALL, COST_SOURCE),
)
METRIC_CALLS: Final = _counter(
    "budget.calls", "{call}", "Recorded (successful) model calls.", _CALL
)
METRIC_UNPRICED_CALLS: Final = _counter(
    "budget.unpriced_calls",
    "{call}",
    "Recorded calls that add nothing to the cost because their price is not known.",
    (*_CALL, REASON),
)
METRIC_CALLS_WITHOUT_USAGE: Final = _counter(
    "budget.calls_without_usage",
    "{call}",
    "Model calls behind a gate that ended without a usage to record: their spend is not counted.",
    (*_CALL, REASON),
)
METRIC_ESTIMATED_TOKENS: Final = _counter(
    "budget.estimated_tokens",
    "{token}",
    "Prompt tokens estimated by the checks that let their call proceed.",
    _CALL,
)
METRIC_CONSUMED: Final = _level_gauge(
    "budget.consumed", "How much of a budget is used, in the unit of its unit attribute."
)
METRIC_LIMIT: Final = _level_gauge(
    "budget.limit", "Limit of a budget (source=soft_limit: the threshold crossed)."
)
# No unit: on the way to Prometheus "1" may or may not become the suffix `_ratio`.
METRIC_UTILIZATION: Final = _level_gauge(
    "budget.utilization", "Consumed over limit; absent where no limit is known."
)
METRIC_RESERVED: Final = _level_gauge(
    "budget.reserved", "How much of a budget is held for calls in progress, beside what is used."
)
METRIC_RESERVATION_AGE: Final = _level_gauge(
    "budget.reservation.age", "Age of the oldest of these reservations.", unit="s"
)
METRIC_WINDOW_LENGTH: Final = _level_gauge(
    "budget.window.length", "Length of the budget's window.", unit="s"
)
METRIC_WINDOW_REMAINING: Final = _level_gauge(
    "budget.window.remaining", "Time until the budget's window resets.", unit="s"
)
METRIC_UNCOUNTED_CALLS: Final = _level_gauge(
    "budget.uncounted_calls",
    "Calls of the current window that a budget could not count: it says less than was used.",
    unit="{call}",
)
METRIC_GUARD_DURATION: Final = Metric(
    "budget.guard.duration",
    "histogram",
    "s",
    "Time the guard took to answer.",
    (DECISION_POINT, DECISION, GUARD_NAME),
    labelled=False,
)
METRIC_GUARD_ERRORS: Final = _counter(
    "budget.guard.errors",
    "{error}",
    "Exceptions raised by the guard.",
    (DECISION_POINT, ERROR_TYPE, GUARD_NAME),
    labelled=False,
)
METRIC_TELEMETRY_ERRORS: Final = _counter(
    "budget.telemetry.errors",
    "{error}",
    "Failures of the telemetry itself, none of which reached the host.",
    (COMPONENT,),
    labelled=False,
)
METRIC_LABEL_OVERFLOWS: Final = _counter(
    "budget.label_overflows",
    "{overflow}",
    "Values counted under `_other_` because their label's cap was reached.",
    (LABEL,),
    labelled=False,
)

#: Every metric above, in this order.
METRICS: Final = tuple(value for value in globals().values() if isinstance(value, Metric))

#: In seconds: from 0.1 ms (a dictionary look-up) to 10 s (twice the runtime's deadline).
GUARD_DURATION_BUCKETS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
)  # fmt: skip
