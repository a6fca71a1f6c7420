"""The commands, and how they fail: one sentence and exit code 2, never a traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from otel_budget.cli.demo import demo
from otel_budget.cli.files import files
from otel_budget.cli.otlp import with_default_url
from otel_budget.cli.replay import replay
from otel_budget.cli.spend import spend
from otel_budget.cli.terminal import CommandError, complain
from otel_budget.cli.verify import verify
from otel_budget.version import __version__

#: To add a command, add its function: its name becomes the command, its docstring the help.
COMMANDS: Final[tuple[Callable[..., Any], ...]] = (demo, replay, verify, spend, files)


class _PlainHelp:
    """Says in the help that a flag takes nothing, and of an argument only its name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters of a command."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
            if param.param_type_name == "argument":
                param.display_type_rich = lambda ctx: None
        return params


class _Group(_PlainHelp, TyperGroup):
    pass


class _Command(_PlainHelp, TyperCommand):
    pass


app: Final = typer.Typer(
    name="otel-budget",
    cls=_Group,
    help="See every decision of an LLM-agent budget guard.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command(cls=_Command)(command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"otel-budget {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """See every decision of an LLM-agent budget guard."""


def run(arguments: list[str]) -> None:
    """Run one command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without bar characters shows a ?
            stream.reconfigure(errors="replace")
    for name in ("otel_budget", "opentelemetry"):
        # The commands themselves report what went wrong.
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        # Where a command ended by typer.Exit, the result is the exit code.
        sys.exit(
            app(
                with_default_url(arguments or ["--help"]),
                prog_name="otel-budget",
                standalone_mode=False,
            )
            or 0
        )
    except CommandError as error:
        complain(str(error))
        sys.exit(error.code)
    except KeyboardInterrupt:
        complain("stopped.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has closed the pipe; the interpreter must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        # A usage error; depending on the version, its class is typer's own or click's.
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        command = getattr(getattr(error, "ctx", None), "command_path", "otel-budget")
        complain(f"{message[:1].lower()}{message[1:]}; see {command} --help.")
        sys.exit(2)
