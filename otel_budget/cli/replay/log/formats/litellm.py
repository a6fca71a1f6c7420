"""LiteLLM: the table of spend logs of its proxy, as JSON or CSV."""

from __future__ import annotations

from otel_budget.cli.replay.log.call import FAILED, FROM_CACHE, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import Format, usage_of
from otel_budget.cli.replay.log.values import Row, counts, loaded, money, text, time_of, value

_COUNTS = {name: name for name in ("prompt_tokens", "completion_tokens", "total_tokens")} | {
    "cache_read_input_tokens": "metadata.additional_usage_values.cache_read_input_tokens",
    "cache_creation_input_tokens": "metadata.additional_usage_values.cache_creation_input_tokens",
}


def _fits(row: Row) -> bool:
    return "spend" in row and bool(
        {"custom_llm_provider", "call_type", "cache_hit", "model_group"} & row.keys()
    )


def _read(row: Row) -> LoggedCall | Aside:
    if text(row, "status", "metadata.status") == "failure":
        return FAILED
    if str(row.get("cache_hit")).lower() == "true":
        return FROM_CACHE
    told = loaded(value(row, "metadata.usage_object"))  # as the provider gave it
    request = text(row, "request_id")
    return LoggedCall(
        usage_of(told if isinstance(told, dict) and told else counts(row, _COUNTS)),
        time_of(row, "startTime", "start_time", "created_at"),
        text(row, "session_id"),
        text(row, "team_id", "organization_id"),
        text(row, "end_user", "user"),
        text(row, "agent_id"),
        text(row, "model", "model_group"),
        text(row, "custom_llm_provider"),
        cost=money(row, "spend"),
        key=None if request is None else f"litellm {request}",
    )


FORMAT = Format("LiteLLM spend logs", _fits, _read)
