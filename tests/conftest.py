"""Fixtures of the adapter's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support import MAKES, Backend, Make

from otel_budget import log_once


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
    """Nothing of the developer's environment, nor what an earlier test has logged once."""
    for variable in [key for key in os.environ if key.startswith("OTEL_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(log_once, "_logged", set())
