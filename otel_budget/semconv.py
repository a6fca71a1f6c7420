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

# What a name means is said in the `#:` comment beside it, and printed in docs/reference/.
# -- spans ---------------------------------------------------------------------------------
#: Around the guard's answer to: may this session call the model?
SPAN_CHECK_BEFORE_LLM: Final = "budget.check_before_llm"
#: Around the guard's record of a successful model call.
SPAN_RECORD_AFTER_LLM: Final = "budget.record_after_llm"
#: Around the guard's answer to: may this session call this tool?
SPAN_CHECK_BEFORE_TOOL: Final = "budget.check_before_tool"
#: Root of a session's decisions that have no span of the host around them; ended at once.
SPAN_SESSION: Final = "budget.session"

# -- events --------------------------------------------------------------------------------
#: On the check's span, for each soft limit and denial; named as the runtime's own event.
SPAN_EVENT_THRESHOLD_HIT: Final = "budget_threshold_hit"
#: The same as a log event, which is kept when the span is sampled out.
LOG_EVENT_THRESHOLD_HIT: Final = "budget.threshold_hit"
#: An exception of the guard, under OpenTelemetry's own event name.
SPAN_EVENT_EXCEPTION: Final = "exception"

# -- attributes of spans and events --------------------------------------------------------
SESSION_ID: Final = "session.id"  #: The session, as the runtime calls it.
#: Of a log event alone, each its own: records with the same one are copies, says OpenTelemetry.
LOG_RECORD_UID: Final = "log.record.uid"
#: What failed: the class of the guard's exception, `malformed` or `malformed_usage`.
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"  #: The class of the guard's exception.
EXCEPTION_MESSAGE: Final = "exception.message"  #: Its text, capped.
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"  #: Its stack trace, capped.

DECISION_POINT: Final = "budget.decision_point"  #: What was asked: `llm`, `tool` or `usage`.
#: What became of the check, or of a record that failed.
DECISION: Final = "budget.decision"
ANSWER: Final = "budget.answer"  #: What a late answer said: `allow`, `soft_limit` or `deny`.
RESOURCE: Final = "budget.resource"  #: The budget that was hit, as the guard names it.
KIND: Final = "budget.kind"  #: `soft` (the call proceeded) or `hard` (it was refused).
CONSUMED: Final = "budget.consumed"  #: How much of the budget is used, in its own unit.
LIMIT: Final = "budget.limit"  #: Its limit, or the threshold that was crossed; same unit.
UTILIZATION: Final = "budget.utilization"  #: Consumed over limit.
RESERVED: Final = "budget.reserved"  #: How much is held for calls in progress; same unit.
WINDOW: Final = "budget.window"  #: The budget's window.
RESETS_IN: Final = "budget.resets_in"  #: Seconds until the window resets.
CAUSE: Final = "budget.cause"  #: Why the call was refused.
#: Whose these numbers are: the `decision`'s own, or those of the `level` behind it.
NUMBERS_FROM: Final = "budget.numbers_from"
LEVEL_AGE: Final = "budget.level.age"  #: Seconds since that level was polled.
MESSAGE: Final = "budget.message"  #: The soft limit's message or the denial's reason, capped.
#: The runtime's estimate of the prompt's size, in tokens.
ESTIMATED_PROMPT_TOKENS: Final = "budget.estimated_prompt_tokens"
TOOL_NAME: Final = "budget.tool.name"  #: The tool. The model chose the name: it can be any text.
USAGE_INPUT_TOKENS: Final = "budget.usage.input_tokens"  #: Tokens sent, without those cached.
USAGE_OUTPUT_TOKENS: Final = "budget.usage.output_tokens"  #: Tokens generated.
#: Tokens read from the provider's prompt cache.
USAGE_CACHE_READ_TOKENS: Final = "budget.usage.cache_read_tokens"
#: Tokens written to it.
USAGE_CACHE_WRITE_TOKENS: Final = "budget.usage.cache_write_tokens"
USAGE_TOTAL_TOKENS: Final = "budget.usage.total_tokens"  #: The total that the provider reported.
COST: Final = "budget.cost"  #: What the call cost, in USD; absent where its price is unknown.
COST_SOURCE: Final = "budget.cost.source"  #: Who told the cost.
SESSION_COST: Final = "budget.session.cost"  #: The session's cost so far in this process, in USD.
SESSION_TOKENS: Final = "budget.session.tokens"  #: Its tokens so far.
MODEL: Final = "budget.model"  #: The model that the call is for.
PROVIDER: Final = "budget.provider"  #: The provider that serves the model.
TENANT: Final = "budget.tenant"  #: Who pays.
PRINCIPAL: Final = "budget.principal"  #: The user, or whoever else the call is made for.
AGENT: Final = "budget.agent"  #: The agent that makes the call.
CORRELATION_ID: Final = "budget.correlation_id"  #: The host's own id of the work in hand.
GUARD_NAME: Final = "budget.guard.name"  #: The guard, by `instrument(name=…)` or its class.

# -- attributes of metrics only ------------------------------------------------------------
TOKEN_TYPE: Final = "budget.token.type"  #: One of four disjoint types.
REASON: Final = "budget.reason"  #: Why a call has no price, or no usage.
UNIT: Final = "budget.unit"  #: The budget's unit: `USD`, `tokens`, or the guard's own.
#: Who told it: `guard` (`budget_levels`), or else the last `soft_limit`.
SOURCE: Final = "budget.source"
SHARED: Final = "budget.shared"  #: Whether other processes tell of the same budget, if known.
COMPONENT: Final = "budget.component"  #: Which part of the telemetry failed.
#: What overflowed: `labels`, `series`, or the name of an attribute.
LABEL: Final = "budget.label"
METRIC_MODEL: Final = "gen_ai.request.model"  #: The model, on metrics.
METRIC_PROVIDER: Final = "gen_ai.provider.name"  #: The provider, on metrics.

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
