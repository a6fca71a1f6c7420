"""Where the repository and the package are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "otel_budget"
TESTS = ROOT / "tests"
#: `make examples` puts the libraries of the examples here.
EXAMPLES_PYTHON = ROOT / ".venv-examples" / "bin" / "python"
