"""Stacks of real programs for the tests in this folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from collector.backends import missing
from collector.stack import PROGRAMS, Stack
from support import faults
from support.applications import LoadApp
from support.missing import skip_or_fail
from support.redis_server import RedisServer, needed


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip without the programs of ``backend``, the pipeline's, or ``backend("promtool")``.

    In CI, fail.
    """
    for marker in item.iter_markers("backend"):
        absent = missing(*(marker.args or (*PROGRAMS, "amtool", "promtool")))
        if absent:
            skip_or_fail(f"{', '.join(absent)} is not built; run `make backends`")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the faults of `make faults` cost."""
    for line in faults.table() if faults.IN_FULL else ():
        terminalreporter.write_line(line)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder that is removed after the test (pytest's own tmp_path keeps the last three)."""
    with tempfile.TemporaryDirectory(prefix="otel-budget-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def start_stack(directory: Path) -> Iterator[Callable[..., Stack]]:
    """Starts a `Stack` on free ports with the arguments given; stopped after the test."""
    with ExitStack() as held:

        def start(**options: Any) -> Stack:
            return held.enter_context(Stack(directory / "stack", **options))

        yield start


@pytest.fixture
def start_app(directory: Path) -> Iterator[Callable[..., LoadApp]]:
    """Starts a `LoadApp` that sends to a stack, named ``load`` or as said, with more variables."""
    with ExitStack() as held:

        def start(stack: Stack, service: str = "load", **variables: str) -> LoadApp:
            books = directory / f"{service}.json"
            app = LoadApp(stack.otlp_http, service, books, **variables)
            held.callback(app.close)
            return app

        yield start


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The base configuration, shared by a module's tests: each uses its own service name.

    Prometheus scrapes more often than as shipped, so that tests need not wait for it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="otel-budget-", ignore_cleanup_errors=True) as name,
        Stack(Path(name), interval=2) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    needed()
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A Redis server that the test may kill."""
    needed()
    with RedisServer() as server:
        yield server
