"""Starting, stopping, killing and freezing the programs of a stack."""

# ruff: noqa: S603 (it starts the built programs)
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from collector.backends import missing
from collector.stack import folder
from collector.stack.addresses import StackError, check_free
from collector.stack.services import Service, Services
from otel_budget.verify import http

#: In the order of starting; they are stopped in reverse, so that the Collector empties its queues.
PROGRAMS = ("jaeger", "prometheus", "alertmanager", "otelcol")
#: Of a log, how many lines tell why its program ended.
_LAST_LINES = 15
#: How a Collector finds its backends.
_BACKENDS = ("JAEGER_OTLP", "PROMETHEUS_URL", "PROMETHEUS_AUTHORIZATION")


class Stack(Services):
    """Collector, Jaeger, Prometheus and Alertmanager as child processes of this one.

    Args:
        directory: Where data, logs and the rendered Prometheus configuration go.
        overlays: Names of ``collector/overlays/*.yaml``, or paths of other files, in this order.
        addresses: ``host:port`` by the variables of `DEFAULT_PORTS`; None chooses free ports.
        environment: More variables, for the configurations (``OTELCOL_SAMPLING_PERCENT`` ...).
        programs: Which of `PROGRAMS` to start.
        interval: How often Prometheus scrapes and evaluates rules, in seconds; None is as shipped.
        keep: The data is needed afterwards: `stop` lets each program end by itself (Jaeger takes
            up to ten seconds to close its files).
        fresh: Discard what an earlier stack has left in `directory`.

    Start and stop it from the main thread: where the system supports it, the programs die with
    the thread that started them.
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
        fresh: bool = False,
    ) -> None:
        super().__init__(
            directory,
            overlays=overlays,
            addresses=addresses,
            environment=environment,
            interval=interval,
        )
        self.keep = keep
        self._fresh = fresh
        self._claim: IO[str] | None = None
        self._programs = tuple(programs)
        self._services: dict[str, Service] = {}

    def start(self) -> Self:
        """Start everything and wait until each program is ready.

        Raises:
            StackError: A program is not built, a port or the folder is taken, or a program does not
                start.
        """
        absent = missing(*self._programs)
        if absent:
            raise StackError(f"{', '.join(absent)} is not built; run `make backends`.")
        self._claim = folder.claim(self.directory, fresh=self._fresh)
        try:
            check_free(self._own_addresses())
            (self.directory / "logs").mkdir(exist_ok=True)
            self._services |= {name: self.service(name) for name in self._programs}
            for service in self._services.values():
                service.log.unlink(missing_ok=True)  # of an earlier run
            for name in self._programs:
                self.launch(name, wait=False)
            for name in self._programs:
                self.wait_ready(name)
        except OSError as error:
            self.stop()
            raise folder.unusable(self.directory, error) from None
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything; with `keep` gently, killing what has not ended after 20 s."""
        for service in reversed(self._services.values()):
            _end(service, signal.SIGTERM if self.keep else signal.SIGKILL)
        if self._claim is not None:
            self._claim.close()

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
        """Start one program (again), with the same addresses and data."""
        service = self._services[name]
        # setpriv makes the kernel end the program if this process is killed.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with service.log.open("ab") as log:
            service.process = subprocess.Popen(
                [*guard, *service.command],
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", ""), **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only us; we stop them in order.
            )
        if wait:
            self.wait_ready(name)

    def kill(self, name: str) -> None:
        """``kill -9`` one program and wait until it is gone."""
        _end(self._services[name], signal.SIGKILL)

    def terminate(self, name: str) -> None:
        """Ask one program to end, as a deployment does, and wait until it has."""
        _end(self._services[name], signal.SIGTERM)

    def suspend(self, name: str) -> None:
        """Freeze one program: its sockets still accept, but nothing answers."""
        self._process(name).send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Undo `suspend`."""
        self._process(name).send_signal(signal.SIGCONT)

    def running(self, name: str) -> bool:
        """Whether a program is running."""
        return self._services[name].running

    def log(self, name: str) -> str:
        """What a program has written so far."""
        return (self.directory / "logs" / f"{name}.log").read_text(errors="replace")

    def last_lines(self, name: str) -> str:
        """The last lines that a program has written."""
        log = self._services[name].log.read_text(errors="replace")
        return "\n".join(log.splitlines()[-_LAST_LINES:])

    def wait_ready(self, name: str, timeout: float = 60) -> None:
        """Wait until a program reports that it is ready.

        Raises:
            StackError: It ended, or was not ready after `timeout` seconds; the message has the
                last lines of its log.
        """
        service = self._services[name]
        deadline = time.monotonic() + timeout
        for url in service.ready:
            while not _answers(url):
                if not service.running:
                    raise StackError(f"{name} ended while starting:\n{self.last_lines(name)}")
                if time.monotonic() > deadline:
                    raise StackError(
                        f"{name} was not ready after {timeout:.0f} s:\n{self.last_lines(name)}"
                    )
                time.sleep(0.05)

    def add_collector(
        self,
        name: str,
        *,
        overlays: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Stack:
        """Start another Collector, such as a gateway, that sends to this stack's backends.

        Returns:
            Its addresses, as a stack with this one program; it stops with this stack.
        """
        inner = Stack(
            self.directory / name,
            overlays=overlays,
            environment={key: self.environment[key] for key in _BACKENDS} | dict(environment or {}),
            programs=["otelcol"],
        )
        (inner.directory / "logs").mkdir(parents=True, exist_ok=True)
        self._services[name] = inner._services["otelcol"] = inner.service("otelcol")
        self.launch(name)
        return inner

    def _own_addresses(self) -> dict[str, str]:
        """The addresses of the programs that are started."""
        prefixes = tuple(f"{name.upper()}_" for name in self._programs)
        return {
            variable: address
            for variable, address in self.addresses.items()
            if variable.startswith(prefixes)
        }

    def _process(self, name: str) -> subprocess.Popen[bytes]:
        process = self._services[name].process
        if process is None:
            raise StackError(f"{name} is not running.")
        return process


def _end(service: Service, how: signal.Signals) -> None:
    process = service.process
    if process is None:
        return
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)  # a suspended process does not react to SIGTERM
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    service.process = None


def _answers(url: str) -> bool:
    try:
        return http.ask(url).status == 200
    except OSError:
        return False
