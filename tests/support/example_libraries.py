"""The libraries that examples and integrations are tested with, in an environment of their own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from support.missing import skip_or_fail
from support.paths import EXAMPLES_PYTHON, ROOT

LIBRARIES = (
    "agents",
    "anthropic",
    "fastapi",
    "langchain",
    "langchain_openai",
    "litellm",
    "logfire",
    "openinference.instrumentation.openai",
    "opentelemetry.distro",
    "opentelemetry.exporter.otlp.proto.grpc",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.instrumentation.genai.openai",
    "opentelemetry.instrumentation.openai",
    "opentelemetry.instrumentation.psycopg",
    "psycopg",
    "pydantic_ai",
)


def _installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:
        return False


def missing_libraries() -> list[str]:
    return [library for library in LIBRARIES if not _installed(library)]


def run_in_their_environment(folder: str) -> None:
    """Run the tests of a folder where the libraries are; the test fails with what fails there."""
    # Started from there, this would start itself again.
    if not EXAMPLES_PYTHON.exists() or sys.executable == str(EXAMPLES_PYTHON):
        missing = ", ".join(missing_libraries())
        skip_or_fail(f"the libraries of {folder} are missing ({missing}); run `make examples`")
    done = subprocess.run(
        [EXAMPLES_PYTHON, "-m", "pytest", folder, "-rs"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=880,
        check=False,
    )
    sys.stdout.write(done.stdout)  # shown where the test fails, or with -s
    assert done.returncode == 0, done.stdout[-4000:]
