"""LangSmith: runs. Only those of a model are calls; chains repeat the tokens of their parts."""

from __future__ import annotations

from otel_budget.cli.replay.log.call import FAILED, NO_MODEL_CALL, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import Format, usage_of
from otel_budget.cli.replay.log.values import Row, counts, loaded, money, text, time_of, value

_COUNTS = {name: name for name in ("prompt_tokens", "completion_tokens", "total_tokens")} | {
    "prompt_tokens_details.cached_tokens": "prompt_token_details.cache_read",
    "prompt_tokens_details.cache_creation_tokens": "prompt_token_details.cache_creation",
}
_METADATA = ("outputs.usage_metadata", "extra.metadata.usage_metadata")


def _read(row: Row) -> LoggedCall | Aside:
    if row.get("run_type") != "llm":
        return NO_MODEL_CALL
    told = loaded(value(row, *_METADATA)) or counts(row, _COUNTS)
    if not told and (row.get("error") or row.get("status") == "error"):
        return FAILED
    identity = text(row, "id")
    places = ("extra.metadata", "metadata")

    def metadata(*names: str) -> str | None:
        return text(row, *(f"{place}.{name}" for name in names for place in places))

    return LoggedCall(
        usage_of(told),
        time_of(row, "start_time", "startTime"),
        metadata("thread_id", "conversation_id", "session_id") or text(row, "trace_id"),
        metadata("tenant_id", "tenant"),
        metadata("user_id"),
        metadata("lc_agent_name"),
        metadata("ls_model_name") or text(row, "extra.invocation_params.model", "model"),
        metadata("ls_provider"),
        cost=money(row, "total_cost"),
        key=None if identity is None else f"langsmith {identity}",
    )


FORMAT = Format("LangSmith runs", lambda row: "run_type" in row, _read)
