"""Helicone: requests, as CSV or JSON."""

from __future__ import annotations

from otel_budget.cli.replay.log.call import FAILED, FROM_CACHE, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import Format, usage_of
from otel_budget.cli.replay.log.values import Row, counts, money, text, time_of

#: Whether the prompt contains the cache is the provider's habit.
_COUNTS = {
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "cache_read_tokens": "prompt_cache_read_tokens",
    "cache_write_tokens": "prompt_cache_write_tokens",
}
_NONE = "00000000-0000-0000-0000-000000000000"


def _fits(row: Row) -> bool:
    return "request_created_at" in row or {"request_id", "response_status"} <= row.keys()


def _read(row: Row) -> LoggedCall | Aside:
    status = text(row, "response_status", "status")
    if status is not None and not status.startswith("2"):
        return FAILED
    if (text(row, "cache_reference_id") or _NONE) != _NONE:
        return FROM_CACHE
    raw = counts(row, _COUNTS)
    identity = text(row, "request_id")
    return LoggedCall(
        usage_of({"completion_tokens": 0} | raw if raw else None),
        time_of(row, "request_created_at", "created_at", "response_created_at"),
        text(row, "request_properties.Helicone-Session-Id", "properties.Helicone-Session-Id"),
        text(row, "organization_id", "helicone_org_id"),
        text(row, "request_user_id", "user_id"),
        model=text(row, "model", "response_model", "request_model", "model_override"),
        provider=text(row, "provider"),
        cost=money(row, "cost", "cost_usd", "costUSD"),
        key=None if identity is None else f"helicone {identity}",
    )


FORMAT = Format("Helicone requests", _fits, _read)
