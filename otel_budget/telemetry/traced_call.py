"""The span of one call: started before the guard is asked, or drawn once its answer is known."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from contextvars import Token
from typing import Any, ClassVar, Final

from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import Span, Status, StatusCode, get_current_span, set_span_in_context

from otel_budget import semconv
from otel_budget.sanitize import MESSAGE_LENGTH, error_type, shielded, text
from otel_budget.telemetry.identified_call import IdentifiedCall
from otel_budget.telemetry.offers import MAX_OFFERS
from otel_budget.telemetry.sessions import has_host_span

#: Maximum characters of a recorded stack trace.
_STACK_LENGTH: Final = 16_384


class TracedCall(IdentifiedCall):
    """One call of a guard, and its span.

    Attributes:
        context: The context of the call: that of its span, if there is one.
        span: The span that was started before the guard was asked, if there is one.
    """

    __slots__ = ("_attached", "_began", "_parent", "context", "span")

    context: Context
    span: Span | None
    _attached: Token[Context] | None
    _began: int
    _parent: Context

    point: ClassVar[str]
    span_name: ClassVar[str]

    # -- added by each decision point ------------------------------------------------------
    def add_start_attributes(self, attributes: dict[str, Any]) -> None:
        """Add the decision point's own attributes that are known before the guard answers."""

    # -- before the guard is asked ---------------------------------------------------------
    def start_span(self) -> None:
        """Start the span and make it current, unless spans are drawn once the answer is known."""
        if self.settings.hits_only:
            self._began = time.time_ns()
        elif self.is_traced:
            self._began = time.time_ns()
            self._parent = self._join_session()
            # Known attributes are set at the span's start, where samplers see them.
            self.span = self.destination.tracer.start_span(
                self.span_name, self._parent, attributes=self._start_attributes()
            )
            self.context = set_span_in_context(self.span, self._parent)
            self._attached = attach(self.context)

    def _start_attributes(self) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            **self.identity.attributes,
            semconv.SESSION_ID: self.session,
            semconv.DECISION_POINT: self.point,
        }
        self.add_start_attributes(attributes)
        return attributes

    @property
    def is_traced(self) -> bool:
        """Whether spans are wanted: a tracer provider was given, or there is a global one."""
        return self.destination.namespace is not None or tracing_is_set_up()

    def _join_session(self) -> Context:
        """The call's context; if no span is active in it, with the session's root as its span."""
        context = self._parent
        if has_host_span(context):
            return context
        root = self.hub.sessions.root(
            self.session_key, context, self.destination.tracer, self.identity_attributes
        )
        return set_span_in_context(root, context)

    # -- once the answer is known ----------------------------------------------------------
    @property
    def is_recording(self) -> bool:
        """Whether a span was started that records attributes."""
        try:
            return self.span is not None and self.span.is_recording()
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)
            return False

    def end_span(
        self,
        attributes: Mapping[str, Any],
        error: BaseException | None = None,
        event: Mapping[str, Any] | None = None,
    ) -> None:
        """End the span that was started, if any. A failure does not stop counting.

        Args:
            attributes: What is known only now.
            error: What the guard raised, or None.
            event: The attributes of a threshold event, or None.
        """
        span = self.span
        if span is None:
            return
        try:
            span.set_attributes(attributes)
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)
        if event is not None or error is not None:
            try:
                self._describe(span, error, event)
            except shielded() as failure:
                self.hub.report_failure(semconv.COMPONENT_SPAN, failure)
        try:
            span.end()
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)

    def draw_span(
        self,
        attributes: dict[str, Any],
        seconds: float,
        error: BaseException | None = None,
        event: Mapping[str, Any] | None = None,
    ) -> None:
        """Draw the span after the fact where it is wanted and has not been exported already.

        It is wanted of hits, and of whatever has no span before. Raises nothing.

        All attributes are there at its start, so that a sampler can decide on them: one that keeps
        hits samples it whatever its parent. It is never current, so nothing inherits that.

        Args:
            attributes: What was not known before the guard answered.
            seconds: How long the guard took.
            error: What the guard raised, or None.
            event: The attributes of a threshold event, or None.
        """
        is_hit = attributes.get(semconv.DECISION) in semconv.HIT_DECISIONS
        if not (is_hit or self.settings.hits_only):
            return
        try:
            if self.span is not None and self.span.get_span_context().trace_flags.sampled:
                return
            if self._began and self.is_traced:
                self._draw(self._start_attributes() | attributes, seconds, error, event)
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)

    def _draw(
        self,
        attributes: Mapping[str, Any],
        seconds: float,
        error: BaseException | None,
        event: Mapping[str, Any] | None,
    ) -> None:
        parent = self._parent if self.span is not None else self._join_session()
        offers = self.hub.offers
        is_extra = (
            attributes.get(semconv.DECISION) in semconv.HIT_DECISIONS
            and not get_current_span(parent).get_span_context().trace_flags.sampled
        )
        if is_extra and not offers.have_room():
            why = f"more than {MAX_OFFERS} spans of hits a second that are not sampled otherwise"
            self.hub.report_failure(semconv.COMPONENT_SPAN, why=why)
            return
        span = self.destination.tracer.start_span(
            self.span_name, parent, attributes=attributes, start_time=self._began
        )
        if not span.is_recording():
            return
        if is_extra:
            offers.take()
        self.context = set_span_in_context(span, parent)
        end = self._began + round(seconds * 1e9)
        try:
            self._describe(span, error, event, end)
        finally:
            span.end(end)

    def _describe(
        self,
        span: Span,
        error: BaseException | None,
        event: Mapping[str, Any] | None,
        at: int | None = None,
    ) -> None:
        """Add the threshold event and the exception to the span, `at` nanoseconds or now."""
        if event is not None:
            span.add_event(semconv.SPAN_EVENT_THRESHOLD_HIT, event, at)
        if error is None:
            return
        exception = {semconv.EXCEPTION_TYPE: error_type(error)}
        message = None
        if self.settings.messages:
            message = exception[semconv.EXCEPTION_MESSAGE] = text(error, MESSAGE_LENGTH)
        if self.settings.messages and self.settings.stacktraces:  # a stack trace ends in the text
            stack = "".join(traceback.format_exception(error))
            exception[semconv.EXCEPTION_STACKTRACE] = text(stack, _STACK_LENGTH)
        span.add_event(semconv.SPAN_EVENT_EXCEPTION, exception, at)
        span.set_status(Status(StatusCode.ERROR, message))


#: Once set, a global tracer provider cannot be removed, so True stays.
_tracing_is_set_up = False


def tracing_is_set_up() -> bool:
    """Whether there is a global tracer provider; without one, starting a span is wasted work."""
    global _tracing_is_set_up  # noqa: PLW0603
    if not _tracing_is_set_up:
        provider = trace.get_tracer_provider()
        _tracing_is_set_up = not isinstance(provider, trace.ProxyTracerProvider)
    return _tracing_is_set_up


def tracing_was_set_up() -> bool:
    """Whether there was a global tracer provider when a call last looked: to look costs 1 us."""
    return _tracing_is_set_up
