"""``python -m collector.stack``, which `make stack` runs: the stack in the foreground."""

# ruff: noqa: T201 (it talks to a person)
from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TextIO

from collector.stack import DEFAULT_PORTS, FOLDER, PROGRAMS, Stack, StackError, folder
from collector.stack.addresses import HOST
from dashboards.web import serve as page
from otel_budget.cli import local_stack


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
    parser.add_argument(
        "--data", type=Path, default=folder.DEFAULT, help=f"its folder (default: {folder.DEFAULT})"
    )
    parser.add_argument("--fresh", action="store_true", help="discard what is in that folder")
    parser.add_argument("--logs", action="store_true", help="print the programs' logs, too")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with ExitStack() as held:
        try:
            stack = held.enter_context(
                Stack(
                    options.data,
                    overlays=options.overlay,
                    addresses=Stack.default_addresses(),
                    environment=_configuration_variables(),
                    keep=True,
                    fresh=options.fresh,
                )
            )
            held.enter_context(
                local_stack.announced(
                    {
                        "collector_health": stack.collector_health,
                        "collector_metrics": stack.collector_metrics,
                        "prometheus": stack.prometheus,
                        "jaeger": stack.jaeger,
                        "audit_file": str(stack.audit_file),
                    }
                )
            )
            logs = _logs(held, stack) if options.logs else {}
            _print_new(logs)
            _tell_of_a_damaged_queue(stack)
            print(_greeting(stack, _dashboards(held, stack)), flush=True)
            _follow(stack, logs)
        except StackError as error:
            print(folder.full(options.data) or error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\nStopping ...", flush=True)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _greeting(stack: Stack, dashboards: str) -> str:
    """Where everything is; what a browser can open comes last."""
    token = (
        'OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20$OTELCOL_TOKEN" '
        if "auth" in stack.overlays
        else ""
    )
    traces = f"  Traces                 {dashboards}traces\n" if dashboards.endswith("/") else ""
    return (
        f"The stack is ready; Ctrl-C stops it. Its data stays in {stack.directory} "
        "(--fresh discards it).\n"
        f"  OTLP for applications  {stack.otlp_grpc} (gRPC)  {stack.otlp_http} (HTTP)\n"
        f"  Audit file             {stack.audit_file}\n"
        f"  Logs                   {stack.directory / 'logs'} (or here, with --logs)\n"
        f"  In another terminal:   OTEL_EXPORTER_OTLP_ENDPOINT={stack.otlp_http} "
        f"{token}otel-budget verify --local\n"
        "Without a page, only for programs:\n"
        f"  Prometheus             {stack.prometheus}\n"
        f"  Jaeger                 {stack.jaeger}\n"
        "To open in a browser:\n"
        f"  Alertmanager           {stack.alertmanager}\n"
        f"{traces}"
        f"  Dashboards             {dashboards}\n"
    )


def _tell_of_a_damaged_queue(stack: Stack) -> None:
    """Say what `start.sh` has said in the Collector's log."""
    for line in stack.log("otelcol").splitlines():
        if "queue was damaged" in line:
            print(line, flush=True)


def _dashboards(held: ExitStack, stack: Stack) -> str:
    """The address of the page that draws the dashboards, or how to get it."""
    if not page.built():
        return "not built: run dashboards/web/setup.sh --no-browser (Node.js 20), then start again"
    port = os.environ.get("DASHBOARDS_PORT", str(page.DEFAULT_PORT))
    if not port.isdigit() or int(port) > 65535:
        raise StackError(f"DASHBOARDS_PORT={port!r} is not a port; write a number.")
    try:
        return held.enter_context(page.serving(stack.prometheus, stack.jaeger, port=int(port)))
    except OSError:
        raise StackError(
            f"Port {port} on {HOST} is in use; stop what listens there, or choose another with "
            "DASHBOARDS_PORT=0 (any free one)."
        ) from None


def _configuration_variables() -> dict[str, str]:
    """The user's variables for the configurations, without the addresses."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("OTELCOL_", "JAEGER_", "LOGS_", "STORE_")) and name not in DEFAULT_PORTS
    }


def _logs(held: ExitStack, stack: Stack) -> dict[str, TextIO]:
    return {
        name: held.enter_context((stack.directory / "logs" / f"{name}.log").open(errors="replace"))
        for name in PROGRAMS
    }


def _print_new(logs: Mapping[str, TextIO]) -> None:
    for name, log in logs.items():
        for line in log:
            print(f"{name:13}| {line}", end="" if line.endswith("\n") else "\n", flush=True)


def _follow(stack: Stack, logs: Mapping[str, TextIO]) -> None:
    """Wait until one of the programs ends, and print what they write to `logs` meanwhile."""
    while True:
        _print_new(logs)
        for name in PROGRAMS:
            if not stack.running(name):
                raise StackError(f"{name} has ended; its last lines are\n{stack.last_lines(name)}")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
