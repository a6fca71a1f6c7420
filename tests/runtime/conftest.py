"""Fixtures of the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.context import attach, get_current

from support.session_traces import SessionTraces, unexpected_logs


@pytest.fixture
def traces(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[SessionTraces]:
    """Whatever a test does: nothing is logged, and a guard's spans stand in their own session."""
    caplog.set_level("INFO")
    traces, before = SessionTraces(monkeypatch), get_current()
    yield traces
    attach(before)
    assert unexpected_logs(caplog.get_records("call")) == []
    traces.check_own_spans()
    assert traces.backend.value("budget.telemetry.errors") == 0
    traces.backend.shutdown()
