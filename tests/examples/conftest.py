"""The examples run in a separate environment (`make examples`), with the real libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.example_libraries import missing_libraries


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a proxy that never answers, whatever a library tries to send or fetch."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without the libraries, keep only the test that runs the others in their own environment."""
    if missing_libraries() and collection_path.name.startswith("test_"):
        return collection_path.name != "test_own_environment.py"
    return None
