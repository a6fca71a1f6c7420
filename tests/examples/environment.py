"""What the examples' tests need, and what happens where it is missing."""

from __future__ import annotations

import importlib.util
import os
from typing import NoReturn

import pytest

from support.paths import ROOT

#: `make examples` puts the libraries here.
PYTHON = ROOT / ".venv-examples" / "bin" / "python"
LIBRARIES = (
    "agents",
    "anthropic",
    "fastapi",
    "langchain",
    "litellm",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.instrumentation.genai.openai",
    "pydantic_ai",
    "redis",
)


def _installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:
        return False


def missing_libraries() -> list[str]:
    return [library for library in LIBRARIES if not _installed(library)]


def skip_or_fail(sentence: str) -> NoReturn:
    """Skip with a sentence on a developer's machine; fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
