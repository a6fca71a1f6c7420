"""The data of `make stack`: kept, discarded when asked, one stack's alone, and on a good disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.stack import Stack, StackError, folder, free_addresses
from support import probes
from support.applications import Application, Scripted, deny
from support.disks import fill, small_disk
from support.paths import ROOT
from support.processes import start_interruptible

pytestmark = pytest.mark.backend


def command(data: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "collector.stack", "--data", str(data), *options]


def environment(stack: Stack, state: Path) -> dict[str, str]:
    """The variables that give `make stack` these addresses, to announce them in `state`."""
    variables = {name: stack.environment[name] for name in stack.addresses}
    return {**os.environ, **variables, "DASHBOARDS_PORT": "0", "XDG_STATE_HOME": str(state)}


@dataclass
class Made:
    """A running `make stack`: what it says first, and where everything is."""

    greeting: str
    process: subprocess.Popen[str]
    otlp_grpc: str
    prometheus: str
    jaeger: str
    audit_file: Path


@contextmanager
def make_stack(data: Path, *options: str) -> Iterator[Made]:
    """`make stack` in the foreground until Ctrl-C, unless the test has seen it end."""
    stack = Stack(data, addresses=free_addresses())
    process = start_interruptible(
        command(data, *options),
        cwd=ROOT,
        env=environment(stack, data.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        greeting = ""
        for line in process.stdout:
            greeting += line
            if "otel-budget verify" in line:
                break
        announced = json.loads((data.parent / "otel-budget" / "stack.json").read_text())
        yield Made(
            greeting,
            process,
            stack.otlp_grpc,
            announced["prometheus"],
            announced["jaeger"],
            Path(announced["audit_file"]),
        )
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=40)
            assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def found(stack: Made) -> list[bool]:
    """Whether the denial is in Jaeger, in Prometheus and in the audit file."""
    total = 'last_over_time(budget_threshold_hits_total{job="kept"}[1h]) > 0'
    return [
        bool(probes.spans(stack.jaeger, "kept", budget__decision="deny")),
        bool(probes.query(stack.prometheus, total)),
        stack.audit_file.exists() and bool(probes.audit_events(stack.audit_file)),
    ]


@pytest.mark.timeout(240)
def test_data_is_kept_until_it_is_discarded(directory: Path) -> None:
    data = directory / "data"
    data.mkdir()
    (data / "notes.txt").write_text("not the stack's")
    with make_stack(data, "--fresh") as stack:
        assert f"Its data stays in {data.resolve()} " in stack.greeting
        with Application(stack.otlp_grpc, "kept") as app:
            inner = Scripted()
            inner.answer = deny()
            app.instrument(inner).check_before_llm("s", 10)
            app.flush()
            assert probes.eventually(lambda: found(stack), all) == [True] * 3
    with make_stack(data) as stack:
        assert probes.eventually(lambda: found(stack), all) == [True] * 3
    with make_stack(data, "--fresh") as stack:
        assert found(stack) == [False] * 3
    assert (data / "notes.txt").exists()


def test_by_default_the_data_is_in_one_place() -> None:
    done = subprocess.run([*command(Path(), "--help")], cwd=ROOT, capture_output=True, text=True)
    assert folder.DEFAULT == ROOT / ".stack"
    assert str(folder.DEFAULT) in re.sub(r"\s+", "", done.stdout)


def test_a_folder_that_is_not_a_stacks_is_not_discarded(directory: Path) -> None:
    (directory / "logs").mkdir()
    folder.claim(directory, fresh=True).close()
    assert (directory / "logs").exists()
    folder.claim(directory, fresh=True).close()
    assert not (directory / "logs").exists()


def content(path: Path) -> dict[Path, bytes]:
    """Every small file, such as configurations; data changes while its program runs."""
    return {file: file.read_bytes() for file in path.rglob("*.yml")}


def refused(data: Path, *options: str) -> str:
    """What `make stack` says, which does not start."""
    other = Stack(data, addresses=free_addresses())
    done = subprocess.run(
        command(data, *options),
        cwd=ROOT,
        env=environment(other, other.directory / "state"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize("options", [(), ("--fresh",)], ids=["kept", "fresh"])
def test_a_second_stack_on_the_same_data_is_refused_and_changes_nothing(
    options: tuple[str, ...], start_stack: Callable[..., Stack]
) -> None:
    stack = start_stack(programs=["prometheus"])
    before = content(stack.directory)
    assert before
    assert refused(stack.directory, *options) == (
        f"{stack.directory} is in use by a stack that runs (process {os.getpid()}); stop it, or "
        "choose another folder with --data.\n"
    )
    assert content(stack.directory) == before


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/nowhere"])
def test_a_bad_folder_is_one_sentence(where: str, directory: Path) -> None:
    (directory / "file").touch()
    data = directory / where
    assert re.fullmatch(
        rf"{re.escape(str(data))} cannot hold the stack's data \([\w ]+\); choose another folder "
        r"with --data\.\n",
        refused(data),
    )


def test_a_full_disk_is_one_sentence(directory: Path) -> None:
    with small_disk(directory / "disk"):
        assert refused(directory / "disk") == (
            f"The disk of {directory / 'disk'} is full: 1 MB are left; make room, or choose "
            "another folder with --data.\n"
        )


def test_a_disk_that_fills_up_is_named(directory: Path) -> None:
    with small_disk(directory / "disk", 130):
        stack = Stack(directory / "disk", programs=["otelcol"]).start()
        fill(directory / "disk")
        assert folder.full(directory / "disk").startswith(
            f"The disk of {directory / 'disk'} is full: 0"
        )
        stack.stop()
        with pytest.raises(StackError, match=r"is full: 0 MB are left; make room"):
            stack.start()


def test_a_program_that_ends_on_a_full_disk_is_explained_by_one_sentence(
    directory: Path,
) -> None:
    disk = directory / "disk"
    with small_disk(disk, 250), make_stack(disk) as stack:
        fill(disk)
        made = stack.process.pid
        for child in Path(f"/proc/{made}/task/{made}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "jaeger\n":
                os.kill(int(child), signal.SIGKILL)  # as its first write would
        said, _ = stack.process.communicate(timeout=60)
        assert stack.process.returncode == 1
        assert said.splitlines()[-1] == (
            f"The disk of {disk} is full: 0 MB are left; make room, or choose another folder with "
            "--data."
        )
        assert "has ended" not in said
