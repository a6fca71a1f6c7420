"""What is not seen in the telemetry itself: when an attribute is absent, what its values mean."""

from __future__ import annotations

from typing import Final

from otel_budget import semconv

_KNOWN: Final = "when `session_info` or `call_info` tells it"
_DETAIL: Final = "on a hit, when known"

#: When an attribute is there that is not always there.
WHEN: Final = {
    **dict.fromkeys(semconv.SESSION_ATTRIBUTES.values(), _KNOWN),
    **dict.fromkeys(semconv.DETAIL_ATTRIBUTES.values(), _DETAIL),
    semconv.UTILIZATION: "on a hit, when consumed and limit are known",
    semconv.CAUSE: "on a denial, when known",
    semconv.LEVEL_AGE: "with numbers from a level",
    semconv.NUMBERS_FROM: "with consumed, limit or reserved",
    semconv.RESOURCE: "on a hit",
    semconv.MESSAGE: "when the guard gave one, unless `messages=False`",
    semconv.ANSWER: "when the answer came too late",
    semconv.ERROR_TYPE: "when the guard failed, or what it was given cannot be read",
    semconv.ESTIMATED_PROMPT_TOKENS: "when the runtime gave a whole number",
    semconv.TOOL_NAME: "when a tool was checked",
    semconv.DECISION: "when the record failed",
    semconv.SESSION_COST: "on a hit",
    semconv.SESSION_TOKENS: "on a hit",
    semconv.COST: "when the call could be priced",
    semconv.COST_SOURCE: "with a cost",
    **dict.fromkeys(
        (
            semconv.USAGE_INPUT_TOKENS,
            semconv.USAGE_OUTPUT_TOKENS,
            semconv.USAGE_CACHE_READ_TOKENS,
            semconv.USAGE_CACHE_WRITE_TOKENS,
            semconv.USAGE_TOTAL_TOKENS,
        ),
        "when the usage can be read",
    ),
    semconv.EXCEPTION_MESSAGE: "unless `messages=False`",
    semconv.EXCEPTION_STACKTRACE: "opt-in: `OTEL_PYTHON_BUDGET_STACKTRACES=true`",
}

#: The values of each attribute that has a closed list, and what each means.
VALUES: Final[dict[str, dict[str, str]]] = {
    semconv.DECISION_POINT: {
        semconv.POINT_LLM: "before a model call",
        semconv.POINT_TOOL: "before a tool call",
        semconv.POINT_USAGE: "after a model call",
    },
    semconv.DECISION: {
        semconv.ALLOW: "the call proceeds",
        semconv.SOFT_LIMIT: "it proceeds, and a threshold is crossed",
        semconv.DENY: "it is refused",
        semconv.MALFORMED: "the runtime rejects the guard's answer, and refuses the call",
        semconv.ERROR: "the guard raised",
        semconv.LATE: "the guard answered after its caller had given up",
        semconv.CANCELLED: "the caller went away while the guard was being asked",
        semconv.RECORDED: "a usage was recorded (on `budget.guard.duration` only)",
    },
    semconv.KIND: {
        semconv.KIND_SOFT: "the call proceeded",
        semconv.KIND_HARD: "it was refused",
    },
    semconv.CAUSE: {
        semconv.CAUSE_SPENT: "the budget is used up",
        semconv.CAUSE_RESERVED: "what is left is held for calls in progress",
        semconv.CAUSE_UNPRICED: "what the call would cost is not known",
        semconv.CAUSE_POLICY: "a rule refuses it, whatever is left",
        semconv.CAUSE_UNAVAILABLE: "the guard gave no answer that could be used",
    },
    semconv.NUMBERS_FROM: {
        semconv.FROM_DECISION: "the guard told them with its decision",
        semconv.FROM_LEVEL: "the guard's `budget_levels()` told them, up to 10 s before",
    },
    semconv.TOKEN_TYPE: {
        semconv.TOKENS_INPUT: "sent, and not from or to the cache",
        semconv.TOKENS_OUTPUT: "generated, reasoning included",
        semconv.TOKENS_CACHE_READ: "read from the provider's cache",
        semconv.TOKENS_CACHE_WRITE: "written to it",
    },
    semconv.COST_SOURCE: {
        semconv.COST_FROM_HOST: "`call_info(cost_usd=…)` or `call.usage(…, cost_usd=…)`",
        semconv.COST_FROM_PROVIDER: "the usage itself, as OpenRouter and xAI report it",
        semconv.COST_FROM_PRICES: "the price source: an estimate",
    },
    semconv.REASON: {
        semconv.NO_PRICES: "there is no price source",
        semconv.NO_MODEL: "the model is not known",
        semconv.UNKNOWN_MODEL: "the price source does not know the model",
        semconv.NO_RATE: "it has no rate for a part of the call",
        semconv.CACHE_ACCOUNTING: "whether the prompt contains the cached tokens is not known",
        semconv.MALFORMED_USAGE: "the usage cannot be read",
        semconv.PRICE_ERROR: "the price source raised",
        semconv.NOT_REPORTED: "the call succeeded and no usage was reported",
        semconv.ABANDONED: "its stream was abandoned",
        semconv.DISCARDED: "it failed after its usage was reported",
    },
    semconv.SOURCE: {
        semconv.SOURCE_GUARD: "the guard's `budget_levels()`",
        semconv.SOURCE_SOFT_LIMIT: "its last soft limit, for five minutes",
    },
    semconv.COMPONENT: {
        semconv.COMPONENT_SPAN: "a span could not be started, filled or ended",
        semconv.COMPONENT_METRICS: "a number could not be counted",
        semconv.COMPONENT_LOG_EVENT: "a log event could not be written",
        semconv.COMPONENT_SESSION_INFO: "`session_info` raised or returned something else",
        semconv.COMPONENT_PRICES: "the price source raised",
        semconv.COMPONENT_LEVELS: "`budget_levels()` raised, or a level cannot be read",
        semconv.COMPONENT_DECISION: "an optional field of a decision cannot be read",
        semconv.COMPONENT_QUEUE: "durations were dropped, because nobody collects",
    },
}

