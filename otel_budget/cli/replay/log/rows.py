"""Reads CSV or JSON row by row: JSON lines, arrays, pages, pretty-printed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain, islice
from typing import Any, Final

from otel_budget.cli.replay.log.numbers import Mark, marks_of, number_columns, plain
from otel_budget.cli.replay.log.sources import Source
from otel_budget.cli.terminal import CommandError

#: Rows that are read to recognise the format and the names of the columns.
_SAMPLE: Final = 200
#: Characters of one JSON value, and of one cell, that are kept in memory.
_LONGEST: Final = 32 << 20
_CHUNK: Final = 1 << 16
#: Under which names a page holds its rows.
_PAGES: Final = ("data", "results", "rows", "items", "runs", "logs", "observations")


class Wrong(str):
    """What is wrong with a row: a clause that begins with ``it``."""

    __slots__ = ()


#: A row's values, or what is wrong with the row.
Read = Mapping[str, Any] | Wrong


@dataclass(slots=True)
class Rows:
    """The rows of one file.

    Attributes:
        names: The columns; those of nested values joined by dots.
        numbered: The rows, each with its line, or with its number if `unit` is ``item``.
        sample: The first of them.
        unit: What the numbers count.
        is_csv: Whether it is a table with a header.
    """

    names: list[str]
    numbered: Iterator[tuple[int, Read]]
    sample: list[Mapping[str, Any]] = field(default_factory=list)
    unit: str = "line"
    is_csv: bool = False


def rows_of(file: TextIOWrapper, source: Source, decimal: Mark | None) -> Rows:
    """The rows of an open file.

    Args:
        file: The file, at its start.
        source: What it is.
        decimal: The decimal mark, if the user told it.

    Raises:
        CommandError: It is neither CSV nor JSON, or its numbers can be read in two ways.
    """
    first = next(line for line in file if line.strip())
    start = first.lstrip()[:1]
    if start not in {"{", "["}:
        return _sampled(_csv(file, first, source, decimal))
    following = next((line for line in file if line.strip()), "")
    file.seek(0)
    if start == "{" and (_is_object(first) or _is_object(following)):
        rows = _lines(file)
    else:
        rows = _values(file)
    head = list(islice(rows, 1))
    is_page = start == "[" or (bool(head) and _page(head[0][1]) is not None)
    numbered = _expanded(chain(head, rows), numbered=is_page)
    return _sampled(Rows([], numbered, unit="item" if is_page else "line"))


def _sampled(rows: Rows) -> Rows:
    head = list(islice(rows.numbered, _SAMPLE))
    rows.sample = [row for _, row in head if not isinstance(row, Wrong)]
    if not rows.names:
        rows.names = list(dict.fromkeys(name for row in rows.sample for name in _flat(row)))
    rows.numbered = chain(head, rows.numbered)
    return rows


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


# -- CSV -----------------------------------------------------------------------------------
def _csv(file: TextIOWrapper, header: str, source: Source, decimal: Mark | None) -> Rows:
    csv.field_size_limit(_LONGEST)
    delimiter = max(",;\t|", key=header.count)
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter)
    try:
        names = next(cells for cells in reader if any(cell.strip() for cell in cells))
    except csv.Error as error:
        raise CommandError(f"{source.name} does not begin with a CSV header ({error}).") from None
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise CommandError(f"{source.name} has two columns {twice!r}: rename one of them.")
    columns = dict(number_columns(names))
    marks: dict[str, Mark] = {}
    if columns:
        every = (row for _, row in _csv_rows(reader, names) if not isinstance(row, Wrong))
        marks = marks_of(columns, every, decimal, source.name)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        next(cells for cells in reader if any(cell.strip() for cell in cells))
    rows = _csv_rows(reader, names)
    return Rows(names, _marked(rows, marks) if marks else iter(rows), is_csv=True)


def _csv_rows(reader: Any, names: list[str]) -> Iterator[tuple[int, dict[str, str] | Wrong]]:
    width = len(names)
    while True:
        before = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, Wrong(f"it is not a CSV row ({error})")
            continue
        if len(cells) == width:
            yield reader.line_num, dict(zip(names, cells, strict=True))
        elif cells:
            lines = ""
            if reader.line_num > before:
                lines = f", from line {before} on: is a quote left open?"
            yield reader.line_num, Wrong(f"it has {len(cells)} cells, the header {width}{lines}")


def _marked(
    rows: Iterable[tuple[int, dict[str, str] | Wrong]], marks: Mapping[str, Mark]
) -> Iterator[tuple[int, Read]]:
    for line, row in rows:
        if not isinstance(row, Wrong):
            for column, mark in marks.items():
                row[column] = plain(row[column], mark)
        yield line, row


# -- JSON ----------------------------------------------------------------------------------
def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(file: TextIOWrapper) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(file, 1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except (ValueError, RecursionError):
                yield line, Wrong("it is not JSON")


def _values(file: TextIOWrapper) -> Iterator[tuple[int, Any]]:
    """The values of an array, or those that stand one after another."""
    decoder = json.JSONDecoder()
    buffer, at, line, in_array = "", 0, 1, False
    while True:
        while at < len(buffer) and (buffer[at].isspace() or (in_array and buffer[at] in ",]")):
            line += buffer[at] == "\n"
            at += 1
        if at == len(buffer):
            buffer, at = file.read(_CHUNK), 0
            if not buffer:
                return
            continue
        if buffer[at] == "[" and not in_array:
            in_array, at = True, at + 1
            continue
        try:
            value, end = decoder.raw_decode(buffer, at)
        except (ValueError, RecursionError) as error:
            if _may_go_on(error, buffer):
                # Twice as much each time, so that a long value is not read over and over.
                more = file.read(max(_CHUNK, len(buffer) - at))
                if more and len(buffer) - at < _LONGEST:
                    buffer, at = buffer[at:] + more, 0
                    continue
            why = f"it is not JSON ({getattr(error, 'msg', error)})"
            if len(buffer) - at >= _LONGEST:
                why = "it is a JSON value of more than 32 MB; write one row a line, as jq -c does"
            yield line, Wrong(f"{why}, and what follows in the file is not read")
            return
        yield line, value
        line += buffer.count("\n", at, end)
        at = end


def _may_go_on(error: Exception, buffer: str) -> bool:
    """Whether a value ends only because the buffer does."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated") or error.pos > len(buffer) - 16


def _page(value: Any) -> list[Any] | None:
    """The rows of a page; a response with usage of its own is none."""
    if isinstance(value, dict) and "usage" not in value and "model" not in value:
        for name in _PAGES:
            rows = value.get(name)
            if isinstance(rows, list) and (not rows or isinstance(rows[0], dict)):
                if value.get("object") == "bucket":
                    return None
                return rows
    return None


def _expanded(values: Iterable[tuple[int, Any]], *, numbered: bool) -> Iterator[tuple[int, Read]]:
    number = 0
    for line, value in values:
        page = _page(value)
        for row in [value] if page is None else page:
            number += 1
            place = number if numbered else line
            is_row = isinstance(row, dict | Wrong)
            yield place, row if is_row else Wrong("it is not a JSON object")
