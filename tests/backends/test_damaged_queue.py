"""A Collector whose queue on disk is damaged: it starts, and says where the queue is now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collector.stack import Stack
from support import probes
from support.applications import Application, Scripted, deny
from support.disks import DAMAGE

pytestmark = pytest.mark.backend("otelcol")


def send(stack: Stack, reason: str) -> None:
    """Send a denial, whose span waits in the queue: nothing else runs."""
    with Application(stack.otlp_grpc, "queue") as app:
        inner = Scripted()
        inner.answer = deny(reason)
        app.instrument(inner).check_before_llm("s", 10)
        app.flush()


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_queue_is_moved_aside_and_named(
    how: str, start_stack: Callable[..., Stack]
) -> None:
    stack = start_stack(programs=["otelcol"])
    send(stack, "before")
    queue = Path(stack.environment["OTELCOL_QUEUE_DIR"])
    stack.kill("otelcol")
    for file in queue.iterdir():
        DAMAGE[how](file)
    stack.launch("otelcol")
    (aside,) = queue.parent.glob("queue.damaged-*")
    assert {file.name for file in aside.iterdir()} == {file.name for file in queue.iterdir()}
    said = [line for line in stack.log("otelcol").splitlines() if str(aside) in line]
    assert said == [
        f"The Collector's queue was damaged and has been moved to {aside}: what waited there was "
        "not sent, and counters are right again at the next export."
    ]
    send(stack, "after")
    assert len(probes.eventually(lambda: probes.audit_events(stack.audit_file))) == 2
    assert not list(queue.parent.glob("queue.log"))


def test_a_queue_that_is_whole_stays(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack(programs=["otelcol"])
    send(stack, "before")
    queue = Path(stack.environment["OTELCOL_QUEUE_DIR"])
    stack.kill("otelcol")
    before = {file.name: file.stat().st_ino for file in queue.iterdir()}
    stack.launch("otelcol")
    assert not list(queue.parent.glob("queue.damaged-*"))
    assert before.keys() <= {file.name for file in queue.iterdir()}
    assert "moved" not in stack.log("otelcol")


def test_another_cause_leaves_the_queue_alone(
    directory: Path, start_stack: Callable[..., Stack]
) -> None:
    overlay = directory / "overlay.yaml"
    overlay.write_text("{}")
    stack = start_stack(programs=["otelcol"], overlays=[overlay])
    send(stack, "before")
    stack.kill("otelcol")
    overlay.write_text("exporters:\n  nonsense:\n")
    stack.launch("otelcol", wait=False)
    assert probes.eventually(lambda: not stack.running("otelcol"))
    assert not list(stack.directory.glob("queue.damaged-*"))
