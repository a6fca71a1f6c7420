"""The command ``otel-budget``. What it needs (typer, rich, the SDK) is in the extra ``cli``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDS = ("typer", "rich", "opentelemetry.sdk")


def main() -> None:
    """Run the command, or print one sentence on how to install what it needs."""
    try:
        missing = [name for name in _NEEDS if find_spec(name) is None]
    except ModuleNotFoundError as error:
        missing = [str(error.name)]
    if missing:
        print(
            f"otel-budget: the command needs {missing[0]}, which is not installed; "
            "install it with: pip install 'otel-budget[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from otel_budget.cli.app import run

    run(sys.argv[1:])
