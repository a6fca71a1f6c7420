"""Tells decimal marks from thousands marks, by a column of a CSV file as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

from otel_budget.cli.terminal import CommandError

Mark = Literal[".", ","]
_OTHER: Final[Mapping[str, Mark]] = {".": ",", ",": "."}
#: Marks of thousands that are nothing else.
_SPACES: Final = str.maketrans("", "", " '\u2019\u00a0\u202f_")
_SPACED: Final = re.compile(r"\d{1,3}(?:[ '\u2019\u00a0\u202f_]\d{3})+(?:[.,]\d+)?")
#: One mark with three digits behind it: a thousand, or one with a fraction of zeros.
_EITHER: Final = re.compile(r"[1-9]\d{0,2}([.,])\d{3}")
_GROUPS: Final = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})+")
_BOTH: Final = re.compile(r"\d{1,3}(?:([.,])\d{3})+([.,])\d+")
_FRACTION: Final = re.compile(r"\d*([.,])\d*")


def decimal_mark(cells: Iterable[str], *, whole: bool) -> Mark | None:
    """The decimal mark of a column, or None if its numbers leave it open.

    Args:
        cells: The column.
        whole: Its numbers are counts, so that a fraction is zeros only.

    Raises:
        ValueError: Its numbers contradict each other.
    """
    said: set[Mark] = set()
    ungrouped = is_open = False
    grouped: set[str] = set()
    for cell in cells:
        text = cell.strip().removeprefix("$")
        if text.isdecimal():
            ungrouped |= len(text) > 3
            continue
        if _SPACED.fullmatch(text):
            text = text.translate(_SPACES)
        match = _BOTH.fullmatch(text)
        if match and match[1] != match[2]:
            said.add(match[2])  # type: ignore[arg-type]
        elif match := _GROUPS.fullmatch(text):
            said.add(_OTHER[match[1]])
        elif match := _EITHER.fullmatch(text):
            if whole and not text.endswith("000"):
                said.add(_OTHER[match[1]])
            else:
                is_open = True
                grouped.add(match[1])
        elif match := _FRACTION.fullmatch(text):
            said.add(match[1])  # type: ignore[arg-type]
    if not said and is_open and ungrouped and len(grouped) == 1:
        # Who writes 12345 does not write 1.000 for a thousand.
        said = {grouped.pop()}  # type: ignore[arg-type]
    if len(said) > 1:
        raise ValueError("some have a decimal point and some a decimal comma")
    if said:
        return said.pop()
    return None if is_open else "."


def plain(cell: str, mark: Mark) -> str:
    """A number as Python writes it; what is no number is left as it is."""
    text = cell.strip()
    if text.isdecimal():
        return text
    if _SPACED.fullmatch(text):
        text = text.translate(_SPACES)
    grouped = re.fullmatch(rf"(\$?)(\d{{1,3}}(?:\{_OTHER[mark]}\d{{3}})+)(\{mark}\d+)?", text)
    if grouped:
        text = grouped[2].replace(_OTHER[mark], "") + (grouped[3] or "")
    elif _OTHER[mark] in text:
        return cell
    text = text.removeprefix("$").replace(mark, ".")
    digits, dot, fraction = text.partition(".")
    return digits if dot and not fraction.strip("0") and digits else text


def marks_of(
    columns: Mapping[str, bool], rows: Iterable[Mapping[str, str]], told: Mark | None, name: str
) -> dict[str, Mark]:
    """The decimal mark of each column that needs one, from a whole file.

    Args:
        columns: The columns with numbers, and whether they hold counts.
        rows: All rows of the file.
        told: The user's word.
        name: The file, for messages.

    Raises:
        CommandError: A column leaves it open, or contradicts itself.
    """
    if told is not None:
        return dict.fromkeys(columns, told)
    # Numbers that look the same need no second look: a column has few that are not plain.
    seen: dict[str, dict[str, None]] = {column: {} for column in columns}
    for row in rows:
        for column in columns:
            cell = row.get(column, "")
            if len(seen[column]) < _DISTINCT:
                seen[column][cell if not cell.isdecimal() else "1000"[: len(cell)]] = None
    marks: dict[str, Mark] = {}
    open_columns: dict[str, str] = {}
    for column, whole in columns.items():
        try:
            mark = decimal_mark(seen[column], whole=whole)
        except ValueError as error:
            raise CommandError(
                f"{name}: the numbers in column {column!r} cannot be told apart: {error}; correct "
                "them, or say which it is: --decimal . or --decimal ,."
            ) from None
        if mark is None:
            open_columns[column] = next(c for c in seen[column] if _EITHER.fullmatch(c.strip()))
        elif any(mark_in(cell) for cell in seen[column]):
            marks[column] = mark
    if open_columns:
        (column, example), *_ = open_columns.items()
        if len(set(marks.values())) == 1:  # the other columns of the same file tell
            return marks | dict.fromkeys(open_columns, next(iter(marks.values())))
        raise CommandError(
            f"{name}: {example!r} in column {column!r} may be {plain(example, '.')} or "
            f"{plain(example, ',')}, and nothing in the file tells: add --decimal . if the point "
            "marks decimals, --decimal , if the comma does."
        )
    return marks


#: Different numbers of a column that are looked at.
_DISTINCT: Final = 100_000


def mark_in(cell: str) -> bool:
    """Whether a number has a mark at all."""
    return "." in cell or "," in cell


def number_columns(names: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """The columns that hold counts (True) or money (False), by their names."""
    for name in names:
        word = re.sub(r"[^a-z0-9]", "", name.lower())
        if "token" in word or word.endswith("requests"):
            yield name, True
        elif any(part in word for part in ("cost", "spend", "usd", "price")):
            yield name, False
