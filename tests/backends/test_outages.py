"""What a dead, hung or full backend costs, on the real programs with an application under load.

Outages are short here; ``make faults`` makes them a minute (OTEL_BUDGET_FAULT_SECONDS) and prints.
The application's own counts (`load_app.py`) are compared with what arrived: counters exactly, every
denial in the audit file and in Jaeger.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from collector.stack import Stack
from otel_budget import audit_file, semconv
from support import probes
from support.applications import LoadApp
from support.disks import small_disk

OUTAGE = float(os.environ.get("OTEL_BUDGET_FAULT_SECONDS", "4"))
#: Retries come at most this much later than the end of the outage.
PATIENCE = 45 + OUTAGE
pytestmark = [pytest.mark.backend, pytest.mark.timeout(240 + 8 * OUTAGE)]
StartStack = Callable[..., Stack]


@pytest.fixture
def start_app() -> Iterator[Callable[..., LoadApp]]:
    with ExitStack() as held:

        def start(stack: Stack, **environment: str) -> LoadApp:
            app = LoadApp(stack.otlp_http, "load", **environment)
            held.callback(app.close)
            return app

        yield start


def run_phase(app: LoadApp, name: str, seconds: float) -> None:
    app.mark(name)
    time.sleep(seconds)


def assert_exact(stack: Stack, books: dict[str, Any]) -> None:
    """Check that the counters in Prometheus equal those of the application."""

    def totals() -> dict[str, float | None]:
        return {
            metric.name: probes.total(
                stack.prometheus, f'last_over_time({metric.prometheus_name()}{{job="load"}}[1h])'
            )
            for metric in (
                semconv.METRIC_DECISIONS, semconv.METRIC_TOKENS, semconv.METRIC_CALLS,
                semconv.METRIC_COST,
            )
        }  # fmt: skip

    wanted = {
        "budget.decisions": books["decisions"],
        "budget.tokens": books["tokens"],
        "budget.calls": books["calls"],
        "budget.cost": pytest.approx(books["cost"], abs=1e-9, rel=0),
    }
    assert probes.eventually(totals, lambda found: found == wanted, timeout=PATIENCE) == wanted


def audited(stack: Stack) -> Counter[str]:
    """The denials in the audit file by their message."""
    return Counter(
        event["attributes"][semconv.MESSAGE]
        for event in probes.audit_events(stack.audit_file)
        if event["attributes"][semconv.KIND] == semconv.KIND_HARD
    )


def traced(stack: Stack) -> Counter[str]:
    """The denials in Jaeger by their message."""
    return Counter(
        field["value"]
        for span in probes.spans(stack.jaeger, "load", budget__decision=semconv.DENY)
        for log in span["logs"]
        for field in log["fields"]
        if field["key"] == semconv.MESSAGE
    )


def assert_every_denial(
    find: Callable[[Stack], Counter[str]], stack: Stack, books: dict[str, Any]
) -> None:
    """Check that each denial is there, once."""
    wanted = Counter(books["denials"])
    assert wanted
    assert (
        probes.eventually(lambda: find(stack), lambda found: found == wanted, timeout=PATIENCE)
        == wanted
    )


def longest_gap(stack: Stack) -> float:
    """The most seconds between two samples of a counter of the application."""
    name = semconv.METRIC_DECISIONS.prometheus_name()
    answer = probes.get_json(
        f"{stack.prometheus}/api/v1/query",
        {"query": f'{name}{{job="load",budget_decision="allow",budget_decision_point="llm"}}[1h]'},
    )
    (series,) = answer["data"]["result"]
    times = [when for when, _ in series["values"]]
    return max(later - earlier for earlier, later in pairwise(times))


def print_ratio(books: dict[str, Any]) -> None:
    """Print how long the guard's calls took during the fault; machines differ, so no assertion."""
    before, during = books["medians"]["before"], books["medians"]["fault"]
    print(
        f"  a check took {during * 1e6:.0f} us (median) during the fault and {before * 1e6:.0f} us "
        f"before it: ratio {during / before:.2f}; the application lost: {books['losses'] or '-'}"
    )


@pytest.mark.parametrize("victim", ["jaeger", "prometheus"])
def test_a_backend_killed_and_restarted_loses_nothing(
    victim: str, start_stack: StartStack, start_app: Callable[..., LoadApp]
) -> None:
    stack = start_stack()
    app = start_app(stack)
    run_phase(app, "before", 2)
    stack.kill(victim)
    run_phase(app, "fault", OUTAGE)
    stack.launch(victim)
    run_phase(app, "after", 2)
    books = app.finish()
    print_ratio(books)
    assert books["losses"] == ""
    assert_exact(stack, books)
    assert_every_denial(traced, stack, books)
    assert_every_denial(audited, stack, books)
    # Exported every second throughout the outage; what was retried late comes last.
    gap = probes.eventually(lambda: longest_gap(stack), lambda gap: gap < 3, timeout=PATIENCE)
    assert gap < 3


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_dead_or_hung_collector_loses_no_count_and_no_denial(
    how: str, start_stack: StartStack, start_app: Callable[..., LoadApp]
) -> None:
    stack = start_stack()
    # The exporter itself gives up within a short outage, too.
    app = start_app(stack, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="1")
    run_phase(app, "before", 2)
    if how == "killed":
        stack.kill("otelcol")
    else:
        stack.suspend("otelcol")
    run_phase(app, "fault", OUTAGE)
    if how == "killed":
        stack.launch("otelcol")
    else:
        stack.resume("otelcol")
    run_phase(app, "after", 15 + OUTAGE / 2)  # the exporter's pauses grow to a quarter of a minute
    books = app.finish()
    print_ratio(books)
    assert_exact(stack, books)
    # A batch whose acknowledgement is lost is sent again; its events are read once.
    assert_every_denial(audited, stack, books)
    assert_every_denial(traced, stack, books)


