"""The results as one table."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version

from benchmarks.measure import CALLS, ROUNDS
from benchmarks.peers.pipeline import KINDS
from benchmarks.peers.run import Result

_ROW = "{:34} {:>9}  {:>14}  {:>12}  {}"


def lines(results: list[Result]) -> Iterator[str]:
    """The table, line by line; a package that did not run is a row with the reason."""
    yield "What one recorded decision costs: an LLM call that a budget allows, asked and recorded."
    yield (
        f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}, "
        f"{platform.machine()}, {os.cpu_count()} cores; "
        f"opentelemetry-sdk {version('opentelemetry-sdk')}; every span sampled, exporters discard."
    )
    yield (
        "Each row is a process that times the package, otel-budget and telemetry by hand in turn: "
        f"medians of {ROUNDS} rounds of {CALLS} calls,"
    )
    yield (
        "as ratios to the telemetry by hand. A package's time has its own guard in it, "
        "otel-budget's a WindowGuard, by hand one that answers at once."
    )
    yield "What a call emits is counted: spans, events, and the series of metrics that it moves."
    yield ""
    yield _ROW.format("package", "× by hand", "quartiles", "otel-budget", "emits per call")
    ran = [result for result in results if result.emits is not None]
    if ran:
        first = ran[0]
        yield _ROW.format(
            "by hand", "1.00", f"({first.hand_microseconds:.0f} us)", "", _told(first.hand_emits)
        )
    for result in results:
        yield from _row(result)


def _row(result: Result) -> Iterator[str]:
    name = f"{result.package.name} {result.version}".strip()
    ratio, own = result.ratio, result.own
    if ratio is None or own is None:
        yield f"{name:34} {result.reason}"
    else:
        yield _ROW.format(
            name,
            f"{ratio.median:.2f}",
            f"{ratio.low:.2f} to {ratio.high:.2f}",
            f"{own.median:.2f}",
            _told(result.emits),
        )
    yield f"    {result.package.call}"


def _told(emits: dict[str, int] | None) -> str:
    """What was counted, in words: "2 spans, 1 counter"."""
    counts = [(kind, (emits or {}).get(kind, 0)) for kind in KINDS]
    told = [f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in counts if number]
    return ", ".join(told) or "nothing"
