"""OpenAI's and Anthropic's own answers: responses, one by one or as the output of a batch."""

from __future__ import annotations

from typing import Any

from otel_budget.cli.replay.log.call import FAILED, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import Format, usage_of
from otel_budget.cli.replay.log.values import Row, text, time_of

_OPENAI = {"chat.completion", "text_completion", "response"}
_WRONG = {"failed", "cancelled", "incomplete"}


def _call(body: Row, provider: str) -> LoggedCall | Aside:
    if not body.get("usage") and (body.get("error") or body.get("status") in _WRONG):
        return FAILED
    identity = text(body, "id")
    return LoggedCall(
        usage_of(_with_tier(body)),
        time_of(body, "created_at", "created"),
        text(body, "conversation.id"),
        user=text(body, "safety_identifier", "user"),
        model=text(body, "model"),
        provider=provider,
        key=None if identity is None else f"{provider} {identity}",
    )


def _with_tier(body: Row) -> Any:
    """The usage, with the way of processing that OpenAI tells beside it."""
    usage, tier = body.get("usage"), body.get("service_tier")
    if isinstance(usage, dict) and isinstance(tier, str) and "service_tier" not in usage:
        return usage | {"service_tier": tier}
    return usage


def _provider(body: Any) -> str | None:
    if isinstance(body, dict):
        if body.get("object") in _OPENAI or (body.get("object") == "list" and "usage" in body):
            return "openai"
        if body.get("type") == "message" and "usage" in body:
            return "anthropic"
    return None


def _read(row: Row) -> LoggedCall | Aside:
    provider = _provider(row)
    if provider is None:
        if row.get("type") == "error" or row.get("error"):
            return FAILED
        raise ValueError("it is neither a response of OpenAI nor a message of Anthropic")
    return _call(row, provider)


def _fits_batch(row: Row) -> bool:
    return "custom_id" in row and bool({"response", "error", "result"} & row.keys())


def _read_batch(row: Row) -> LoggedCall | Aside:
    response, result = row.get("response"), row.get("result")
    if isinstance(result, dict):
        body, is_good = result.get("message"), result.get("type") == "succeeded"
    else:
        told: dict[str, Any] = response if isinstance(response, dict) else {}
        body, is_good = told.get("body"), told.get("status_code") in {200, "200"}
    if not is_good or not isinstance(body, dict):
        return FAILED
    call = _call(body, _provider(body) or ("anthropic" if result else "openai"))
    if isinstance(call, LoggedCall) and call.usage is not None:
        call.usage = call.usage.model_copy(update={"processing": "batch"})
    return call


RESPONSES = Format("provider responses", lambda row: _provider(row) is not None, _read)
BATCHES = Format(
    "batch output", _fits_batch, _read_batch, note="Batches are priced at the rates of batches."
)
