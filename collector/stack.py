"""The whole stack as processes on loopback, from the shipped files: ``make stack``, and the tests.

    with Stack(directory) as stack:  # on free ports; Stack.default_addresses() for 4317 ...
        exporter = OTLPSpanExporter(endpoint=stack.otlp_grpc, insecure=True)
        stack.kill("jaeger"); stack.launch("jaeger")
        stack.suspend("otelcol"); stack.resume("otelcol")   # accepts, and never answers

Needs the programs of `make backends`.
"""

# ruff: noqa: S603, S310, T201 (it starts the built programs, asks loopback, talks to a person)
from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import yaml

from collector.backends import BIN, missing
from dashboards.web import serve as page

FOLDER = Path(__file__).resolve().parent
HOST = "127.0.0.1"
#: The order of starting; stopping goes the other way, so that the Collector empties its queues.
PROGRAMS = ("jaeger", "prometheus", "alertmanager", "otelcol")
#: Every address of the stack by its environment variable. A variable that ends in PORT holds the
#: port alone, since the program takes host and port apart.
DEFAULT_PORTS: Mapping[str, int] = {
    "OTELCOL_OTLP_GRPC": 4317,
    "OTELCOL_OTLP_HTTP": 4318,
    "OTELCOL_HEALTH": 13133,
    "OTELCOL_METRICS_PORT": 8888,
    "OTELCOL_SCRAPE": 8889,
    "JAEGER_OTLP": 14317,
    "JAEGER_QUERY": 16686,
    "JAEGER_QUERY_GRPC": 16685,
    "JAEGER_HEALTH": 13134,
    "JAEGER_METRICS_PORT": 8887,
    "PROMETHEUS_ADDRESS": 9090,
    "ALERTMANAGER_ADDRESS": 9093,
}


class StackError(Exception):
    """Something a person can mend; the message is one sentence that says how."""


