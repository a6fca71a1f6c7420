"""``otel-budget replay``: what would this budget have done to this traffic?"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from otel_budget.cli.otlp import Otlp, sending
from otel_budget.cli.play import Answer, LogClock, Told, play
from otel_budget.cli.replay import options, report
from otel_budget.cli.replay.budget import TriedGuard, guard_from, limits_of
from otel_budget.cli.replay.export import as_json as json_of
from otel_budget.cli.replay.export import write_csv
from otel_budget.cli.replay.ledger import Ledger
from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.cli.replay.log.reading import ReadingOptions, read_logs
from otel_budget.cli.replay.log.sources import sources_of
from otel_budget.cli.replay.plot import Chart, Drawn, Peaks, drawn_in_text
from otel_budget.cli.replay.rates import prices_of
from otel_budget.cli.replay.recommend import Recommender
from otel_budget.cli.replay.svg import svg_of
from otel_budget.cli.terminal import CommandError, counted, followed, progress, say
from otel_budget.contract import BudgetLevel
from otel_budget.contract.guards import is_async

#: Rows after which ``--otlp`` flushes: fewer than fill a batch queue.
_BATCH: Final = 500
#: The tables of a report that asks for none, as far as they tell something.
_USUAL: Final[tuple[tuple[str, ...], ...]] = (("tenant",), ("user",), ("model",))
#: Rows from which a speed is told.
_TELLING: Final = 10_000
_SENT: Final = (
    "Sent to {url}, as service otel-budget-replay: spans and log events with the log's times, so "
    "search for its dates. "
    "Metrics carry the time of sending, as their protocol has no other; of soft limits, one log "
    "event a minute of the replay is sent for each session."
)


def replay(
    files: options.Files,
    *,
    limit: options.LimitWords = None,
    limit_usd: options.LimitUsd = None,
    limit_tokens: options.LimitTokens = None,
    per: options.PerWord = "tenant",
    window: options.WindowWord = "day",
    soft: options.Soft = 0.8,
    deny_tool: options.DenyTool = None,
    guard: options.GuardName = None,
    model: options.Model = None,
    provider: options.Provider = None,
    column: options.Column = None,
    decimal: options.Decimal = None,
    since: options.Since = None,
    until: options.Until = None,
    rate: options.Rate = None,
    log_cost: options.LogCost = False,
    strict: options.Strict = False,
    by: options.By = None,
    timezone: options.Timezone = "UTC",
    recommend: options.Recommend = False,
    plot: options.Plot = None,
    as_json: options.AsJson = False,
    as_csv: options.AsCsv = False,
    quiet: options.Quiet = False,
    otlp: Otlp = None,
) -> None:
    """Replay logs of model calls against a budget: who is warned, who is refused, what it costs.

    Formats are recognised: CSV and JSON with any usual columns, the logs of
    Claude Code, LiteLLM, OpenAI, Anthropic, Langfuse, LangSmith and Helicone,
    OpenTelemetry spans.

    Example: otel-budget replay calls.csv --limit 5usd/tenant/day --model gpt-4.1

    Example: otel-budget replay ~/.claude/projects --limit 20usd/all/5h --by day --by model

    Example: zcat spend.jsonl.gz | otel-budget replay - --limit 1e6tokens/user/week --csv --by user
    """
    started = time.process_time()
    zone = options.zone_of(timezone)
    tables = options.tables_of(by, as_csv=as_csv, as_json=as_json)
    limits = limits_of(
        limit or (), usd=limit_usd, tokens=limit_tokens, who=per, window=window, soft=soft
    )
    if guard is not None and (limits or deny_tool):
        raise CommandError("--guard brings its own limits: omit --limit* and --deny-tool.")
    plots = options.checked_plots(plot, has_limits=bool(limits), alone=as_json or as_csv)
    prices = prices_of(rate or ())
    how = ReadingOptions(
        mapped=options.mapped_columns(column),
        model=model,
        provider=provider,
        strict=strict,
        decimal=options.decimal_mark(decimal),
        since=None if since is None else options.time_of("--from", since, zone),
        until=None if until is None else options.time_of("--to", until, zone),
    )
    sources = sources_of(files)
    with progress("Rows", None, shown=not quiet) as done:
        reading = read_logs(sources, how, done)
    has_usd = any(each.limit.unit == "USD" for each in limits)
    if has_usd and not (reading.has_models or log_cost or rate):
        raise CommandError(
            f"{sources[0].name} has no models, so no call has a price: add --model (and "
            "--provider), or use a limit in tokens."
        )
    span = reading.calls.span()
    clock = LogClock(span[0] if span else time.time())

    def tried_guard() -> TriedGuard:
        return TriedGuard(limits, deny_tools=deny_tool or (), prices=prices, zone=zone, clock=clock)

    tried: Any = tried_guard() if guard is None else guard_from(guard, clock)
    try:
        is_async(tried)
    except TypeError as error:
        raise CommandError(f"what --guard made is not a guard: {error}.") from None
    ledger = Ledger(tuple(dict.fromkeys((*_USUAL, *tables))), prices, zone, log_cost)
    recommender = Recommender(
        reading.calls.calls, clock, prices=prices, zone=zone, log_cost=log_cost
    )
    peaks = Peaks(tried, clock) if plots else None
    told = [ledger, *([recommender] if recommend else ()), *([peaks] if peaks else ())]

    def replayed(guard: Any, told: Sequence[Told], flush: Callable[[], None] | None = None) -> None:
        calls = followed(reading.calls, "Calls", reading.kept, shown=not quiet)
        play(guard, _flushed(calls, flush), clock, "log", _all_of(told), log_cost=log_cost)

    with ExitStack() as stack:
        if otlp is None:
            replayed(tried, told)
        else:
            observed, flush = _sent(stack, otlp, tried, prices, clock)
            replayed(observed, told, flush)
    levels = _levels(tried)
    charts = []
    if peaks:
        again = tried_guard()
        clock.now = span[0] if span else clock.now
        drawn = Drawn(again, clock, peaks.chosen(), span or (clock.now, clock.now))
        replayed(again, [drawn])
        charts = drawn.charts(limits, peaks.accounts(), zone)
        _write(plots, charts)
    found = list(recommender.recommended()) if recommend else []
    if as_csv:
        write_csv(sys.stdout, tables[0], ledger.groups[tables[0]])
        return
    if as_json:
        json.dump(
            json_of(sources, reading, ledger, limits, levels, recommended=found),
            sys.stdout,
            indent=2,
        )
        print()
        return
    console = Console()
    budget = [guard] if guard is not None else [str(each) for each in limits]
    say(console, report.opening(sources, reading, budget, zone), report.totals(ledger))
    if len(limits) > 1:
        say(console, report.limits_table(limits, ledger))
    for combination in tables or _usual_tables(ledger):
        say(console, report.table_of(combination, ledger.groups[combination], levels))
    if found:
        say(console, recommender.table(found))
    for chart in charts if "-" in plots else ():
        say(console, drawn_in_text(chart))
    for line in (
        *report.shared_levels(levels),
        *report.notes(sources, reading, ledger, levels, zone),
    ):
        console.print(line)
    if otlp is not None:
        console.print(Text(_SENT.format(url=otlp), "dim"))
    seconds = max(time.process_time() - started, 1e-9)
    # What a short log takes is the start of the program, and says nothing.
    speed = f" ({reading.rows / seconds:,.0f}/s)" if reading.rows >= _TELLING else ""
    took = f"{counted(reading.rows, 'row')} in {seconds:.1f} s of CPU{speed}."
    console.print(Text(took, "dim"))


def _usual_tables(ledger: Ledger) -> list[tuple[str, ...]]:
    telling = [each for each in _USUAL if ledger.groups[each].keys() - {(None,)}]
    return list(telling or (_USUAL[:1] if ledger.checked_rows else ()))


def _sent(
    stack: ExitStack, url: str, guard: Any, prices: Any, clock: LogClock
) -> tuple[Any, Callable[[], None]]:
    """The guard with telemetry of its own, and what sends it."""
    from opentelemetry import _logs, trace

    from otel_budget.cli.past_times import PastLoggerProvider, PastTracerProvider
    from otel_budget.telemetry.instrument import instrument

    flush = stack.enter_context(sending(url, "otel-budget-replay"))
    observed = instrument(
        guard,
        prices=prices,
        tracer_provider=PastTracerProvider(trace.get_tracer_provider(), clock),
        logger_provider=PastLoggerProvider(_logs.get_logger_provider(), clock),
    )
    return observed, flush


def _flushed(calls: Iterable[LoggedCall], flush: Callable[[], None] | None) -> Iterator[LoggedCall]:
    for number, call in enumerate(calls, 1):
        yield call
        if flush is not None and number % _BATCH == 0:
            flush()


def _all_of(told: Sequence[Told]) -> Told:
    if len(told) == 1:
        return told[0]

    def tell(call: LoggedCall, answer: Answer, is_tool: bool) -> None:
        for each in told:
            each(call, answer, is_tool)

    return tell


def _write(plots: Sequence[str], charts: Sequence[Chart]) -> None:
    for plot in plots:
        if plot != "-":
            try:
                Path(plot).write_text(svg_of(charts), encoding="utf-8")
            except OSError as error:
                raise CommandError(f"--plot {plot} cannot be written ({error.strerror}).") from None


def _levels(guard: Any) -> list[BudgetLevel]:
    """What the guard tells of its budgets, if it tells."""
    tell = getattr(guard, "budget_levels", None)
    if not callable(tell):
        return []
    try:
        return [level for level in tell() if isinstance(level, BudgetLevel)]
    except Exception:  # the user's own guard
        return []
