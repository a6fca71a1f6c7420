"""Reads single values of a row, nested or flat: text, counts, money, times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite, isnan
from typing import Any

#: A row's values by column; those of JSON may be nested.
Row = Mapping[str, Any]


def value(row: Row, *paths: str) -> Any:
    """The first value of `paths` that is neither missing, None nor empty.

    A path such as ``usage.prompt_tokens`` finds a column of that name, a nested value, and one in a
    cell that holds JSON.
    """
    for path in paths:
        found = row.get(path)
        if found is None and "." in path:
            found = _nested(row, path.split("."))
        if found is not None and found != "":
            return found
    return None


def _nested(found: Any, names: list[str]) -> Any:
    for name in names:
        found = loaded(found)
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def loaded(cell: Any) -> Any:
    """The content of a cell that holds JSON; any other value as it is."""
    if isinstance(cell, str) and cell[:1] in {"{", "["}:
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return None
    return cell


def text(row: Row, *paths: str) -> str | None:
    """The first of `paths` as text."""
    found = value(row, *paths)
    return None if found is None or isinstance(found, dict | list) else str(found)


def count(what: str, found: Any) -> int:
    """A whole number of zero or more.

    Raises:
        ValueError: It is none; the message begins with ``its`` and `what`.
    """
    if type(found) is str and found.isdecimal() and len(found) < 19:
        return int(found)
    number = _number(found)
    if number is None or number < 0 or number != int(number):
        raise ValueError(f"its {what} {str(found)[:40]!r} are not a whole number")
    return int(number)


def counts(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    """The counts of a row, nested as `TokenUsage.of` knows them.

    Args:
        row: The row.
        names: For each path of the usage, where the row has it.
    """
    usage: dict[str, Any] = {}
    for path, where in names.items():
        found = value(row, where)
        if found is not None:
            inner, *rest = path.split(".")
            number = count(where.rsplit(".", 1)[-1].replace("_", " "), found)
            if rest:
                usage.setdefault(inner, {})[rest[0]] = number
            else:
                usage[inner] = number
    return usage


def money(row: Row, *paths: str) -> float | None:
    """USD, or None if there is no number of zero or more."""
    found = value(row, *paths)
    if isinstance(found, str):
        found = found.removeprefix("$")
    number = _number(found)
    return None if number is None or number < 0 else float(number)


def _number(found: Any) -> int | float | None:
    if isinstance(found, str):
        try:
            number: int | float = int(found)
        except ValueError:
            # 1.000 is a thousand to some and one to others; the reader of CSV tells them apart.
            whole, dot, fraction = found.strip().partition(".")
            if dot and len(fraction) == 3 and whole.isdecimal() and 0 < int(whole) < 1000:
                return None
            try:
                number = float(found)
            except ValueError:
                return None
    elif isinstance(found, int | float) and not isinstance(found, bool):
        number = found
    else:
        return None
    return number if isfinite(number) else None


def seconds(found: Any) -> float:
    """Seconds since the epoch, from ISO 8601 (UTC unless it has an offset) or s, ms, us or ns.

    Raises:
        ValueError: It is neither.
    """
    try:
        number = float("nan") if isinstance(found, str) and "-" in found[1:8] else float(found)
    except (TypeError, ValueError):
        number = float("nan")
    if isnan(number):  # mostly: a time in words
        try:
            moment = datetime.fromisoformat(str(found).strip().removesuffix(" UTC"))
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            number = moment.timestamp()
        except (ValueError, OverflowError):
            pass
    for _ in range(3):
        # Seconds stay below 1e11 until the year 5138; milliseconds passed it in 1973.
        if abs(number) >= 1e11:
            number /= 1000
    if not (isfinite(number) and 0 <= number < 1e11):
        raise ValueError(f"its timestamp {str(found)[:40]!r} is neither ISO 8601 nor a number")
    return number


def time_of(row: Row, *paths: str) -> float | None:
    """The first of `paths` as seconds since the epoch; None if there is none."""
    found = value(row, *paths)
    return None if found is None else seconds(found)
