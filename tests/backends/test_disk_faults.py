"""What a full or damaged disk costs, with an application under load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from collector.stack import PROGRAMS, Stack
from support import probes
from support.applications import LoadApp
from support.disks import DAMAGE, fill, small_disk
from support.faults import (
    LONG,
    MARKS,
    OUTAGE,
    PATIENCE,
    StartApp,
    StartStack,
    arrived,
    assert_only_spans_are_missing,
    assert_whole,
    run_phase,
    traced,
)

pytestmark = MARKS


def lose_only_spans(
    fault: str, stack: Stack, app: LoadApp, make_room: Callable[[], None], dropped: float = 0
) -> None:
    """Kill Jaeger until its queue is full; of the denials, the Collector may drop this share."""
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
    # The application knows that it lost what was refused until the exporter gave up.
    most = books["lost_spans"] + round(dropped * len(books["denials"]))
    assert_only_spans_are_missing(arrived(fault, stack, books), books, most)


def test_a_full_queue_loses_only_spans_and_is_counted(
    start_stack: StartStack, start_app: StartApp
) -> None:
    stack = start_stack(environment={"OTELCOL_QUEUE_BYTES": "500000"}, interval=1)
    lose_only_spans("queue full (0.5 MB), jaeger killed", stack, start_app(stack), lambda: None)


def test_a_full_disk_loses_only_spans_and_is_counted(
    start_stack: StartStack, start_app: StartApp, directory: Path
) -> None:
    with small_disk(directory / "disk") as make_room:
        stack = start_stack(
            environment={"OTELCOL_QUEUE_DIR": str(directory / "disk" / "queue")}, interval=1
        )
        # What it takes out of a queue on a full disk, the Collector drops.
        fault = "disk of the queue full (1 MB), jaeger killed"
        lose_only_spans(fault, stack, start_app(stack), make_room, dropped=0.25)
        stack.stop()


def test_a_full_audit_disk_tears_a_record_and_loses_no_denial(
    start_stack: StartStack, start_app: StartApp, directory: Path
) -> None:
    disk = directory / "disk"
    with small_disk(disk) as make_room:
        file = disk / "audit" / "threshold-hits.jsonl"
        stack = start_stack(environment={"OTELCOL_AUDIT_FILE": str(file)})
        app = start_app(stack)
        run_phase(app, "before", 2)
        fill(disk)
        run_phase(app, "fault", OUTAGE)
        make_room()
        run_phase(app, "after", 15 + OUTAGE / 2)
        assert_whole(arrived("disk of the audit file full", stack, app.finish()))
        assert probes.audit(file).torn
        stack.stop()


def test_one_full_disk_for_everything_loses_what_jaeger_had_not_written(
    start_app: StartApp, directory: Path
) -> None:
    disk = directory / "disk"
    with small_disk(disk, 250) as make_room, Stack(disk) as stack:
        app = start_app(stack)
        run_phase(app, "before", 2)
        fill(disk)
        run_phase(app, "fault", OUTAGE)
        make_room()
        ended = [program for program in PROGRAMS if not stack.running(program)]
        for program in ended:
            stack.launch(program)
        run_phase(app, "after", 15 + OUTAGE / 2)
        books = app.finish()
        what = f", {' and '.join(ended)} ended and started again" if ended else ""
        fault = f"one disk for everything full{what}"
        result = arrived(fault, stack, books, patience=20 + OUTAGE)
        assert_only_spans_are_missing(result, books, len(books["denials"]) // 4)


#: Further damage, which the Collector survives by itself.
FURTHER: Mapping[str, Callable[[Path], Any]] = {"emptied": lambda file: file.write_bytes(b"")}


@LONG
@pytest.mark.parametrize("how", [*DAMAGE, *FURTHER])
def test_a_damaged_queue_loses_what_waited_in_it(
    how: str, start_stack: StartStack, start_app: StartApp
) -> None:
    stack = start_stack()
    app = start_app(stack)
    run_phase(app, "before", 2)
    stack.kill("jaeger")
    stack.kill("prometheus")
    run_phase(app, "fault", OUTAGE)
    stack.kill("otelcol")
    for file in Path(stack.environment["OTELCOL_QUEUE_DIR"]).iterdir():
        {**DAMAGE, **FURTHER}[how](file)
    for program in ("otelcol", "jaeger", "prometheus"):
        stack.launch(program)
    run_phase(app, "after", 15)
    books = app.finish()
    result = arrived(f"file of the queue damaged: {how}", stack, books)
    assert_only_spans_are_missing(result, books, len(books["denials"]) - 1)