@dataclass
class _Service:
    """One process: how it is started, and where it says that it is ready."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    ready: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)


class Stack:
    """Collector, Jaeger, Prometheus and Alertmanager as child processes of this one.

    Args:
        directory: Where data, logs and the rendered Prometheus configuration go.
        overlays: Names of ``collector/overlays/*.yaml``, or paths of other files, in this order.
        addresses: ``host:port`` by the variables of `DEFAULT_PORTS`; None chooses free ports.
        environment: More variables, for the configurations (``OTELCOL_SAMPLING_PERCENT`` ...).
        programs: Which of `PROGRAMS` to start.
        interval: How often Prometheus scrapes and evaluates rules, in seconds; None is as shipped.
        keep: The data is wanted afterwards: `stop` lets each program end in its own time (Jaeger
            takes up to ten seconds to close its files).

    Start and stop it from the main thread: where the system allows, children die with the thread
    that started them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        overlays: Sequence[str | Path] = (),
        addresses: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        programs: Sequence[str] = PROGRAMS,
        interval: int | None = None,
        keep: bool = False,
    ) -> None:
        self.directory = directory.resolve()
        self.addresses = dict(free_addresses() if addresses is None else addresses)
        self.environment = {**self._variables(), **(environment or {})}
        self.overlays = tuple(overlays)
        self.interval = interval
        self.keep = keep
        self._programs = tuple(programs)
        self._services: dict[str, _Service] = {}

    @staticmethod
    def default_addresses(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The documented addresses, where `environment` does not name others.

        Raises:
            StackError: when a variable holds no address.
        """
        addresses = {}
        for variable, port in DEFAULT_PORTS.items():
            value = environment.get(variable, str(port))
            host, _, number = value.rpartition(":")
            if not number.isdigit() or not 0 < int(number) < 65536:
                wanted = "a port" if variable.endswith("PORT") else "host:port"
                raise StackError(f"{variable}={value!r} is no address; write {wanted}.")
            addresses[variable] = f"{host or HOST}:{number}"
        return addresses

    # -- where things are --------------------------------------------------------------------
    @property
    def otlp_grpc(self) -> str:
        """The Collector's OTLP/gRPC endpoint, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` wants it."""
        return self._url("OTELCOL_OTLP_GRPC")

    @property
    def otlp_http(self) -> str:
        """The Collector's OTLP/HTTP endpoint, without ``/v1/...``."""
        return self._url("OTELCOL_OTLP_HTTP")

    @property
    def collector_health(self) -> str:
        """Answers 200 while the Collector is healthy."""
        return self._url("OTELCOL_HEALTH")

    @property
    def collector_metrics(self) -> str:
        """The Collector's own metrics, for Prometheus."""
        return self._url("OTELCOL_METRICS_PORT") + "/metrics"

    @property
    def prometheus(self) -> str:
        """Base URL of Prometheus."""
        return self._url("PROMETHEUS_ADDRESS")

    @property
    def jaeger(self) -> str:
        """Base URL of Jaeger's query API."""
        return self._url("JAEGER_QUERY")

    @property
    def alertmanager(self) -> str:
        """Base URL of Alertmanager."""
        return self._url("ALERTMANAGER_ADDRESS")

    @property
    def audit_file(self) -> Path:
        """The threshold events, one OTLP JSON object a line."""
        return Path(self.environment["OTELCOL_AUDIT_FILE"])

    def log(self, name: str) -> str:
        """What a program has written so far."""
        return (self.directory / "logs" / f"{name}.log").read_text(errors="replace")

    def _url(self, variable: str) -> str:
        return f"http://{self.addresses[variable]}"

    def _variables(self) -> dict[str, str]:
        variables = {
            name: address.rpartition(":")[2] if name.endswith("PORT") else address
            for name, address in self.addresses.items()
        }
        data = self.directory
        return variables | {
            "PROMETHEUS_URL": self._url("PROMETHEUS_ADDRESS"),
            "OTELCOL_QUEUE_DIR": str(data / "queue"),
            "OTELCOL_AUDIT_FILE": str(data / "audit" / "threshold-hits.jsonl"),
            "JAEGER_DATA_DIR": str(data / "jaeger"),
        }

    # -- starting and stopping ---------------------------------------------------------------
    def start(self) -> Self:
        """Start everything and wait until each program says that it is ready.

        Raises:
            StackError: a program is not built, a port is taken, or a program does not start.
        """
        absent = missing(*self._programs)
        if absent:
            raise StackError(f"{', '.join(absent)} is not built; run `make backends`.")
        self._check_ports()
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        self._services |= {
            name: service for name in self._programs for service in [getattr(self, f"_{name}")()]
        }
        try:
            for name in self._programs:
                self.launch(name, wait=False)
            for name in self._programs:
                self.wait_ready(name)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything; with `keep` politely, and killed what has not ended after 20 s."""
        for service in reversed(self._services.values()):
            self._end(service, signal.SIGTERM if self.keep else signal.SIGKILL)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def launch(self, name: str, *, wait: bool = True) -> None:
        """Start one program (again), on the same addresses and data."""
        service = self._services[name]
        # setpriv makes the kernel end the program should this process die without a word.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with service.log.open("ab") as log:
            service.process = subprocess.Popen(
                [*guard, *service.command],
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", ""), **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on, in order.
            )
        if wait:
            self.wait_ready(name)

    def kill(self, name: str) -> None:
        """``kill -9`` one program and wait until it is gone."""
        self._end(self._services[name], signal.SIGKILL)

    def terminate(self, name: str) -> None:
        """Ask one program to end, as a deployment does, and wait until it has."""
        self._end(self._services[name], signal.SIGTERM)

    def suspend(self, name: str) -> None:
        """Freeze one program: its sockets still accept, and nothing is ever answered."""
        self._process(name).send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Undo `suspend`."""
        self._process(name).send_signal(signal.SIGCONT)

    def running(self, name: str) -> bool:
        """Whether a program is running."""
        process = self._services[name].process
        return process is not None and process.poll() is None

    def wait_ready(self, name: str, timeout: float = 60) -> None:
        """Wait until a program answers that it is ready.

        Raises:
            StackError: when it ended or did not answer in `timeout` seconds; with its last words.
        """
        service = self._services[name]
        deadline = time.monotonic() + timeout
        for url in service.ready:
            while not _answers(url):
                if not self.running(name):
                    raise StackError(f"{name} ended while starting:\n{_tail(service.log)}")
                if time.monotonic() > deadline:
                    raise StackError(
                        f"{name} was not ready after {timeout:.0f} s:\n{_tail(service.log)}"
                    )
                time.sleep(0.05)

    def add_collector(
        self,
        name: str,
        *,
        overlays: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Stack:
        """Start one more Collector, a gateway say, which sends to this stack's backends.

        Returns:
            Its addresses, as a stack whose only program it is; it is stopped with this one.
        """
        inner = Stack(
            self.directory / name,
            overlays=overlays,
            environment={key: self.environment[key] for key in ("JAEGER_OTLP", "PROMETHEUS_URL")}
            | dict(environment or {}),
            programs=["otelcol"],
        )
        (inner.directory / "logs").mkdir(parents=True, exist_ok=True)
        self._services[name] = inner._services["otelcol"] = inner._otelcol()
        self.launch(name)
        return inner

    def _process(self, name: str) -> subprocess.Popen[bytes]:
        process = self._services[name].process
        if process is None:
            raise StackError(f"{name} is not running.")
        return process

    def _end(self, service: _Service, how: signal.Signals) -> None:
        process = service.process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a suspended process would not hear of it
            process.send_signal(how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        service.process = None

    def _check_ports(self) -> None:
        wanted = {
            "otelcol": ("OTELCOL_",),
            "jaeger": ("JAEGER_",),
            "prometheus": ("PROMETHEUS_",),
            "alertmanager": ("ALERTMANAGER_",),
        }
        prefixes = tuple(prefix for name in self._programs for prefix in wanted[name])
        for variable, address in self.addresses.items():
            if not variable.startswith(prefixes):
                continue
            host, _, port = address.rpartition(":")
            if not _is_free(host, int(port)):
                other = free_addresses()[variable]
                value = other.rpartition(":")[2] if variable.endswith("PORT") else other
                raise StackError(
                    f"Port {port} on {host} is in use; stop what listens there, or choose another "
                    f"with {variable}={value}."
                )

    # -- the programs ------------------------------------------------------------------------
    def _service(self, name: str, arguments: Iterable[str], *ready: str) -> _Service:
        return _Service(
            name=name,
            command=[str(BIN / name), *arguments],
            environment=self.environment,
            ready=ready,
            log=self.directory / "logs" / f"{name}.log",
        )

    def _otelcol(self) -> _Service:
        overlays = [
            FOLDER / "overlays" / f"{overlay}.yaml" if isinstance(overlay, str) else overlay
            for overlay in self.overlays
        ]
        files = [FOLDER / "config.yaml", *overlays]
        arguments = [argument for file in files for argument in ("--config", str(file))]
        return self._service("otelcol", arguments, self.collector_health)

    def _jaeger(self) -> _Service:
        arguments = ["--config", str(FOLDER / "jaeger" / "jaeger.yaml")]
        # Jaeger says that it is healthy before its query server listens.
        ready = (self._url("JAEGER_HEALTH") + "/status", self.jaeger + "/api/services")
        return self._service("jaeger", arguments, *ready)

    def _prometheus(self) -> _Service:
        configuration = self._render_prometheus()
        arguments = [
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self.directory / 'prometheus-data'}",
            f"--web.listen-address={self.addresses['PROMETHEUS_ADDRESS']}",
            "--web.enable-otlp-receiver",
            "--enable-feature=exemplar-storage",
        ]
        return self._service("prometheus", arguments, self.prometheus + "/-/ready")

    def _alertmanager(self) -> _Service:
        arguments = [
            f"--config.file={FOLDER / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={self.directory / 'alertmanager-data'}",
            f"--web.listen-address={self.addresses['ALERTMANAGER_ADDRESS']}",
            "--cluster.listen-address=",
        ]
        return self._service("alertmanager", arguments, self.alertmanager + "/-/ready")

    def _render_prometheus(self) -> Path:
        """The shipped folder with this stack's addresses as targets."""
        folder = self.directory / "prometheus"
        shutil.copytree(FOLDER / "prometheus", folder, dirs_exist_ok=True)
        targets = {
            "prometheus": "PROMETHEUS_ADDRESS",
            "otelcol": "OTELCOL_METRICS_PORT",
            "jaeger": "JAEGER_METRICS_PORT",
            "alertmanager": "ALERTMANAGER_ADDRESS",
        }
        if "scrape" in self.overlays:
            targets["scrape"] = "OTELCOL_SCRAPE"
        for name, variable in targets.items():
            file = folder / "targets" / f"{name}.yml"
            file.write_text(yaml.safe_dump([{"targets": [self.addresses[variable]]}]))
        configuration = folder / "prometheus.yml"
        if self.interval is not None:
            loaded: dict[str, Any] = yaml.safe_load(configuration.read_text())
            every = f"{self.interval}s"
            loaded["global"] |= {"scrape_interval": every, "evaluation_interval": every}
            configuration.write_text(yaml.safe_dump(loaded))
        return configuration


#: Ports that are given out together; the first of them is bound as long as this process lives.
_BLOCK = 20
_claims: list[socket.socket] = []


def free_addresses() -> dict[str, str]:
    """Free loopback addresses, one for each variable of `DEFAULT_PORTS`.

    They lie below the range from which the system gives ports to outgoing connections, so that a
    program can be killed and come back to its port; and in a block that no other process is given
    while this one lives, so that two runs of the tests never choose the same.
    """
    blocks = range(20000, 32000, _BLOCK)
    for first in random.sample(blocks, len(blocks)):
        claim = socket.socket()
        try:
            claim.bind((HOST, first))
        except OSError:
            claim.close()
            continue
        free = [port for port in range(first + 1, first + _BLOCK) if _is_free(HOST, port)]
        if len(free) < len(DEFAULT_PORTS):
            claim.close()
            continue
        _claims.append(claim)
        return {
            variable: f"{HOST}:{port}" for variable, port in zip(DEFAULT_PORTS, free, strict=False)
        }
    raise StackError("No free ports were found between 20000 and 32000.")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


# -- make stack --------------------------------------------------------------------------------
def _follow(stack: Stack, names: Sequence[str]) -> None:
    """Print what the programs write until one of them ends."""
    with ExitStack() as held:
        logs = {
            name: held.enter_context(
                (stack.directory / "logs" / f"{name}.log").open(errors="replace")
            )
            for name in names
        }
        while True:
            for name, log in logs.items():
                for line in log:
                    print(f"{name:13}| {line}", end="" if line.endswith("\n") else "\n", flush=True)
            for name in names:
                if not stack.running(name):
                    raise StackError(f"{name} has ended; its last lines are above.")
            time.sleep(0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack in the foreground until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m collector.stack", description=main.__doc__)
    parser.add_argument(
        "--overlay",
        action="append",
        default=[],
        choices=sorted(file.stem for file in (FOLDER / "overlays").glob("*.yaml")),
        help="one of collector/overlays; may be repeated",
    )
    parser.add_argument("--data", type=Path, help="keep data here (default: removed at the end)")
    options = parser.parse_args(arguments)

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    with ExitStack() as held:
        temporary = tempfile.TemporaryDirectory(prefix="otel-budget-stack-")
        directory = options.data or Path(held.enter_context(temporary))
        try:
            stack = held.enter_context(
                Stack(
                    directory,
                    overlays=options.overlay,
                    addresses=Stack.default_addresses(),
                    environment=_passed_on(),
                    keep=options.data is not None,
                )
            )
            dashboards = _dashboards(held, stack)
            print(
                "The stack is ready; Ctrl-C stops it and removes "
                f"{'nothing of ' + str(directory) if options.data else 'its data'}.\n"
                f"  OTLP for applications  {stack.otlp_grpc} (gRPC)  {stack.otlp_http} (HTTP)\n"
                f"  Prometheus             {stack.prometheus}\n"
                f"  Jaeger                 {stack.jaeger}\n"
                f"  Alertmanager           {stack.alertmanager}\n"
                f"  Dashboards             {dashboards}\n"
                f"  Audit file             {stack.audit_file}\n"
                f"  In another terminal:   OTEL_EXPORTER_OTLP_ENDPOINT={stack.otlp_http} "
                f"otel-budget verify --prometheus {stack.prometheus} --jaeger {stack.jaeger} "
                f"--audit-file {stack.audit_file}\n",
                flush=True,
            )
            _follow(stack, PROGRAMS)
        except StackError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopping ...", flush=True)
    return 0


def _dashboards(held: ExitStack, stack: Stack) -> str:
    """The address of the page that draws the dashboards, or how to have it."""
    if not page.built():
        return "not built: run dashboards/web/setup.sh --no-browser (Node.js 20), then start again"
    port = os.environ.get("DASHBOARDS_PORT", str(page.DEFAULT_PORT))
    if not port.isdigit() or int(port) > 65535:
        raise StackError(f"DASHBOARDS_PORT={port!r} is no port; write a number.")
    try:
        return held.enter_context(page.serving(stack.prometheus, port=int(port)))
    except OSError:
        raise StackError(
            f"Port {port} on {HOST} is in use; stop what listens there, or choose another with "
            "DASHBOARDS_PORT=0 (any free one)."
        ) from None


def _passed_on() -> dict[str, str]:
    """The variables of the configurations that a person has set, addresses aside."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("OTELCOL_", "JAEGER_", "LOGS_")) and name not in DEFAULT_PORTS
    }


if __name__ == "__main__":
    sys.exit(main())
