"""Any other log: a table, or objects with a usage, by the usual names of columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from otel_budget.cli.replay.log.call import NO_CALLS, Aside, LoggedCall, includes_cache
from otel_budget.cli.replay.log.columns import CACHE, COUNTS, columns_of, usage_path
from otel_budget.cli.replay.log.formats.base import MANY, Format, usage_of
from otel_budget.cli.replay.log.values import Row, count, money, seconds, text, value
from otel_budget.contract import TokenUsage

#: What repeated rows have in common, beside the id: one request may hold several calls.
_SAME: Final = ("prompt", "completion", "total", "cache_read", "cache_write", "model", "tool")


def table(
    names: Sequence[str],
    sample: Sequence[Row],
    mapped: Mapping[str, str],
    defaults: Mapping[str, str | None],
    file: str,
) -> tuple[Format, dict[str, str]]:
    """The format of a file that is no known product's, and its column of each field.

    Args:
        names: Its columns.
        sample: Some of its rows.
        mapped: The user's columns by field.
        defaults: Model and provider of rows without one.
        file: Its name, for messages.

    Raises:
        CommandError: It has no tokens, or lacks one of the user's columns.
    """
    path = None if COUNTS & mapped.keys() else usage_path(sample)
    columns = columns_of(names, mapped, file, has_usage=path is not None)
    if "calls" not in mapped and not _are_counts(
        value(row, columns.get("calls", "")) for row in sample
    ):
        columns.pop("calls", None)
    keys = _keys(columns)

    def read(row: Row) -> LoggedCall | Aside:
        values = {
            field: found
            for field, column in columns.items()
            if (found := value(row, column)) is not None
        }
        tool = text(values, "tool")
        call = LoggedCall(
            session=text(values, "session"),
            tenant=text(values, "tenant"),
            user=text(values, "user"),
            agent=text(values, "agent"),
            model=text(values, "model") or defaults.get("model"),
            provider=text(values, "provider") or defaults.get("provider"),
            tool=tool,
            cost=money(values, "cost"),
        )
        if path is not None and (tool is None or value(row, path)):
            call.usage = usage_of(value(row, path))
        elif path is None and (tool is None or COUNTS & values.keys()):
            call.usage = _usage(values, keys, call)
        if "timestamp" in columns:
            if "timestamp" not in values:
                raise ValueError("it has no timestamp")
            call.at = seconds(values["timestamp"])
        if "calls" in values:
            call.calls = count("number of calls", values["calls"])
            if not call.calls:
                return NO_CALLS
        if "id" in values:
            call.key = f"row {values['id']} {[values.get(name) for name in _SAME]}"
        return call

    kind = "table" if path is None else f"objects with {path or 'the fields of a usage'}"
    note = MANY if "calls" in columns else ""
    return Format(kind, lambda row: True, read, note=note), columns


def _are_counts(values: Iterable[Any]) -> bool:
    """Whether all that is there is whole numbers: ``requests`` may also be a column of texts."""
    try:
        return all(count("", each) >= 0 for each in values if each is not None)
    except ValueError:
        return False


def _keys(columns: Mapping[str, str]) -> dict[str, str]:
    """Under which key of a usage each count is known by `TokenUsage.of`."""
    words = {
        field: re.sub(r"[^a-z]", "", columns[field].lower()) for field in COUNTS & set(columns)
    }
    is_input = "input" in words.get("prompt", "") or "input" in words.get("completion", "")
    keys = {"total": "total_tokens"}
    keys |= (
        {"prompt": "input_tokens", "completion": "output_tokens"}
        if is_input
        else {"prompt": "prompt_tokens", "completion": "completion_tokens"}
    )
    read = words.get("cache_read", "")
    if "details" in read or ("cached" in read and "read" not in read):  # OpenAI's names
        details = "input_tokens_details" if is_input else "prompt_tokens_details"
        return keys | {"cache_read": f"{details}.cached_tokens",
                       "cache_write": f"{details}.cache_write_tokens"}  # fmt: skip
    if any("inputtoken" in words.get(field, "") for field in CACHE):  # Anthropic's
        return keys | {"cache_read": "cache_read_input_tokens",
                       "cache_write": "cache_creation_input_tokens"}  # fmt: skip
    return keys | {"cache_read": "cache_read_tokens", "cache_write": "cache_write_tokens"}


def _usage(values: Mapping[str, Any], keys: Mapping[str, str], call: LoggedCall) -> TokenUsage:
    numbers = {
        field: count(f"{field.replace('_', ' ')} tokens", values[field])
        for field in keys
        if field in values
    }
    raw: dict[str, Any] = {}
    for field in ("prompt", "completion"):
        if field not in numbers:
            raise ValueError(f"it has no {field} tokens")
    for field, number in numbers.items():
        outer, _, inner = keys[field].partition(".")
        if inner:
            raw.setdefault(outer, {})[inner] = number
        else:
            raw[outer] = number
    usage = usage_of(raw)
    cached = numbers.get("cache_read", 0) + numbers.get("cache_write", 0)
    if usage.prompt_includes_cache is False and 0 < cached <= numbers["prompt"]:
        # One header for all providers' rows: the names of its columns are not each one's word.
        told = numbers.get("total")
        if told != numbers["prompt"] + numbers["completion"] + cached and includes_cache(
            call.provider, call.model
        ):
            total = told or numbers["prompt"] + numbers["completion"]
            update = {"prompt_includes_cache": True, "total_tokens": total}
            usage = usage.model_copy(update=update)
    return usage
