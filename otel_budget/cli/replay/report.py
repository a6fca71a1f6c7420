"""The report of `replay`, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from otel_budget import semconv
from otel_budget.cli.play import Played
from otel_budget.cli.replay.call_log import CallLog
from otel_budget.cli.report import Report
from otel_budget.cli.terminal import clean, counted, usd

#: Bad rows and first refusals that are listed individually.
_NAMED: Final = 5


def opening(file: Path, log: CallLog, budget: str) -> Text:
    """What was replayed, and against which budget."""
    times = [call.at for call in log.calls if call.at is not None]
    when = f", {_time(min(times))} to {_time(max(times))} UTC" if times else ""
    return Text.assemble(
        (clean(file.name), "bold"), f": {counted(len(log.calls), 'row')}{when}. Budget: {budget}."
    )


def totals(report: Report, played: Played, *, money: bool) -> Text:
    """The whole log in numbers."""
    tokens = ", ".join(
        f"{count:,} {kind.replace('_', ' ')}"
        for kind, count in report.tokens.items()
        if count or kind in {"input", "output"}
    )
    text = Text.assemble(
        (f"{counted(report.recorded_calls, 'model call')} recorded", "green"),
        ": ",
        f"{tokens} tokens",
        f", {usd(report.cost_usd)}" if money else "",
        ".\n",
        (f"{report.refused_calls:,} refused", "red" if report.refused_calls else ""),
    )
    if report.refused_calls:
        text.append(
            f", with {played.refused_input_tokens:,} prompt and "
            f"{played.refused_output_tokens:,} completion tokens in the log"
        )
    text.append(
        f". {counted(report.soft_hits, 'soft hit')}. "
        f"{counted(report.tool_denials, 'tool call')} refused."
    )
    return text


def notes(log: CallLog, report: Report, played: Played) -> Iterator[Text]:
    """What the numbers alone do not show."""
    firsts = sorted(played.first_refusal.items(), key=lambda item: item[1].at or 0.0)
    for tenant, call in firsts[:_NAMED]:
        when = "" if call.at is None else f" at {_time(call.at)} UTC"
        name = clean(tenant) if tenant else "calls without a tenant"
        yield Text(f"First refusal of {name}{when}, line {call.line}.")
    if len(firsts) > _NAMED:
        yield Text(f"{len(firsts) - _NAMED:,} more tenants were refused.")
    for reason, count in report.unpriced_calls.items():
        if reason not in {"no_prices", "no_model"} or report.cost_usd > 0:
            yield Text(
                f"No price ({reason}) for {counted(count, 'call')}: no cost is added.", "yellow"
            )
    for error, count in report.guard_errors.items():
        yield Text(f"The guard raised {error} in {counted(count, 'call')}.", "red")
    if any(tenant.tenant == semconv.OTHER for tenant in report.tenants):
        yield Text(
            f"{semconv.OTHER}: the tenants beyond those that metrics keep apart; the guard gave "
            "each its own budget."
        )
    if any(level.window for tenant in report.tenants for level in tenant.levels):
        yield Text("The limit used is that of the window in which the log ends.", "dim")
    if "timestamp" not in log.columns:
        yield Text("No timestamps: all calls fall into one window.", "yellow")
    if log.reordered:
        yield Text("The rows were put into the order of their times.", "dim")
    if log.bad:
        named = "; ".join(f"line {bad.line}: {bad.why}" for bad in log.bad[:_NAMED])
        more = f"; and {len(log.bad) - _NAMED:,} more" if len(log.bad) > _NAMED else ""
        yield Text(f"Left out, unreadable: {counted(len(log.bad), 'row')}: ", "yellow").append(
            f"{named}{more}."
        )


def as_json(file: Path, log: CallLog, report: Report, played: Played) -> dict[str, Any]:
    """The whole report, for machines."""
    return {
        "file": str(file),
        "rows": len(log.calls),
        "columns": log.columns,
        "reordered": log.reordered,
        **asdict(report),
        "refused_input_tokens": played.refused_input_tokens,
        "refused_output_tokens": played.refused_output_tokens,
        "first_refusals": [
            {"tenant": tenant, "line": call.line, "timestamp": call.at}
            for tenant, call in played.first_refusal.items()
        ],
        "bad_rows": [asdict(bad) for bad in log.bad],
    }


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
