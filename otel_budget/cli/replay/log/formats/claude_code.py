"""Claude Code: transcripts in ``~/.claude/projects``, one entry for each block of a message."""

from __future__ import annotations

from otel_budget.cli.replay.log.call import FAILED, NO_MODEL_CALL, Aside, LoggedCall
from otel_budget.cli.replay.log.formats.base import Format, usage_of
from otel_budget.cli.replay.log.values import Row, money, text, time_of, value

_ENTRIES = {"assistant", "user", "summary", "system", "file-history-snapshot", "queue-operation"}


def _fits(row: Row) -> bool:
    return row.get("type") in _ENTRIES and ("sessionId" in row or "leafUuid" in row)


def _read(row: Row) -> LoggedCall | Aside:
    message = row.get("message")
    if row.get("type") != "assistant" or not isinstance(message, dict):
        return NO_MODEL_CALL
    if row.get("isApiErrorMessage"):
        return FAILED
    if message.get("model") == "<synthetic>":  # written by the program itself
        return NO_MODEL_CALL
    # A message is written once for each of its blocks, and again by a session that resumes it.
    parts = [text(message, "id"), text(row, "requestId")]
    return LoggedCall(
        usage_of(message.get("usage")),
        time_of(row, "timestamp"),
        text(row, "sessionId"),
        agent=text(row, "agentId") if value(row, "isSidechain") else None,
        model=text(message, "model"),
        provider="anthropic",
        cost=money(row, "costUSD"),
        key=None if parts[0] is None else f"claude {parts}",
    )


FORMAT = Format("Claude Code transcript", _fits, _read)
