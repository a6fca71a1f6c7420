"""Reads logs of any known format: every row is kept, set aside with a reason, or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from otel_budget.cli.replay.log.call import NO_CALLS, REPEATED, Aside, LoggedCall, accounted
from otel_budget.cli.replay.log.columns import COUNTS, check_mapped
from otel_budget.cli.replay.log.formats import FORMATS, Format, table
from otel_budget.cli.replay.log.numbers import Mark
from otel_budget.cli.replay.log.rows import Rows, Wrong, rows_of
from otel_budget.cli.replay.log.sources import Source
from otel_budget.cli.replay.log.spool import Spool
from otel_budget.cli.replay.log.values import Row, count, money, seconds, value
from otel_budget.cli.terminal import CommandError

#: Refused rows that are kept with their reason; all are counted.
_NAMED: Final = 1_000
#: What reading a value may raise, of a row that nobody would have thought of.
_RUBBISH: Final = (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is refused, and why."""

    file: str
    line: int
    why: str
    unit: str = "line"

    def __str__(self) -> str:
        """Where it is in its file, and why."""
        return f"{self.unit} {self.line}: {self.why}"


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """How logs are read.

    Attributes:
        mapped: The user's columns by field.
        model: Of rows without one.
        provider: Of rows without one.
        strict: Stop at the first row that is refused.
        decimal: The decimal mark of CSV.
        since: Rows before it are set aside (seconds since the epoch).
        until: Rows at or after it are.
    """

    mapped: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    provider: str | None = None
    strict: bool = False
    decimal: Mark | None = None
    since: float | None = None
    until: float | None = None


@dataclass(slots=True)
class Reading:
    """What became of the rows: ``rows == kept + sum(aside.values()) + refused``.

    Attributes:
        calls: The calls that were kept.
        rows: Rows that the files hold.
        kept: Rows that are calls.
        aside: Rows that are set aside, by why.
        refused: Rows that cannot be read.
        bad: The first of them.
        formats: The formats of the files, and how many have each.
        columns: The columns that were read of a table, by field, of the first such file.
        units: What the lines of each file are: ``line`` or ``item``.
        notes: What is to be said of the formats.
        has_models: Whether any call names a model.
    """

    calls: Spool = field(default_factory=Spool)
    rows: int = 0
    kept: int = 0
    aside: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    bad: list[BadRow] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    columns: dict[str, str] = field(default_factory=dict)
    units: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_models: bool = False


def read_logs(
    sources: Sequence[Source],
    options: ReadingOptions,
    progress: Callable[[int], None] | None = None,
) -> Reading:
    """Read all files.

    Args:
        sources: The files.
        options: How.
        progress: Told the number of rows now and then.

    Raises:
        CommandError: A file is no log, none holds a call, or, if `strict`, a row is refused.
    """
    reading = Reading()
    for number, source in enumerate(sources):
        with source.opened() as file:
            rows = rows_of(file, source, options.decimal)
            form = _recognised(rows, source, options, reading)
            reading.units.append(rows.unit)
            _Reader(reading, options, form, source, number).read(rows, progress)
    repeated = reading.calls.drop_repeated()
    if repeated:
        reading.aside[REPEATED] = repeated
        reading.kept -= repeated
    if not reading.kept:
        raise CommandError(_nothing(sources, reading))
    return reading


def _recognised(rows: Rows, source: Source, options: ReadingOptions, reading: Reading) -> Format:
    mapped = options.mapped
    known = None
    if not COUNTS & mapped.keys():
        known = next((form for form in FORMATS if _fits(form, rows.sample)), None)
    if known is None:
        defaults = {"model": options.model, "provider": options.provider}
        known, columns = table(rows.names, rows.sample, mapped, defaults, source.name)
        reading.columns = reading.columns or columns
        if rows.is_csv:
            known = replace(known, name="CSV")
    elif known.items is None:
        check_mapped(rows.names, mapped, source.name)
    reading.formats[known.name] += 1
    if known.note and known.note not in reading.notes:
        reading.notes.append(known.note)
    return known


