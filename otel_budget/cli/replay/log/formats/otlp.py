"""OpenTelemetry's JSON: model spans with the tokens they used, and our own audit file of hits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from otel_budget import semconv
from otel_budget.audit_file import plain_attributes
from otel_budget.cli.replay.log.call import FAILED, NO_MODEL_CALL, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import Format, usage_of
from otel_budget.cli.replay.log.values import Row, counts, text, time_of

_PREFIX = "gen_ai."
#: GenAI's conventions: the input contains the cached tokens.
_COUNTS = {
    "input_tokens": "usage.input_tokens",
    "output_tokens": "usage.output_tokens",
    "input_tokens_details.cached_tokens": "usage.cache_read.input_tokens",
    "input_tokens_details.cache_write_tokens": "usage.cache_creation.input_tokens",
}
_OLDER = {"input_tokens": "usage.prompt_tokens", "output_tokens": "usage.completion_tokens"}
#: Spans that repeat the tokens of the model spans inside them.
_SUMS = {"invoke_agent", "create_agent", "invoke_workflow"}


def _parts(row: Row, *names: str) -> Iterator[tuple[dict[str, Any], Any]]:
    resources, scopes, records = names
    for resource in row.get(resources) or ():
        shared = plain_attributes(resource.get("resource", {}).get("attributes", ()))
        for scope in resource.get(scopes) or ():
            for record in scope.get(records) or ():
                yield shared, record


def _items(row: Row) -> Iterable[Row]:
    for names in (
        ("resourceSpans", "scopeSpans", "spans"),
        ("resourceLogs", "scopeLogs", "logRecords"),
    ):
        for shared, record in _parts(row, *names):
            own = plain_attributes(record.get("attributes", ()))
            plain = {name.removeprefix(_PREFIX): one for name, one in (shared | own).items()}
            yield record | {"attributes": None} | plain


def _read(row: Row) -> LoggedCall | Aside:
    at = time_of(row, "startTimeUnixNano", "timeUnixNano")
    who = (text(row, semconv.SESSION_ID, "conversation.id", "traceId"),
           text(row, semconv.TENANT, "tenant.id"),
           text(row, semconv.PRINCIPAL, "enduser.id", "user.id"),
           text(row, semconv.AGENT, "agent.name"))  # fmt: skip
    if row.get("eventName") == semconv.LOG_EVENT_THRESHOLD_HIT:
        uid = text(row, semconv.LOG_RECORD_UID)
        tool = text(row, semconv.TOOL_NAME)
        if tool is not None:
            return LoggedCall(None, at, *who, tool=tool, key=None if uid is None else f"hit {uid}")
        kind = "warning" if row.get(semconv.KIND) == semconv.KIND_SOFT else "refusal"
        return Aside(f"{kind} in the audit file, which tells no tokens")
    if row.get("operation.name") in _SUMS:
        return Aside("sum of an agent's model calls")
    key = f"span {row.get('traceId')} {row.get('spanId')}"
    if row.get("operation.name") == "execute_tool" and text(row, "tool.name") is not None:
        return LoggedCall(None, at, *who, tool=text(row, "tool.name"), key=key)
    raw = counts(row, _COUNTS) or counts(row, _OLDER)
    if not raw:
        status = row.get("status")
        is_error = isinstance(status, dict) and status.get("code") in {2, "STATUS_CODE_ERROR"}
        return FAILED if is_error and "operation.name" in row else NO_MODEL_CALL
    model = text(row, "response.model", "request.model")
    provider = text(row, "provider.name", "system")
    usage = usage_of({"output_tokens": 0} | raw)
    return LoggedCall(usage, at, *who, model, provider, key=key)


FORMAT = Format(
    "OpenTelemetry spans and events",
    lambda row: "resourceSpans" in row or "resourceLogs" in row,
    _read,
    _items,
)
