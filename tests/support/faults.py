"""Faults under load: what of an application's own books arrived, and the table of all that ran.

Outages are short; ``make faults`` makes them a minute (OTEL_BUDGET_FAULT_SECONDS) and prints the
table, whose every cell is measured.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from collector.stack import Stack
from otel_budget import semconv
from support import probes
from support.applications import LoadApp

OUTAGE = float(os.environ.get("OTEL_BUDGET_FAULT_SECONDS", "4"))
#: Retries come at most this much later than the end of the outage.
PATIENCE = 45 + OUTAGE
#: Of a module of faults.
MARKS = [pytest.mark.backend, pytest.mark.timeout(300 + 8 * OUTAGE)]
#: Whether this is `make faults`.
IN_FULL = OUTAGE >= 30
#: Of a fault whose short form another test has.
LONG = pytest.mark.skipif(not IN_FULL, reason="its outage lasts a minute: run `make faults`")

Books = Mapping[str, Any]
StartStack = Callable[..., Stack]
StartApp = Callable[..., LoadApp]

COUNTERS = {
    "decisions": semconv.METRIC_DECISIONS,
    "tokens": semconv.METRIC_TOKENS,
    "calls": semconv.METRIC_CALLS,
    "cost": semconv.METRIC_COST,
}
HEAD = (
    "fault", "counters", "denials missing in the audit file", "its events twice, read once",
    "denials missing in Jaeger",
)  # fmt: skip
_rows: list[tuple[str, ...]] = []


class Messages(NamedTuple):
    """How the denials of one store differ from the application's."""

    missing: list[str]
    twice: list[str]


WHOLE = Messages([], [])


@dataclass(frozen=True)
class Arrived:
    """What of an application's books arrived.

    Attributes:
        wrong: The counters that differ, with what was found and what is true.
        audit: The denials in the audit file, as its readers see it.
        repeated: Events that the audit file has twice and its readers skip.
        traces: The denials in Jaeger.
    """

    wrong: dict[str, tuple[float | None, float]]
    audit: Messages
    repeated: int
    traces: Messages


def run_phase(app: LoadApp, name: str, seconds: float) -> None:
    app.mark(name)
    time.sleep(seconds)


def counted(stack: Stack, service: str = "load") -> dict[str, float | None]:
    """The counters in Prometheus, by the names of the books."""
    return {
        name: probes.total(
            stack.prometheus,
            f'last_over_time({metric.prometheus_name()}{{job="{service}"}}[1h])',
        )
        for name, metric in COUNTERS.items()
    }


def audited(stack: Stack, service: str = "load") -> Counter[str]:
    """The denials in the audit file by their message."""
    return Counter(
        event["attributes"][semconv.MESSAGE]
        for event in probes.audit_events(stack.audit_file)
        if event["attributes"][semconv.KIND] == semconv.KIND_HARD
        and event["resource"]["service.name"] == service
    )


def traced(stack: Stack, service: str = "load") -> Counter[str]:
    """The denials in Jaeger by their message."""
    return Counter(
        field["value"]
        for span in probes.spans(stack.jaeger, service, budget__decision=semconv.DENY)
        for log in span["logs"]
        for field in log["fields"]
        if field["key"] == semconv.MESSAGE
    )


def arrived(
    fault: str,
    stack: Stack,
    books: Books,
    *,
    service: str = "load",
    patience: float = PATIENCE,
) -> Arrived:
    """Wait until everything has arrived, compare, and write a row of the table.

    Args:
        fault: The row's name.
        stack: Where the application sends.
        books: The application's own counts, of which some may be absent.
        service: Its name.
        patience: Seconds to wait for each store, of which only losses take all.
    """
    assert books["denials"]

    def wrong() -> dict[str, tuple[float | None, float]]:
        return {
            name: (found, books[name])
            for name, found in counted(stack, service).items()
            if name in books
            if found is None or abs(found - books[name]) > (1e-9 if name == "cost" else 0)
        }

    def compared(find: Callable[[Stack, str], Counter[str]]) -> Callable[[], Messages]:
        def compare() -> Messages:
            found, true = find(stack, service), Counter(books["denials"])
            return Messages(list((true - found).elements()), list((found - true).elements()))

        return compare

    result = Arrived(
        probes.eventually(wrong, lambda differing: not differing, timeout=patience),
        probes.eventually(compared(audited), WHOLE.__eq__, timeout=patience),
        probes.audit(stack.audit_file).repeated,
        probes.eventually(compared(traced), WHOLE.__eq__, timeout=patience),
    )
    _write(fault, result, len(books["denials"]))
    return result


def assert_whole(result: Arrived) -> None:
    """Check that every count is exact and every denial is there, once."""
    assert_exact(result)
    assert result.traces == WHOLE


def assert_only_spans_are_missing(result: Arrived, books: Books, most: int) -> None:
    """Check that at most so many denials have no span in Jaeger, and that the last one has."""
    assert_exact(result)
    assert len(result.traces.missing) <= most
    assert books["denials"][-1] not in result.traces.missing
    assert result.traces.twice == []


def assert_exact(result: Arrived) -> None:
    """The same, but for Jaeger."""
    assert result.wrong == {}
    assert result.audit == WHOLE


def _write(fault: str, result: Arrived, denials: int) -> None:
    counters = ", ".join(
        f"no {name}" if found is None else f"{name} {found:.6g} of {true:.6g}"
        for name, (found, true) in result.wrong.items()
    )
    audit, traces = (
        f"{len(found.missing)} of {denials}" + f", {len(found.twice)} twice" * bool(found.twice)
        for found in (result.audit, result.traces)
    )
    _rows.append((fault, counters or "exact", audit, str(result.repeated), traces))
    print("\n" + _line(_rows[-1]))


def table() -> list[str]:
    """The rows so far, in Markdown; empty if none are."""
    return [_line(HEAD), _line(["---"] * len(HEAD)), *map(_line, _rows)] if _rows else []


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
