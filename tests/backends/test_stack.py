"""`make stack`: what it prints, how it ends, and its message if it cannot start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import backends
from collector.stack import PROGRAMS, Stack, StackError, free_addresses, services
from dashboards.web import serve
from support import probes
from support.paths import ROOT
from support.processes import start_interruptible


def environment(addresses: dict[str, str], temporary: Path) -> dict[str, str]:
    variables = {
        name: address.rpartition(":")[2] if name.endswith("PORT") else address
        for name, address in addresses.items()
    }
    return {
        **os.environ,
        **variables,
        "XDG_STATE_HOME": str(temporary / "state"),
        "DASHBOARDS_PORT": "0",
    }


def free(addresses: dict[str, str]) -> bool:
    for address in addresses.values():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                return False
    return True


class Running:
    """Runs `python -m collector.stack` as a person would, with its data in a folder of the test."""

    def __init__(self, temporary: Path, *options: str) -> None:
        self.addresses = free_addresses()
        self.process = start_interruptible(
            [
                sys.executable,
                "-m",
                "collector.stack",
                "--data",
                str(temporary / "data"),
                *options,
            ],
            cwd=ROOT,
            env=environment(self.addresses, temporary),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self.greeting = ""
        for line in self.process.stdout:
            self.greeting += line
            if line.startswith("  Dashboards "):
                break


@pytest.fixture
def running(directory: Path) -> Iterator[Running]:
    started = Running(directory)
    yield started
    started.process.kill()
    started.process.wait()
    assert started.process.stdout is not None
    started.process.stdout.close()


@pytest.mark.backend
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_make_stack_prints_the_addresses_and_ends_cleanly(
    running: Running, how: signal.Signals, directory: Path
) -> None:
    (prometheus,) = re.findall(r"^  Prometheus +(http://.*)$", running.greeting, re.MULTILINE)
    assert probes.query(prometheus, "vector(1)") == [({}, 1.0)]
    assert f"http://{running.addresses['OTELCOL_OTLP_GRPC']}" in running.greeting
    first, opened = running.greeting.split("To open in a browser:\n")
    assert "Without a page, only for programs:\n  Prometheus " in first
    assert f"  Jaeger                 http://{running.addresses['JAEGER_QUERY']}\n" in first
    if serve.built():
        _, traces, dashboards = opened.splitlines()
        page = dashboards.removeprefix("  Dashboards             ")
        assert traces == f"  Traces                 {page}traces"
        probes.get_json(f"{page}prometheus/api/v1/query?query=1")
    else:
        assert "  Dashboards             not built" in opened
    (alertmanager,) = re.findall(r"^  Alertmanager +(http://.*)$", opened, re.MULTILINE)
    assert probes.get_json(f"{alertmanager}/api/v2/status")
    assert "otelcol      | " not in running.greeting
    assert "level" in Path(re.findall(r"  Logs +(\S+)", first)[0], "prometheus.log").read_text()
    running.process.send_signal(how)
    output, _ = running.process.communicate(timeout=30)
    assert running.process.returncode == 0
    assert output.strip() == "Stopping ..."
    assert free(running.addresses)
    assert not list((directory / "state").rglob("*.json"))


@pytest.mark.backend
def test_with_logs_the_addresses_are_below_them(directory: Path) -> None:
    started = Running(directory, "--logs")
    logs, _, addresses = started.greeting.partition("The stack is ready")
    for name in PROGRAMS:
        assert f"{name:13}| " in logs
        assert f"{name:13}| " not in addresses
    started.process.send_signal(signal.SIGINT)
    output, _ = started.process.communicate(timeout=30)
    assert started.process.returncode == 0, output


@pytest.mark.backend
def test_the_command_that_it_prints_passes(running: Running, directory: Path) -> None:
    line = running.greeting.partition("In another terminal:")[2].splitlines()[0]
    variable, _, *arguments = line.split()
    name, _, endpoint = variable.partition("=")
    done = subprocess.run(
        [Path(sys.executable).parent / "otel-budget", *arguments],
        env={**os.environ, name: endpoint, "XDG_STATE_HOME": str(directory / "state")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed, 0 skipped" in done.stdout


@pytest.mark.backend
@pytest.mark.skipif(not Path("/usr/bin/setpriv").exists(), reason="needs setpriv (util-linux)")
def test_make_stack_leaves_no_program_running_even_when_killed(running: Running) -> None:
    running.process.kill()
    running.process.wait()
    assert probes.eventually(lambda: free(running.addresses), timeout=10)


@pytest.mark.backend
def test_a_port_in_use_is_named_with_its_variable(directory: Path) -> None:
    addresses = free_addresses()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(addresses["PROMETHEUS_ADDRESS"].rpartition(":")[2])))
        taken.listen()
        answer = subprocess.run(
            [sys.executable, "-m", "collector.stack", "--data", str(directory)],
            cwd=ROOT,
            env=environment(addresses, directory),
            capture_output=True,
            text=True,
            timeout=60,
        )
    port = addresses["PROMETHEUS_ADDRESS"].rpartition(":")[2]
    assert answer.returncode == 1
    assert re.fullmatch(
        rf"Port {port} on 127\.0\.0\.1 is in use; stop what listens there, or choose another with "
        r"PROMETHEUS_ADDRESS=127\.0\.0\.1:\d+\.\n",
        answer.stderr,
    )


@pytest.mark.backend
def test_a_program_that_does_not_start_shows_its_last_output(directory: Path) -> None:
    overlay = directory / "wrong.yaml"
    overlay.write_text("exporters:\n  nonsense:\n")
    with pytest.raises(StackError, match=r"(?s)otelcol ended while starting.*nonsense"):
        Stack(directory / "stack", overlays=[overlay]).start()


def test_a_malformed_address_is_refused_in_one_sentence() -> None:
    for value in ("nonsense", "127.0.0.1:", "127.0.0.1:70000"):
        with pytest.raises(
            StackError, match=r"^OTELCOL_HEALTH='.*' is not an address; write host:"
        ):
            Stack.default_addresses({"OTELCOL_HEALTH": value})
    defaults = Stack.default_addresses({"JAEGER_METRICS_PORT": "1234"})
    assert defaults["JAEGER_METRICS_PORT"] == "127.0.0.1:1234"
    assert defaults["OTELCOL_OTLP_GRPC"] == "127.0.0.1:4317"


def test_without_the_programs_it_says_how_to_build_them(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "BIN", directory)
    monkeypatch.setattr(services, "BIN", directory)
    with pytest.raises(StackError, match=r"otelcol is not built; run `make backends`\.$"):
        Stack(directory / "stack", programs=["otelcol"]).start()
