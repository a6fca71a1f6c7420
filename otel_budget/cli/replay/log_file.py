"""Reads a CSV or JSON-lines file row by row, with a clear error for anything else."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from otel_budget.cli.terminal import CommandError

#: Objects of a JSON-lines file that are read to find the names of its columns.
_SAMPLE: Final = 200

#: A row's values by column, or what is wrong with the row.
Row = dict[str, Any] | str


def open_log(path: Path) -> TextIOWrapper:
    """Open the file as text.

    Raises:
        CommandError: It is missing, empty, a directory or not text.
    """
    try:
        raw = path.open("rb")
    except FileNotFoundError:
        raise CommandError(f"there is no file {path}: check its name.") from None
    except IsADirectoryError:
        raise CommandError(f"{path} is a directory: name a CSV or JSON-lines file.") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}).") from None
    start = raw.peek(65_536)
    if not start.strip():
        raw.close()
        raise CommandError(f"{path} is empty: name a CSV or JSON-lines file of model calls.")
    if b"\0" in start or not _is_utf8(start):
        raw.close()
        raise CommandError(
            f"{path} is not UTF-8 text: unpack or convert it to CSV or JSON lines first."
        )
    return TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")


def _is_utf8(start: bytes) -> bool:
    try:
        # The sample may end in the middle of a character.
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(start) - error.start < 4 and error.end == len(start)
    return True


def rows_of(file: TextIOWrapper, path: Path) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """The names of the columns, and the rows with their line numbers.

    Raises:
        CommandError: It is neither CSV nor JSON lines.
    """
    first = next(line for line in file if line.strip())
    file.seek(0)
    if first.lstrip().startswith("["):
        raise CommandError(
            f"{path} is one JSON array: convert it to one object per line, as `jq -c '.[]'` does."
        )
    if not first.lstrip().startswith("{"):
        return _csv_rows(file, first, path)
    rows = _json_rows(file)
    head = list(islice(rows, _SAMPLE))
    names = dict.fromkeys(name for _, row in head if isinstance(row, dict) for name in row)
    return list(names), chain(head, rows)


def _csv_rows(
    file: TextIOWrapper, header: str, path: Path
) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    delimiter = max(",;\t|", key=header.count)
    reader = csv.reader(file, delimiter=delimiter)

    def rows() -> Iterator[tuple[int, Row]]:
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"it is not a CSV row ({error})"
                continue
            if not cells:
                continue
            if len(cells) != len(names):
                mismatch = f"it has {len(cells)} cells, the header {len(names)}"
                yield reader.line_num, mismatch
            else:
                yield reader.line_num, dict(zip(names, cells, strict=True))

    try:
        names = next(cells for cells in reader if any(cell.strip() for cell in cells))
    except csv.Error as error:
        raise CommandError(f"{path} does not begin with a CSV header ({error}).") from None
    return names, rows()


def _json_rows(file: TextIOWrapper) -> Iterator[tuple[int, Row]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            yield line, "it is not JSON"
            continue
        yield line, dict(_flat(row)) if isinstance(row, dict) else "it is not a JSON object"


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
