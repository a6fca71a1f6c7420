"""One call of a guard as telemetry: what every decision point has in common.

A `Call` is a context manager around the call of the guard; the sync and the async shell differ by
an ``await`` inside it. All of it is shielded: what fails is counted, and the guard's answer or
exception passes. The shield is never around the guard.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import Span, Status, StatusCode

from otel_budget import semconv
from otel_budget.patience import Patience, waited_with
from otel_budget.recorder import SHIELDED, GuardSettings, Identity
from otel_budget.sanitize import MESSAGE_LENGTH, error_type, text
from otel_budget.session_info import UNKNOWN
from otel_budget.tallies import NO_LABELS, Addition

#: Characters of a recorded stack trace.
_STACK_LENGTH: Final = 16_384

#: The outermost call that is under way: what it calls counts with it.
_outermost: ContextVar[Call | None] = ContextVar("otel_budget_outermost", default=None)


class Call:
    """One call of the guard under way.

    Attributes:
        answer: Set by the shell to what the guard returned.
        under_way: Until the guard has answered.
    """

    __slots__ = (
        "_args",
        "_attached",
        "_kwargs",
        "_outer",
        "_patience",
        "_started",
        "answer",
        "context",
        "counts",
        "destination",
        "hub",
        "info",
        "recorder",
        "session",
        "span",
        "under_way",
    )

    point: ClassVar[str]
    span_name: ClassVar[str]

    def __init__(
        self, recorder: GuardSettings, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.recorder = recorder
        self.destination = recorder.destination
        self.hub = self.destination.hub
        self.info = UNKNOWN
        self.session = ""
        self.context = get_current()
        self.span: Span | None = None
        #: False inside another instrumented guard's call: that one counts.
        self.counts = False
        self.under_way = True
        self.answer: Any = None
        self._args = args
        self._kwargs = kwargs
        self._attached: Token[Context] | None = None
        self._outer: Token[Call | None] | None = None
        self._patience: Patience | None = None
        self._started = 0.0

    # -- what a decision point adds --------------------------------------------------------
    def start_attributes(self) -> dict[str, Any]:
        """The point's own span attributes that are known before the guard answers."""
        return {}

    def close(self, seconds: float, error: BaseException | None) -> None:
        """Interpret what came of the call, end the span, count."""
        raise NotImplementedError

    def close_late(self, seconds: float) -> None:
        """Close a call that nobody waits for any longer."""
        raise NotImplementedError

    # -- around the guard ------------------------------------------------------------------
    def __enter__(self) -> Self:
        try:
            self._open()
        except SHIELDED as error:
            self.hub.failed(semconv.COMPONENT_SPAN, error)
        except BaseException:  # of a signal handler: there will be no __exit__
            self.under_way = False
            raise
        self._patience = waited_with.get()
        self._started = time.perf_counter()
        if self._patience is not None:
            self._patience.begin(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._started
        self.under_way = False
        try:
            if self._outer is not None:
                _outermost.reset(self._outer)
            if self._attached is not None:
                detach(self._attached)
        except SHIELDED as failure:
            self.hub.failed(semconv.COMPONENT_SPAN, failure)
        try:
            if self._patience is None or self._patience.end(self):
                self.close(seconds, error)
        except SHIELDED as failure:
            self._failed_to_close(failure, error)

    def _failed_to_close(self, failure: BaseException, error: BaseException | None) -> None:
        self.hub.failed(semconv.COMPONENT_METRICS, failure)
        if self.records_span:  # a span that never ends is never seen
            self.end_span({}, error)

    def cut_off(self, error: BaseException | None) -> None:
        """Close the call now, while the guard is still at it: as late, or with `error`."""
        seconds = time.perf_counter() - self._started
        try:
            if error is None:
                self.close_late(seconds)
            else:
                self.close(seconds, error)
        except SHIELDED as failure:
            self._failed_to_close(failure, error)

    def argument(self, position: int, keyword: str) -> Any:
        """An argument of the call, however it was passed."""
        if len(self._args) > position:
            return self._args[position]
        return self._kwargs.get(keyword)

    def _open(self) -> None:
        self.identify()
        outer = _outermost.get()
        if outer is None or not outer.under_way:
            self.counts = True
            self._outer = _outermost.set(self)
        if not self.traced:
            return
        context = self.join_session()
        # What is known stands at the span's start, where samplers see it.
        attributes = self.identity_attributes()
        attributes[semconv.DECISION_POINT] = self.point
        attributes.update(self.start_attributes())
        self.span = self.destination.tracer.start_span(
            self.span_name, context, attributes=attributes
        )
        self.context = trace.set_span_in_context(self.span, context)
        self._attached = attach(self.context)

    @property
    def traced(self) -> bool:
        """Whether there may be somebody who takes spans."""
        return self.destination.trace_provider != 0 or tracing_is_set_up()

    def join_session(self) -> Context:
        """The current context; where no span is active, with the session's root as its span."""
        context = self.context
        if trace.get_current_span(context).get_span_context().is_valid:
            return context
        return self.hub.sessions.parent(
            self.session_key, context, self.destination.tracer, self.identity_attributes
        )

    # -- who -------------------------------------------------------------------------------
    def identify(self) -> None:
        """Find out whose call this is."""
        session_id = self.argument(0, "session_id")
        self.session = text(session_id)
        self.info = self.recorder.info_of(session_id, self.hub)

    @property
    def session_key(self) -> tuple[int, str]:
        """The session within its trace provider."""
        return (self.destination.trace_provider, self.session)

    @property
    def identity(self) -> Identity:
        """Labels and attributes of whoever this call is for."""
        return self.recorder.identity(self.info, self.hub.tallies)

    def identity_attributes(self) -> dict[str, Any]:
        """The attributes that say whose call this is."""
        return {**self.identity.attributes, semconv.SESSION_ID: self.session}

    # -- closing ---------------------------------------------------------------------------
    @property
    def records_span(self) -> bool:
        """Whether there is a span that keeps what it is told."""
        try:
            return self.span is not None and self.span.is_recording()
        except SHIELDED as failure:
            self.hub.failed(semconv.COMPONENT_SPAN, failure)
            return False

    def end_span(self, attributes: dict[str, Any], error: BaseException | None) -> None:
        """End the span with what has become known; a failing one does not stop the counting."""
        span = self.span
        if span is None:
            return
        try:
            if error is not None:
                attributes[semconv.ERROR_TYPE] = error_type(error)
            span.set_attributes(attributes)
            if error is not None:
                self._describe(span, error)
        except SHIELDED as failure:
            self.hub.failed(semconv.COMPONENT_SPAN, failure)
        try:
            span.end()
        except SHIELDED as failure:
            self.hub.failed(semconv.COMPONENT_SPAN, failure)

    def _describe(self, span: Span, error: BaseException) -> None:
        message = text(error, MESSAGE_LENGTH)
        event = {
            semconv.EXCEPTION_TYPE: error_type(error),
            semconv.EXCEPTION_MESSAGE: message,
        }
        if self.recorder.stacktraces:
            stack = "".join(traceback.format_exception(error))
            event[semconv.EXCEPTION_STACKTRACE] = text(stack, _STACK_LENGTH)
        span.add_event(semconv.SPAN_EVENT_EXCEPTION, event)
        span.set_status(Status(StatusCode.ERROR, message))

    def tally(
        self,
        additions: list[Addition],
        identity: Identity,
        decision: str,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        """Count `additions`, the guard's exception if it raised one, and the duration."""
        tallies, point = identity.tallies, self.point
        if isinstance(error, Exception):
            kind = tallies.value(semconv.ERROR_TYPE, error_type(error))
            additions.append(
                (
                    tallies[semconv.METRIC_GUARD_ERRORS],
                    (NO_LABELS, point, kind, identity.guard_name),
                    1,
                )
            )
        tallies.add(additions)
        self.hub.enqueue(seconds, identity.duration_attributes(point, decision), self.context)


#: Kept once there is a global trace provider, which nothing can take away again.
_tracing_is_set_up = False


def counted_elsewhere() -> bool:
    """Whether another instrumented guard's call is under way around this one."""
    outer = _outermost.get()
    return outer is not None and outer.under_way


def tracing_is_set_up() -> bool:
    """Whether there is a global trace provider; without one a span would be made for nothing."""
    global _tracing_is_set_up  # noqa: PLW0603
    if not _tracing_is_set_up:
        provider = trace.get_tracer_provider()
        _tracing_is_set_up = not isinstance(provider, trace.ProxyTracerProvider)
    return _tracing_is_set_up
