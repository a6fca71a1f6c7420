"""`make bench-peers` without the packages that it compares with, and without a network."""

from __future__ import annotations

import json

from benchmarks.peers.packages import PEERS, Package
from benchmarks.peers.run import time_apart
from benchmarks.peers.table import lines
from support.paths import ROOT
from support.processes import python


def _never() -> None:
    raise AssertionError("it was set up in the process that prints the table")


def _row(package: Package) -> str:
    [row] = [line for line in lines([time_apart(package)]) if line.startswith(package.name)]
    return row


def test_each_package_is_installed_in_one_version() -> None:
    text = (ROOT / "benchmarks/peers/requirements.txt").read_text(encoding="utf-8")
    compared = [line for line in text.split("\n\n")[0].splitlines() if not line.startswith("#")]
    assert [line.split("==")[0] for line in compared] == [package.name for package in PEERS]
    assert all("==" in line for line in text.splitlines() if line and not line.startswith("#"))


def test_a_package_that_is_not_there_is_a_row_with_the_reason() -> None:
    assert _row(Package("no-such-package", "call()", _never)).endswith(" not installed")


def test_a_process_that_ends_early_is_a_row_with_the_reason() -> None:
    # Installed, and unknown to the process that would time it.
    assert "Error" in _row(Package("pytest", "call()", _never))


def test_a_package_that_cannot_be_set_up_says_why() -> None:
    done = python("""
        import json
        from benchmarks.peers.packages import Package
        from benchmarks.peers.run import time_here
        print(json.dumps(time_here(Package("broken", "call()", lambda: 1 / 0))))
    """)
    assert json.loads(done.stdout) == {"reason": "ZeroDivisionError: division by zero"}


def test_what_one_call_emits_is_counted() -> None:
    done = python("""
        import json
        from opentelemetry import _logs, metrics, trace
        from benchmarks.peers.pipeline import Pipeline

        pipeline = Pipeline()
        tracer, meter = trace.get_tracer("host"), metrics.get_meter("host")
        observed = metrics.Observation(1)
        meter.create_observable_gauge("level", [lambda _: [observed]])
        meter.create_counter("before").add(1)
        added, moved = meter.create_counter("added"), meter.create_up_down_counter("moved")
        level, recorded = meter.create_gauge("set"), meter.create_histogram("recorded")

        def call():
            with tracer.start_as_current_span("outer") as span:
                span.add_event("event")
                tracer.start_span("inner").end()
            _logs.get_logger("host").emit(event_name="log record")
            added.add(1, {"label": "a"})
            added.add(1, {"label": "b"})
            moved.add(1)
            level.set(1)
            recorded.record(1)

        print(json.dumps(pipeline.count(call)))
    """)
    assert json.loads(done.stdout) == {
        "span": 2, "event": 2, "counter": 2, "up-down counter": 1, "gauge": 1, "histogram": 1,
    }  # fmt: skip
