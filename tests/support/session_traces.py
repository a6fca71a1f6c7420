"""A gate and a model that report to one global tracer provider, and what stands in which trace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import Span

from otel_budget import BudgetGate, FlatRates, SessionInfo
from otel_budget.telemetry import traced_call
from support.backend import Backend
from support.guards import SyncScript

ALLOW = {"decision": "allow"}
#: Nothing is missing, so nothing is logged.
KNOWN: dict[str, Any] = {
    "session_info": SessionInfo(tenant="acme", model="m", provider="p"),
    "prices": FlatRates(1.0, 1.0),
}
USAGE = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
#: How the sentences about usage begin that a body does not report.
WITHOUT_USAGE = (
    "A model call behind a BudgetGate ended without call.usage",
    "The stream of a model call behind a BudgetGate was abandoned",
)


class SessionTraces:
    """The spans of guards and of a model, by session."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sampler: Sampler = ALWAYS_ON) -> None:
        self.backend = Backend(sampler)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", self.backend.tracer_provider)
        monkeypatch.setattr(traced_call, "_tracing_is_set_up", False)

    def guard(self, guard: Any = None, **options: Any) -> Any:
        """A guard that is instrumented with the global tracer provider."""
        options = {"tracer_provider": None, **KNOWN, **options}
        return self.backend.instrument(SyncScript(ALLOW) if guard is None else guard, **options)

    def gate(self, guard: Any = None, **options: Any) -> BudgetGate:
        return BudgetGate(self.guard() if guard is None else guard, **options)

    def model(self, name: str = "chat") -> AbstractContextManager[Span]:
        """A span as a model's client makes it."""
        return trace.get_tracer("model").start_as_current_span(name)

    # -- what has arrived ------------------------------------------------------------------
    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.backend.span_exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def roots(self, session: str = "s1") -> list[ReadableSpan]:
        return [
            root
            for root in self.backend.roots()
            if (root.attributes or {})["session.id"] == session
        ]

    def sessions(self, name: str) -> list[str | None]:
        """In which sessions' traces the spans of this name stand; None for any other trace."""
        by_trace = {
            _trace(root): (root.attributes or {})["session.id"] for root in self.backend.roots()
        }
        return [by_trace.get(_trace(span)) for span in self.spans if span.name == name]

    def check_own_spans(self) -> None:
        """Assert that each span of a guard is the child of a root of its own session."""
        for root in self.backend.roots():
            assert root.parent is None
        for span in self.spans:
            session = (span.attributes or {}).get("session.id")
            if session is not None and span.name != "budget.session":
                parent = span.parent and span.parent.span_id
                assert parent in {_id(root) for root in self.roots(session)}, span.name


def _trace(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def _id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


@contextmanager
def context_unchanged() -> Iterator[None]:
    before = get_current()
    yield
    assert get_current() is before


def nothing_is_current() -> bool:
    return not trace.get_current_span().get_span_context().is_valid


def unexpected_logs(records: list[logging.LogRecord]) -> list[str]:
    """What was logged, but for usage that a body did not report."""
    return [
        f"{record.name}: {record.getMessage()}"
        for record in records
        if not record.getMessage().startswith(WITHOUT_USAGE)
    ]
