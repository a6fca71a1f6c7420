"""The examples run in an environment of their own (`make examples`), with the real libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from environment import missing_libraries, skip_or_fail


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a library would like to send or fetch, nobody answers."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without the libraries only the test that runs the others in their own environment is left."""
    if missing_libraries() and collection_path.name.startswith("test_"):
        return collection_path.name != "test_own_environment.py"
    return None


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Any]:
    from redis_server import RedisServer, installed

    if not installed():
        skip_or_fail("redis-server is not installed; run examples/setup.sh")
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis_server() -> Iterator[Any]:
    """One that the test may kill."""
    from redis_server import RedisServer, installed

    if not installed():
        skip_or_fail("redis-server is not installed; run examples/setup.sh")
    with RedisServer() as server:
        yield server
