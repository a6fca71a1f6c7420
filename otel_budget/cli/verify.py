"""``otel-budget verify``: does a denial arrive where people look for it?"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from otel_budget.cli import local_stack
from otel_budget.cli.terminal import CommandError
from otel_budget.verify.hop import Hop
from otel_budget.verify.run import Pipeline, run

#: The addresses of the shipped stack in containers.
LOCAL: Final = {
    "collector_health": "http://127.0.0.1:13133",
    "collector_metrics": "http://127.0.0.1:8888/metrics",
    "prometheus": "http://127.0.0.1:9090",
    "jaeger": "http://127.0.0.1:16686",
}
#: Where that stack takes OTLP, by protocol.
_LOCAL_OTLP: Final = {
    "otlp_http": "http://127.0.0.1:4318",
    "otlp_grpc": "http://127.0.0.1:4317",
}
_ENDPOINT: Final = re.compile(r"OTEL_EXPORTER_OTLP_(\w+_)?ENDPOINT")
_MARKS: Final = {
    "passed": ("ok     ", typer.colors.GREEN),
    "failed": ("FAILED ", typer.colors.RED),
    "skipped": ("skipped", typer.colors.YELLOW),
}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_SETUP: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def verify(
    *,
    setup: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:CALLABLE",
            help="Your own OpenTelemetry set-up; without it the OTEL_* variables are used.",
        ),
    ] = None,
    local: Annotated[
        bool,
        typer.Option(
            "--local", help="Check the stack on this machine; that of `make stack` tells where."
        ),
    ] = False,
    prometheus: Annotated[str | None, typer.Option(metavar="URL", help="Base URL.")] = None,
    jaeger: Annotated[str | None, typer.Option(metavar="URL", help="Base URL.")] = None,
    collector_health: Annotated[
        str | None, typer.Option(metavar="URL", help="The health_check extension.")
    ] = None,
    collector_metrics: Annotated[
        str | None, typer.Option(metavar="URL", help="The collector's own metrics.")
    ] = None,
    audit_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="The file to which the collector writes threshold events."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Seconds until something counts as missing in a backend.",
        ),
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the hops as JSON.")] = False,
) -> None:
    """Send canary decisions through your own pipeline and check each of its hops.

    Two fresh processes each produce a soft limit and a denial, as service
    otel-budget-verify and for a tenant of their own. These are real
    and counted; the shipped alerts leave them out. A backend that you do not
    name is skipped. The exit code is 1 if a hop failed.

    Example: otel-budget verify --prometheus http://localhost:9090 --jaeger http://localhost:16686
    """
    if setup is not None and not _SETUP.fullmatch(setup):
        raise CommandError(f"--setup {setup} is not of the form package.module:callable.")
    given = {
        "collector_health": collector_health,
        "collector_metrics": collector_metrics,
        "prometheus": prometheus,
        "jaeger": jaeger,
    }
    for option, url in given.items():
        if url is not None:
            check_url(option, url)
    here = LOCAL | local_stack.addresses() if local else {}
    if local and setup is None:
        _send_here(_LOCAL_OTLP | here)
    addresses = {option: url or here.get(option) for option, url in given.items()}
    if audit_file is None and "audit_file" in here:
        audit_file = Path(here["audit_file"])
    pipeline = Pipeline(
        setup=setup or "",
        collector_health=addresses["collector_health"],
        collector_metrics=addresses["collector_metrics"],
        prometheus=addresses["prometheus"],
        jaeger=addresses["jaeger"],
        audit_file=audit_file,
        timeout=timeout,
    )
    hops = []
    for hop in run(pipeline):
        hops.append(hop)
        if not as_json:
            _show(hop)
    failed = sum(hop.status == "failed" for hop in hops)
    skipped = sum(hop.status == "skipped" for hop in hops)
    if as_json:
        result = {"ok": not failed, "tenant": pipeline.tenant, "hops": [asdict(h) for h in hops]}
        typer.echo(json.dumps(result, indent=2))
    else:
        passed = len(hops) - failed - skipped
        typer.echo(
            f"{passed} passed, {failed} failed, {skipped} skipped. "
            f"The canary's tenant is {pipeline.tenant}."
        )
    if failed:
        raise typer.Exit(1)


def _send_here(here: Mapping[str, str]) -> None:
    """Send the canary to the stack of this machine, unless the variables do so already.

    Raises:
        CommandError: They send it elsewhere, so that two pipelines would be in one answer.
    """
    ports = {urlsplit(here[name]).port for name in _LOCAL_OTLP}
    named = {name: url for name, url in os.environ.items() if _ENDPOINT.fullmatch(name) and url}
    for name, url in named.items():
        try:
            parts = urlsplit(url if "://" in url else f"//{url}")
            is_here = parts.hostname in _LOOPBACK and parts.port in ports
        except ValueError:
            is_here = False
        if not is_here:
            raise CommandError(
                f"--local checks the stack of this machine, but {name} sends to "
                f"{url.rpartition('@')[2]}: unset it, or leave out --local and name the parts of "
                "that pipeline."
            )
    if not named:
        by_grpc = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc"
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = here["otlp_grpc" if by_grpc else "otlp_http"]


def _show(hop: Hop) -> None:
    mark, colour = _MARKS[hop.status]
    time = f"{hop.seconds:6.2f} s" if hop.status != "skipped" else " " * 8
    typer.echo(f"{typer.style(mark, fg=colour)} {hop.name:<24} {time}  {hop.detail}")
    if hop.cause:
        typer.echo(f"        likely cause: {hop.cause}")
    if hop.remedy:
        typer.echo(f"        remedy: {hop.remedy}")


def check_url(option: str, url: str) -> None:
    """Raise `CommandError` where an option's URL is none; its login is not repeated."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        name = option.replace("_", "-")
        raise CommandError(
            f"--{name} {url.rpartition('@')[2]} is not a URL such as {LOCAL[option]}."
        )
