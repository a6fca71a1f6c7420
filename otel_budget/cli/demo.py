"""``otel-budget demo``: a real call log through a budget guard, and what its telemetry shows."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.text import Text

from otel_budget.cli.drawing import (
    denials_table,
    metric_rows,
    metrics_table,
    tenants_table,
    trace_tree,
)
from otel_budget.cli.excerpt import CREDIT, excerpt
from otel_budget.cli.otlp import Otlp, sending
from otel_budget.cli.play import LogClock, play
from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.cli.report import denials_of, report_of
from otel_budget.cli.terminal import followed, say, usd
from otel_budget.guards import Limit, WindowGuard
from otel_budget.telemetry.instrument import instrument

#: USD per tenant and day.
CAP: Final = 0.5
SOFT: Final = 0.9
DENIED_TOOL: Final = "shell"
#: Seconds that the calls take on a terminal, where somebody watches.
_SHOW: Final = 4.0


def demo(
    *,
    otlp: Otlp = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run real calls through a budget guard and show its telemetry; no server, no network.

    Example: otel-budget demo

    Example: otel-budget demo --otlp http://localhost:4318
    """
    from otel_budget.sdk.observation import observe_global
    from otel_budget.testing import capture_telemetry

    calls = excerpt()
    clock = LogClock(calls[0].at or 0.0)
    console = Console()
    with ExitStack() as stack:
        flush: Callable[[], None] | None = None
        if otlp is None:
            capture = capture_telemetry()
        else:
            flush = stack.enter_context(sending(otlp, "otel-budget-demo"))
            capture = observe_global()
        if not as_json:
            say(console, _opening(len(calls)))
        with capture as telemetry:
            guard = instrument(
                WindowGuard(
                    Limit(CAP, "USD", per="tenant", window="day", soft=SOFT),
                    deny_tools=[DENIED_TOOL],
                    clock=clock,
                ),
                events="both",
            )
            play(guard, _shown(calls, quiet=as_json), clock, "demo")
            if flush is not None:
                flush()
            report, metrics = report_of(telemetry), telemetry.metrics()
        denials = denials_of(telemetry)
        if as_json:
            result: dict[str, Any] = asdict(report)
            result["denials"] = [asdict(denial) for denial in denials]
            result["metrics"] = [
                {key: row[key] for key in ("name", "series", "value")}
                for row in metric_rows(metrics)
            ]
            result["source"] = CREDIT
            json.dump(result, sys.stdout, indent=2)
            print()
        else:
            tree = trace_tree(telemetry.spans) or Text("No span was sampled (OTEL_TRACES_SAMPLER).")
            say(
                console,
                tenants_table(report.tenants, report.other_levels, money=True),
                denials_table(denials),
                Group(Text("One session's trace", "bold"), tree),
                metrics_table(metrics),
            )
    if not as_json:
        console.print(_closing(otlp))


def _shown(calls: list[LoggedCall], *, quiet: bool) -> Iterable[LoggedCall]:
    watched = not quiet and Console(stderr=True).is_terminal
    pause = _SHOW / len(calls) if watched else 0.0

    def paced() -> Iterator[LoggedCall]:
        for call in followed(calls, "Calls", len(calls), shown=watched):
            yield call
            time.sleep(pause)

    return paced() if watched else calls


def _opening(calls: int) -> Text:
    return Text.assemble(
        (f"{calls} real model calls", "bold"),
        f" of a coding assistant, in the order of their log: {CREDIT}. The log names no tenant, "
        "session, model or tool; they are assigned here. Each tenant has ",
        (f"{usd(CAP)} a day", "bold"),
        f" with a soft limit at {SOFT:.0%}, and the tool ",
        (DENIED_TOOL, "bold"),
        " is on the deny-list. Everything below is read from the telemetry.",
    )


def _closing(otlp: str | None) -> Text:
    if otlp is not None:
        return Text(f"Also sent to {otlp}, as service otel-budget-demo.", "dim")
    return Text(
        "With your own log: otel-budget replay FILE --limit-usd 5. To a collector: --otlp.", "dim"
    )
