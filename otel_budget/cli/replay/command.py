"""``otel-budget replay``: what would this budget have done to this traffic?"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from otel_budget.cli.drawing import tenants_table
from otel_budget.cli.otlp import Otlp, sending
from otel_budget.cli.play import LogClock, play
from otel_budget.cli.replay.budget import budget_of, describe
from otel_budget.cli.replay.call_log import COLUMNS, CallLog, LoggedCall, read_log
from otel_budget.cli.replay.log_file import open_log
from otel_budget.cli.replay.report import as_json as json_of
from otel_budget.cli.replay.report import notes, opening, totals
from otel_budget.cli.report import report_of
from otel_budget.cli.terminal import CommandError, counted, followed, say
from otel_budget.guards.calendar import WINDOWS, Window
from otel_budget.guards.limit import PERS, Per
from otel_budget.telemetry.instrument import instrument

#: Rows after which ``--otlp`` flushes: fewer than fill a batch queue.
_BATCH: Final = 500


def replay(
    file: Annotated[Path, typer.Argument(help="CSV with a header, or JSON lines.")],
    *,
    limit_usd: Annotated[
        float | None,
        typer.Option("--limit-usd", metavar="USD", help="Cap in USD.", show_default=False),
    ] = None,
    limit_tokens: Annotated[
        float | None,
        typer.Option(
            "--limit-tokens", metavar="TOKENS", help="Cap in tokens, e.g. 1e6.", show_default=False
        ),
    ] = None,
    per: Annotated[
        Per, typer.Option(metavar="|".join(PERS), help="Who shares a budget.")
    ] = "tenant",
    window: Annotated[
        Window,
        typer.Option(metavar="|".join(WINDOWS), help="When it resets, by the UTC calendar."),
    ] = "day",
    soft: Annotated[
        float, typer.Option(metavar="SHARE", help="Soft limit, as a share of the cap.")
    ] = 0.8,
    deny_tool: Annotated[
        list[str] | None,
        typer.Option(
            "--deny-tool", metavar="NAME", help="Refuse this tool (or pattern); may be repeated."
        ),
    ] = None,
    guard: Annotated[
        str | None,
        typer.Option(
            "--guard",
            metavar="MODULE:FACTORY",
            help="Your own guard; if FACTORY takes clock, it gets the log's clock (epoch seconds).",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model of rows without one.")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Provider of rows without one, e.g. openai."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="FIELD=NAME",
            help=f"Read FIELD from column NAME. Fields: {', '.join(COLUMNS)}.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
    otlp: Otlp = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Replay a log of model calls against a budget: who is warned, who is refused, what it costs.

    Example: otel-budget replay calls.csv --limit-usd 5 --per tenant --window day --model gpt-4.1

    Example: otel-budget replay calls.jsonl --guard mycompany.budgets:make_guard --json
    """
    from otel_budget.sdk.observation import observe_global
    from otel_budget.testing import capture_telemetry

    with open_log(file) as opened:
        log = read_log(opened, file, _mapped(column), strict=strict)
    if limit_usd is not None and model is None and "model" not in log.columns:
        raise CommandError(
            f"{file} has no models, so no call has a price: add --model (and --provider), "
            "or use --limit-tokens."
        )
    _fill(log, model, provider)
    clock = LogClock(next((call.at for call in log.calls if call.at is not None), time.time()))
    budget = budget_of(
        clock,
        guard=guard,
        limit_usd=limit_usd,
        limit_tokens=limit_tokens,
        per=per,
        window=window,
        soft=soft,
        deny_tools=deny_tool or (),
    )
    with ExitStack() as stack:
        flush: Callable[[], None] | None = None
        if otlp is not None:
            flush = stack.enter_context(sending(otlp, "otel-budget-replay"))
        capture = capture_telemetry(spans=False) if otlp is None else observe_global(spans=False)
        with capture as telemetry:
            observed = _instrumented(budget)  # kept: its levels are reported while it is alive
            started = time.perf_counter()
            played = play(
                observed,
                _followed(log.calls, flush, shown=not as_json),
                clock,
                file.stem,
            )
            seconds = time.perf_counter() - started
            report = report_of(telemetry)
    if as_json:
        json.dump(json_of(file, log, report, played), sys.stdout, indent=2)
        print()
        return
    console = Console()
    money = report.cost_usd > 0
    budget_text = describe(
        guard=guard,
        limit_usd=limit_usd,
        limit_tokens=limit_tokens,
        per=per,
        window=window,
        soft=soft,
    )
    say(
        console,
        opening(file, log, budget_text),
        totals(report, played, money=money),
        tenants_table(report.tenants, report.other_levels, money=money),
    )
    for note in notes(log, report, played):
        console.print(note)
    rate = len(log.calls) / max(seconds, 1e-9)
    console.print(
        Text(f"{counted(len(log.calls), 'row')} in {seconds:.1f} s ({rate:,.0f}/s).", "dim")
    )


def _instrumented(guard: Any) -> Any:
    try:
        return instrument(guard)
    except TypeError as error:
        raise CommandError(f"what --guard made is not a guard: {error}.") from None


def _mapped(columns: list[str] | None) -> dict[str, str]:
    mapped: dict[str, str] = {}
    for entry in columns or ():
        wanted, separator, name = entry.partition("=")
        if not separator or not name or wanted not in COLUMNS:
            raise CommandError(
                f"--column {entry} is not FIELD=NAME with FIELD one of {', '.join(COLUMNS)}."
            )
        mapped[wanted] = name
    return mapped


def _fill(log: CallLog, model: str | None, provider: str | None) -> None:
    if model is not None or provider is not None:
        log.calls = [
            replace(call, model=call.model or model, provider=call.provider or provider)
            for call in log.calls
        ]


def _followed(
    calls: list[LoggedCall], flush: Callable[[], None] | None, *, shown: bool
) -> Iterator[LoggedCall]:
    for number, call in enumerate(followed(calls, "Calls", shown=shown), 1):
        yield call
        if flush is not None and number % _BATCH == 0:
            flush()
