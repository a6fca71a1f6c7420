"""Fixtures for all tests, and a temporary folder for this run alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from otel_budget import log_once
from support.backend import Backend
from support.guards import MAKES, Make


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give this run a temporary folder of its own, removed at its end.

    pytest's numbered folders are shared by all runs of a user. If pytest is set to keep none, it
    does not lock them either, and the run that ends first removes those of the others.
    """
    if config.option.basetemp is None:
        own = tempfile.TemporaryDirectory(prefix="otel-budget-tests-", ignore_cleanup_errors=True)
        config.option.basetemp = os.path.join(own.name, "pytest")
        config.add_cleanup(own.cleanup)


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.shutdown()


@pytest.fixture(params=MAKES, ids=str)
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's OTEL_* variables, and forget what earlier tests have logged once."""
    for variable in [key for key in os.environ if key.startswith("OTEL_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(log_once, "_logged", set())
