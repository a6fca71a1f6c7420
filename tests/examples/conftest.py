"""The examples run in a separate environment (`make examples`), with the real libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from environment import missing_libraries


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


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Any]:
    from support.redis_server import RedisServer, needed

    needed()
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis_server() -> Iterator[Any]:
    """A Redis server that the test may kill."""
    from support.redis_server import RedisServer, needed

    needed()
    with RedisServer() as server:
        yield server