def test_what_waits_for_jaeger_survives_the_collectors_death(
    start_stack: StartStack, start_app: Callable[..., LoadApp]
) -> None:
    stack = start_stack()
    app = start_app(stack)
    run_phase(app, "before", 1)
    stack.kill("jaeger")
    stack.kill("prometheus")
    run_phase(app, "fault", OUTAGE)
    books = app.terminate()  # nothing is left that could send anything again
    stack.kill("otelcol")
    stack.launch("jaeger")
    stack.launch("prometheus")
    stack.launch("otelcol")
    assert_exact(stack, books)
    assert_every_denial(traced, stack, books)
    assert_every_denial(audited, stack, books)


def assert_only_spans_are_lost(
    stack: Stack, app: LoadApp, make_room: Callable[[], None], what: str
) -> None:
    run_phase(app, "before", 2)
    known = probes.eventually(lambda: len(traced(stack)), bool, timeout=PATIENCE)
    stack.kill("jaeger")
    run_phase(app, "fault", max(OUTAGE, 6))
    # The shipped alert uses this name.
    refused = "sum(otelcol_exporter_enqueue_failed_spans_total) > 0"
    assert probes.eventually(lambda: probes.query(stack.prometheus, refused), timeout=60)
    make_room()
    stack.launch("jaeger")
    # On a slow machine the queue is full for some time yet.
    assert probes.eventually(lambda: len(traced(stack)) > known, bool, timeout=PATIENCE)
    run_phase(app, "after", 5 + OUTAGE / 2)
    books = app.finish()
    print_ratio(books)
    assert_exact(stack, books)
    assert_every_denial(audited, stack, books)
    # The application knows that it lost what was refused until the exporter gave up; whatever was
    # accepted arrives, and once Jaeger is back, that is everything new.
    last, lost = books["denials"][-1], books["lost_spans"]

    def missing() -> set[str]:
        return set(books["denials"]) - set(traced(stack))

    still = probes.eventually(
        missing, lambda found: len(found) <= lost and last not in found, timeout=PATIENCE
    )
    assert len(still) <= lost
    assert last not in still
    print(f"  {what}: {len(still)} of {len(books['denials'])} denials have no span")


def test_a_full_queue_loses_only_spans_and_is_counted(
    start_stack: StartStack, start_app: Callable[..., LoadApp]
) -> None:
    stack = start_stack(environment={"OTELCOL_QUEUE_BYTES": "500000"}, interval=1)
    assert_only_spans_are_lost(stack, start_app(stack), lambda: None, "full queue")


def test_a_full_disk_loses_only_spans_and_is_counted(
    start_stack: StartStack, start_app: Callable[..., LoadApp], directory: Path
) -> None:
    with small_disk(directory / "disk") as make_room:
        stack = start_stack(
            environment={"OTELCOL_QUEUE_DIR": str(directory / "disk" / "queue")}, interval=1
        )
        assert_only_spans_are_lost(stack, start_app(stack), make_room, "full disk")
        stack.stop()


def test_a_full_audit_disk_tears_a_record_and_loses_no_denial(
    start_stack: StartStack, start_app: Callable[..., LoadApp], directory: Path
) -> None:
    disk = directory / "disk"
    with small_disk(disk) as make_room:
        file = disk / "audit" / "threshold-hits.jsonl"
        stack = start_stack(programs=["otelcol"], environment={"OTELCOL_AUDIT_FILE": str(file)})
        app = start_app(stack)
        run_phase(app, "before", 2)
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        run_phase(app, "fault", OUTAGE)
        make_room()
        run_phase(app, "after", 15 + OUTAGE / 2)
        books = app.finish()
        print_ratio(books)
        assert_every_denial(audited, stack, books)
        assert audit_file.read(file).torn
        stack.stop()


def test_an_application_ended_by_sigterm_has_delivered_everything(
    start_stack: StartStack, start_app: Callable[..., LoadApp]
) -> None:
    stack = start_stack()
    app = start_app(stack)
    run_phase(app, "before", 3)
    books = app.terminate()
    assert books["losses"] == ""
    assert_exact(stack, books)
    assert_every_denial(traced, stack, books)
    assert_every_denial(audited, stack, books)
