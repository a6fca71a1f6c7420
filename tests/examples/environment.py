"""The libraries that the examples' tests need."""

from __future__ import annotations

import importlib.util

LIBRARIES = (
    "agents",
    "anthropic",
    "fastapi",
    "langchain",
    "litellm",
    "logfire",
    "openinference.instrumentation.openai",
    "opentelemetry.instrumentation.fastapi",
    "opentelemetry.distro",
    "opentelemetry.exporter.otlp.proto.grpc",
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