#: Examples of attributes whose value differs from run to run.
EXAMPLES: Final = {
    semconv.LEVEL_AGE: "2.4",
    semconv.LOG_RECORD_UID: "5f0c3a…",
    semconv.EXCEPTION_STACKTRACE: "Traceback (most recent call last): …",
}

#: What the SDK's own variables do here. `configure` reads those that its docstring lists.
SDK_VARIABLES: Final = {
    "OTEL_SDK_DISABLED": "`true`: `configure()` sets up nothing. Guards work as before.",
    "OTEL_CONFIG_FILE": "Not read by `configure()`, which warns. Under `opentelemetry-instrument` "
    "it is the SDK's.",
    "OTEL_SERVICE_NAME": "The service; alerts and dashboards group by it. "
    "`configure(service_name=…)` overrides it.",
    "OTEL_RESOURCE_ATTRIBUTES": "Further attributes of the process. Leave `service.instance.id` "
    "out: each process gets its own.",
    "OTEL_TRACES_EXPORTER": "`otlp` (the default here), `console`, `none`, or an installed one.",
    "OTEL_METRICS_EXPORTER": "The same for metrics.",
    "OTEL_LOGS_EXPORTER": "The same for log events.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where everything goes; the path `/v1/…` is added for each "
    "signal. Each signal can have its own: `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`.",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "`http/protobuf` (the default of `configure()`) or `grpc` (that "
    "of `opentelemetry-instrument`).",
    "OTEL_EXPORTER_OTLP_HEADERS": "Headers such as a vendor's key: `name=value,name=value`.",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "The certificate that the Collector's is checked with.",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "Seconds for one export (10).",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "Keep `cumulative` (the default) unless "
    "your backend wants `delta`.",
    "OTEL_METRIC_EXPORT_INTERVAL": "Milliseconds between exports of metrics (60000). Levels come "
    "and go above two minutes.",
    "OTEL_TRACES_SAMPLER": "Wrapped by `configure()` so that hits are kept; without it, name "
    "`budget_keep_hits` here.",
    "OTEL_TRACES_SAMPLER_ARG": "The share that the sampler keeps, e.g. `0.05`.",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "At `0` no span has its threshold event; log events remain.",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "Spans in one export.",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "Log events in one export.",
}
