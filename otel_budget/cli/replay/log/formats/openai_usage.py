"""OpenAI's usage: the export of the dashboard and the pages of the usage API. A row sums calls."""

from __future__ import annotations

from collections.abc import Iterable

from otel_budget.cli.replay.log.call import NO_CALLS, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import MANY, Format, usage_of
from otel_budget.cli.replay.log.values import Row, count, counts, text, time_of, value

_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_tokens_details.cached_tokens": "input_cached_tokens",  # contained in the input
    "input_tokens_details.audio_tokens": "input_audio_tokens",
    "output_tokens_details.audio_tokens": "output_audio_tokens",
}


def _fits(row: Row) -> bool:
    return "num_model_requests" in row or row.get("object") == "bucket"


def _items(row: Row) -> Iterable[Row]:
    results = row.get("results")
    if not isinstance(results, list):
        return (row,)
    times = {name: row.get(name) for name in ("start_time", "end_time")}
    return [times | result for result in results if isinstance(result, dict)]


def _read(row: Row) -> LoggedCall | Aside:
    calls = count("num_model_requests", value(row, "num_model_requests"))
    if not calls:
        return NO_CALLS
    usage = usage_of(counts(row, _COUNTS))
    if str(row.get("batch")).lower() == "true":
        usage = usage.model_copy(update={"processing": "batch"})
    return LoggedCall(
        usage,
        time_of(row, "start_time", "start_time_iso", "timestamp"),
        tenant=text(row, "project_name", "project_id"),
        user=text(row, "user_email", "user_id", "api_key_id"),
        model=text(row, "model"),
        provider="openai",
        calls=calls,
    )


FORMAT = Format(
    "OpenAI usage export",
    _fits,
    _read,
    _items,
    MANY,
)