def _fits(form: Format, sample: Sequence[Row]) -> bool:
    for row in sample:
        try:
            if form.fits(row):
                return True
        except _RUBBISH:
            continue
    return False


class _Reader:
    """Reads the rows of one file."""

    def __init__(
        self, reading: Reading, options: ReadingOptions, form: Format, source: Source, number: int
    ) -> None:
        self.reading, self.options, self.form = reading, options, form
        self.source, self.number = source, number

    def read(self, rows: Rows, progress: Callable[[int], None] | None) -> None:
        reading = self.reading
        for line, row in rows.numbered:
            items = self._items(row)
            for item in items:
                reading.rows += 1
                self._take(line, item, rows.unit)
            if not items:
                reading.rows += 1
                reading.aside[NO_CALLS.why] += 1
            if progress is not None and not reading.rows & 1023:
                progress(reading.rows)

    def _items(self, row: Row | Wrong) -> Sequence[Row | Wrong]:
        if isinstance(row, Wrong) or self.form.items is None:
            return (row,)
        try:
            return list(self.form.items(row))
        except (*_RUBBISH, ValueError) as error:
            return (Wrong(f"it cannot be read as {self.form.name} ({type(error).__name__})"),)

    def _take(self, line: int, row: Row | Wrong, unit: str) -> None:
        reading = self.reading
        try:
            if isinstance(row, Wrong):
                raise ValueError(row)
            call = self._call(row)
        except (*_RUBBISH, ValueError) as error:
            why = str(error)
            if not isinstance(error, ValueError) or not why.startswith("it"):
                why = f"it cannot be read as {self.form.name} ({type(error).__name__})"
            reading.refused += 1
            if self.options.strict:
                raise CommandError(
                    f"{self.source.name}, {unit} {line}: {why}. Correct the row, or omit --strict "
                    "to count and skip such rows."
                ) from None
            if len(reading.bad) < _NAMED:
                reading.bad.append(BadRow(self.source.name, line, why, unit))
            return
        if isinstance(call, Aside):
            reading.aside[call.why] += 1
            return
        call.file, call.line = self.number, line
        reading.kept += 1
        reading.calls.add(call)

    def _call(self, row: Row) -> LoggedCall | Aside:
        call = self.form.read(row)
        if isinstance(call, Aside):
            return call
        options = self.options
        for name, column in options.mapped.items():
            found = value(row, column)
            if found is not None and name not in COUNTS:
                _override(call, name, found)
        call.model = call.model or options.model
        call.provider = call.provider or options.provider
        self.reading.has_models |= call.model is not None
        call.session = call.session or self.source.stem
        accounted(call)
        if options.since is not None or options.until is not None:
            if call.at is None:
                raise ValueError("it has no timestamp, and --from or --to asks for one")
            if not (options.since or 0.0) <= call.at < (options.until or float("inf")):
                return Aside("outside --from and --to")
        return call


def _override(call: LoggedCall, name: str, found: object) -> None:
    match name:
        case "timestamp":
            call.at = seconds(found)
        case "cost":
            call.cost = money({"cost": found}, "cost")
        case "id":
            call.key = f"row {found}"
        case "calls":
            call.calls = max(1, count("calls", found))
        case _:
            setattr(call, name, str(found))


def _nothing(sources: Sequence[Source], reading: Reading) -> str:
    names = sources[0].name if len(sources) == 1 else f"none of the {len(sources)} files"
    verb = "has" if len(sources) > 1 else "has no"
    kind = f" ({', '.join(reading.formats)})"
    if not reading.rows:
        return f"{names}{kind} {verb} row that can be read, only a header."
    parts = [f"{why}: {number:,}" for why, number in reading.aside.most_common()]
    parts += [str(bad) for bad in reading.bad[:1]]
    more = f" and {reading.refused - 1:,} more" if reading.refused > 1 else ""
    return f"{names}{kind} {verb} call to replay: {'; '.join(parts)}{more}."
