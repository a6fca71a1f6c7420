"""Reads a log of model calls: CSV or JSON lines, columns found by their usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from math import isfinite
from pathlib import Path
from typing import Any, Final

from otel_budget.cli.replay.log_file import rows_of
from otel_budget.cli.terminal import CommandError
from otel_budget.contract import TokenUsage

#: The fields of a call, and their usual column names (letters and digits only), best first.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp": (
        "timestamp", "time", "ts", "datetime", "date", "createdat", "created", "starttime",
        "requesttime", "arrivaltime", "arrivedat",
    ),
    "session": (
        "sessionid", "session", "conversationid", "conversation", "threadid", "thread", "chatid",
    ),
    "tenant": (
        "tenantid", "tenant", "customerid", "customer", "organizationid", "organization", "orgid",
        "org", "teamid", "team", "accountid", "account", "budgettenant",
    ),
    "model": ("model", "modelname", "modelid", "requestmodel", "genairequestmodel"),
    "provider": ("provider", "providername", "genaiprovidername", "genaisystem", "vendor"),
    "prompt": (
        "prompttokens", "inputtokens", "contexttokens", "numprompttokens", "tokensin",
        "requesttokens", "genaiusageinputtokens",
    ),
    "completion": (
        "completiontokens", "outputtokens", "generatedtokens", "numgeneratedtokens", "tokensout",
        "responsetokens", "genaiusageoutputtokens",
    ),
    "total": ("totaltokens",),
    "cache_read": (
        "cachereadtokens", "cachereadinputtokens", "cachedtokens", "cachedinputtokens",
        "prompttokensdetailscachedtokens", "inputtokensdetailscachedtokens",
    ),
    "cache_write": (
        "cachewritetokens", "cachecreationinputtokens", "cachecreationtokens",
        "cachewriteinputtokens",
    ),
    "tool": ("toolname", "tool"),
}  # fmt: skip
_COUNTS: Final = ("prompt", "completion", "total", "cache_read", "cache_write")


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One row: a model call if it has a `usage`, a tool call if it has a `tool`."""

    line: int
    at: float | None
    session: str | None
    tenant: str | None
    model: str | None
    provider: str | None
    usage: TokenUsage | None
    tool: str | None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    line: int
    why: str


@dataclass(slots=True)
class CallLog:
    """The content of a log file.

    Attributes:
        calls: In order of time, or in the file's order if it has no times.
        bad: Rows that could not be read.
        columns: The file's column for each field.
        reordered: Whether the rows had to be put in order of time.
    """

    calls: list[LoggedCall] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    reordered: bool = False


def read_log(
    file: TextIOWrapper, path: Path, mapped: Mapping[str, str], *, strict: bool = False
) -> CallLog:
    """Read a whole log; a million calls take some 500 MB.

    Args:
        file: The open file, at its start.
        path: Its path, for messages.
        mapped: The user's columns by field; they override the usual names.
        strict: Stop at the first row that cannot be read.

    Raises:
        CommandError: It is not such a log, lacks a column, or, with `strict`, has a bad row.
    """
    names, rows = rows_of(file, path)
    log = CallLog(columns=_find_columns(names, mapped, path))
    last = float("-inf")
    for line, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)
            call = _call(line, row, log.columns)
        except ValueError as error:
            if strict:
                raise CommandError(
                    f"{path}, line {line}: {error}. Correct the row, or omit --strict to count and "
                    "skip such rows."
                ) from None
            log.bad.append(BadRow(line, str(error)))
            continue
        log.calls.append(call)
        if call.at is not None:
            log.reordered |= call.at < last
            last = call.at
    if not log.calls:
        raise CommandError(
            f"{path} has no row that can be read"
            + (f"; line {log.bad[0].line}: {log.bad[0].why}." if log.bad else ", only a header.")
        )
    if log.reordered:
        log.calls.sort(key=lambda call: call.at or 0.0)
    return log


# -- columns -------------------------------------------------------------------------------
def _find_columns(names: Sequence[str], mapped: Mapping[str, str], path: Path) -> dict[str, str]:
    for name in mapped.values():
        if name not in names:
            raise CommandError(f"{path} has no column {name!r}; it has {_listed(names)}.")
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()).removeprefix("usage") for name in names}
    columns: dict[str, str] = {}
    for wanted, usual in COLUMNS.items():
        found = [(usual.index(plain[name]), name) for name in names if plain[name] in usual]
        if found:
            columns[wanted] = min(found)[1]
    columns.update(mapped)
    missing = [wanted for wanted in ("prompt", "completion") if wanted not in columns]
    if missing and "tool" not in columns:
        raise CommandError(
            f"{path} has no column that looks like {' and '.join(missing)} tokens; it has "
            f"{_listed(names)}. Name yours: --column {missing[0]}=NAME."
        )
    return columns


def _listed(names: Sequence[str]) -> str:
    few = ", ".join(name[:40] for name in names[:12])
    return few + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "none"


# -- one row -------------------------------------------------------------------------------
def _call(line: int, row: Mapping[str, Any], columns: Mapping[str, str]) -> LoggedCall:
    values = {
        wanted: value
        for wanted, column in columns.items()
        if (value := row.get(column)) is not None and value != ""
    }
    tool = _text(values, "tool")
    counts = {name: _count(name, values[name]) for name in _COUNTS if name in values}
    usage = None
    if counts or tool is None:
        for needed in ("prompt", "completion"):
            if needed not in counts:
                raise ValueError(f"it has no {needed} tokens")
        usage = TokenUsage(
            prompt_tokens=counts["prompt"],
            completion_tokens=counts["completion"],
            total_tokens=counts.get("total", counts["prompt"] + counts["completion"]),
            cache_read_tokens=counts.get("cache_read"),
            cache_write_tokens=counts.get("cache_write"),
        )
    at = None
    if "timestamp" in columns:
        if "timestamp" not in values:
            raise ValueError("it has no timestamp")
        at = _seconds(values["timestamp"])
    return LoggedCall(
        line,
        at,
        _text(values, "session"),
        _text(values, "tenant"),
        _text(values, "model"),
        _text(values, "provider"),
        usage,
        tool,
    )


def _text(values: Mapping[str, Any], wanted: str) -> str | None:
    return str(values[wanted]) if wanted in values else None


def _count(what: str, value: Any) -> int:
    number: int | float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        try:
            number = int(value)
        except ValueError:
            try:
                number = float(value)
            except ValueError:
                number = None
    if number is None or number < 0 or not isfinite(number) or number != int(number):
        raise ValueError(f"its {what} tokens {str(value)[:40]!r} are not a whole number")
    return int(number)


def _seconds(value: Any) -> float:
    """Seconds since the epoch, from ISO 8601 (UTC unless it has an offset) or s, ms, us or ns."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        try:
            moment = datetime.fromisoformat(str(value).strip())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return moment.timestamp()
        except (ValueError, OverflowError):
            number = float("nan")
    for _ in range(3):
        # Seconds stay below 1e11 until the year 5138; milliseconds passed it in 1973.
        if abs(number) >= 1e11:
            number /= 1000
    if not (isfinite(number) and 0 <= number < 1e11):
        raise ValueError(f"its timestamp {str(value)[:40]!r} is neither ISO 8601 nor a number")
    return number
