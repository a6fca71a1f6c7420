"""Langfuse: observations, as its exports and its API have them."""

from __future__ import annotations

from typing import Any

from otel_budget.cli.replay.log.call import FAILED, NO_MODEL_CALL, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import Format, usage_of
from otel_budget.cli.replay.log.values import (
    Row,
    count,
    counts,
    loaded,
    money,
    text,
    time_of,
    value,
)

_DETAILS = ("usageDetails", "usage_details")
#: Older exports have the counts in columns, or in a usage of this form.
_COUNTS = (
    {"input_tokens": "promptTokens", "output_tokens": "completionTokens"},
    {"input_tokens": "usage.input", "output_tokens": "usage.output"},
    {"input_tokens": "inputUsage", "output_tokens": "outputUsage"},
)


def _fits(row: Row) -> bool:
    has_id = bool({"traceId", "trace_id", "parentObservationId"} & row.keys())
    names = {*_DETAILS, "promptTokens", "calculatedTotalCost", "costDetails", "cost_details"}
    return has_id and (bool(names & row.keys()) or value(row, "usage.input") is not None)


def _parts(details: Row) -> dict[str, Any]:
    """The counts of Langfuse, of which each stands for itself, as a usage with the cache beside.

    Where the total is input plus output, the others are contained in these two.
    """
    numbers = {name: count(name, number) for name, number in details.items() if number is not None}
    total = numbers.pop("total", None)
    parts = {"input": 0, "output": 0, "read": 0, "write": 0}
    is_contained = total == numbers.get("input", 0) + numbers.get("output", 0)
    for name, number in numbers.items():
        kind = "output" if name.startswith(("output", "completion")) else "input"
        if "cache" in name:
            kind = "write" if "creation" in name or "write" in name else "read"
        if name in parts or "cache" in name or not is_contained:
            parts[kind] += number
    if is_contained:
        parts["input"] = max(0, parts["input"] - parts["read"] - parts["write"])
    return {
        "input_tokens": parts["input"],
        "output_tokens": parts["output"],
        "cache_read_input_tokens": parts["read"],
        "cache_creation_input_tokens": parts["write"],
    }


def _read(row: Row) -> LoggedCall | Aside:
    details = loaded(value(row, *_DETAILS))
    raw = _parts(details) if isinstance(details, dict) and details else {}
    raw = raw or next((found for names in _COUNTS if (found := counts(row, names))), {})
    if not any(raw.values()):
        return FAILED if text(row, "level") == "ERROR" else NO_MODEL_CALL
    identity = text(row, "id")
    return LoggedCall(
        usage_of({"input_tokens": 0, "output_tokens": 0} | raw),
        time_of(row, "startTime", "start_time", "timestamp"),
        text(row, "sessionId", "session_id", "traceId", "trace_id"),
        text(row, "metadata.tenant", "metadata.tenant_id"),
        text(row, "userId", "user_id"),
        model=text(row, "model", "providedModelName", "modelId"),
        cost=money(row, "totalCost", "total_cost", "calculatedTotalCost", "costDetails.total"),
        key=None if identity is None else f"langfuse {identity}",
    )


FORMAT = Format("Langfuse observations", _fits, _read)
