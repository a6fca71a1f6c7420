"""The integrations, with the real libraries, against one fake model server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.example_libraries import missing_libraries
from support.model_server import ModelServer, model_server

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else importing it downloads one


def pytest_configure(config: pytest.Config) -> None:
    """Let two warnings pass that LiteLLM causes: it reads pydantic's models its own way."""
    for ignored in ("Item 'summary' on TypedDict:UserWarning", "Accessing the 'model_"):
        config.addinivalue_line("filterwarnings", f"ignore:{ignored}")
    if not missing_libraries():
        from agents import set_trace_processors

        set_trace_processors([])  # else the Agents SDK sends its traces to OpenAI


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without the libraries, keep only the test that runs the others in their own environment."""
    if missing_libraries() and collection_path.name.startswith("test_"):
        return collection_path.name != "test_integrations_environment.py"
    return None


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a proxy that never answers, whatever a library tries to send or fetch."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server
