"""The options of ``replay``: what they are called, and what their words mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

import typer

from otel_budget.cli.replay.budget import PERS
from otel_budget.cli.replay.ledger import DIMENSIONS
from otel_budget.cli.replay.log.columns import COLUMNS
from otel_budget.cli.terminal import CommandError

_LIMITS: Final = "Limits"
_LOG: Final = "How the log is read"
_REPORT: Final = "Report"

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        help="Logs as CSV or JSON, also packed with gzip: files, folders, patterns, or - for "
        "standard input.",
        show_default=False,
    ),
]
LimitWords = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="AMOUNT/WHO/WINDOW",
        help="A limit such as 5usd/user/day, 1e6tokens/all/week or 20usd/tenant/5h (rolling); "
        "may be repeated.",
        rich_help_panel=_LIMITS,
    ),
]
LimitUsd = Annotated[
    float | None,
    typer.Option(metavar="USD", help="Limit in USD.", show_default=False, rich_help_panel=_LIMITS),
]
LimitTokens = Annotated[
    float | None,
    typer.Option(
        metavar="TOKENS",
        help="Limit in tokens, e.g. 1e6.",
        show_default=False,
        rich_help_panel=_LIMITS,
    ),
]
PerWord = Annotated[
    str,
    typer.Option(metavar="|".join(PERS), help="Who shares a limit.", rich_help_panel=_LIMITS),
]
WindowWord = Annotated[
    str,
    typer.Option(
        metavar="hour|day|week|month|ever|5h",
        help="When it resets by the calendar, or how long it rolls (30m, 5h, 7d, 4w).",
        rich_help_panel=_LIMITS,
    ),
]
Soft = Annotated[
    float,
    typer.Option(
        metavar="SHARE", help="Soft limit, as a share of the limit.", rich_help_panel=_LIMITS
    ),
]
DenyTool = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Refuse this tool (or pattern); may be repeated.",
        rich_help_panel=_LIMITS,
    ),
]
GuardName = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FACTORY",
        help="Your own guard; if FACTORY takes clock, it gets the log's clock (epoch seconds).",
        rich_help_panel=_LIMITS,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Model of rows without one.", rich_help_panel=_LOG),
]
Provider = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Provider of rows without one, e.g. openai.", rich_help_panel=_LOG
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=NAME",
        help=f"Read FIELD from column NAME. Fields: {', '.join(COLUMNS)}.",
        rich_help_panel=_LOG,
    ),
]
Decimal = Annotated[
    str | None,
    typer.Option(metavar=".|,", help="What marks decimals in a CSV file.", rich_help_panel=_LOG),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="2026-11-01 or 2026-11-01T08:00.", rich_help_panel=_LOG
    ),
]
Until = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="Exclusive.", rich_help_panel=_LOG),
]
Rate = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL=IN/OUT",
        help="Your own rates in USD per million tokens, e.g. 'my-*=2/8' or, with those of "
        "cached tokens read and written, gpt-4.1=2/8/0.5/2; may be repeated.",
        rich_help_panel=_LOG,
    ),
]
LogCost = Annotated[
    bool,
    typer.Option(
        "--log-cost",
        help="Take the log's own cost where it tells one.",
        rich_help_panel=_LOG,
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Stop at the first bad row.", rich_help_panel=_LOG),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        metavar="|".join(DIMENSIONS),
        help="A table by this; several joined by commas make one table, e.g. user,day. May be "
        "repeated.",
        rich_help_panel=_REPORT,
    ),
]
Timezone = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Of windows, days, --from and --to, e.g. Europe/Berlin. Times in the log without "
        "an offset are UTC.",
        rich_help_panel=_REPORT,
    ),
]
Recommend = Annotated[
    bool,
    typer.Option(
        "--recommend",
        help="The smallest limits by tenant and user, hour to month, that would have refused "
        "nothing, one call in 1,000, one in 100.",
        rich_help_panel=_REPORT,
    ),
]
Plot = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE.svg|-",
        help="Draw use against limit over time, with the refusals, into a file, or with - here.",
        rich_help_panel=_REPORT,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print the report as JSON.", rich_help_panel=_REPORT),
]
AsCsv = Annotated[
    bool,
    typer.Option("--csv", help="Print one table as CSV.", rich_help_panel=_REPORT),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_REPORT)]


# -- what their words mean -----------------------------------------------------------------
def tables_of(by: Sequence[str] | None, *, as_csv: bool, as_json: bool) -> list[tuple[str, ...]]:
    """The tables that ``--by`` asks for.

    Raises:
        CommandError: It names something else, or asks for what cannot be printed together.
    """
    tables = list(dict.fromkeys(tuple(each.split(",")) for each in by or ()))
    for combination in tables:
        for name in combination:
            if name not in DIMENSIONS:
                raise CommandError(f"--by {name} is none of {', '.join(DIMENSIONS)}.")
        if len(set(combination)) < len(combination):
            raise CommandError(f"--by {','.join(combination)} names one of them twice.")
    if as_csv and as_json:
        raise CommandError("--json and --csv both print to the same place: choose one.")
    if as_csv and len(tables) > 1:
        raise CommandError("--csv prints one table: give --by once; a comma crosses, as user,day.")
    return tables or ([("tenant",)] if as_csv else [])


def mapped_columns(columns: Iterable[str] | None) -> dict[str, str]:
    """The columns that ``--column`` names, by field.

    Raises:
        CommandError: One is not FIELD=NAME.
    """
    mapped: dict[str, str] = {}
    for entry in columns or ():
        wanted, separator, name = entry.partition("=")
        if not separator or not name or wanted not in COLUMNS:
            raise CommandError(
                f"--column {entry} is not FIELD=NAME with FIELD one of {', '.join(COLUMNS)}."
            )
        mapped[wanted] = name
    return mapped


def checked_plots(plots: Sequence[str] | None, *, has_limits: bool, alone: bool) -> list[str]:
    """Where ``--plot`` draws.

    Args:
        plots: As given.
        has_limits: Whether there are limits to draw.
        alone: Whether standard output is taken.

    Raises:
        CommandError: There is nothing to draw, or a place is none.
    """
    for plot in plots or ():
        if not has_limits:
            raise CommandError("--plot draws use against a limit: add one, such as --limit 5usd.")
        if plot == "-" and alone:
            raise CommandError("--plot - draws here, where --json or --csv prints: name a file.")
        if plot != "-" and not plot.lower().endswith(".svg"):
            raise CommandError(f"--plot {plot} is neither FILE.svg nor -, for the terminal.")
    return list(plots or ())


def decimal_mark(decimal: str | None) -> Literal[".", ","] | None:
    """The mark that ``--decimal`` names.

    Raises:
        CommandError: It is another.
    """
    if decimal is None or decimal in {".", ","}:
        return decimal  # type: ignore[return-value]
    raise CommandError(f"--decimal {decimal} is neither . nor ,.")


def zone_of(name: str) -> tzinfo:
    """The time zone of a name.

    Raises:
        CommandError: It is not known here.
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise CommandError(
            f"--timezone {name} is no time zone known here, such as Europe/Berlin (where the "
            "system has none: pip install tzdata)."
        ) from None


def time_of(option: str, words: str, zone: tzinfo) -> float:
    """A time of ``--from`` or ``--to`` in seconds since the epoch.

    Raises:
        CommandError: It is none.
    """
    try:
        read = datetime.fromisoformat(words)
        return (read if read.tzinfo else read.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise CommandError(f"{option} {words} is not a time such as 2026-11-01.") from None
