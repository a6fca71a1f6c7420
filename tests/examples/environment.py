"""The libraries that the examples' tests need."""

from __future__ import annotations

import importlib.util

LIBRARIES = (
    "agents",
    "anthropic",
    "fastapi",
    "langchain",
    "litellm",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.instrumentation.genai.openai",
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
