"""One call of a guard as telemetry: what all decision points have in common.

A `Call` is a context manager around the call of the guard; the sync and the async shell differ only
by an ``await`` inside it. The telemetry is shielded: its failures are counted, and the guard's
answer or exception passes through. The shield is never around the guard itself.
"""

from __future__ import annotations

import inspect
import logging
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
from otel_budget.contract.interpretation import Outcome
from otel_budget.contract.session_info import UNKNOWN
from otel_budget.log_once import log_once
from otel_budget.sanitize import MESSAGE_LENGTH, error_type, text
from otel_budget.telemetry.deadline import Deadline, current_deadline
from otel_budget.telemetry.metrics.series import NO_LABELS
from otel_budget.telemetry.metrics.tallies import Addition
from otel_budget.telemetry.sessions import SessionKey, has_host_span
from otel_budget.telemetry.settings import SHIELDED, GuardSettings, Identity

#: Maximum characters of a recorded stack trace.
_STACK_LENGTH: Final = 16_384

#: The outermost instrumented call in progress; calls nested in it are not counted again.
_outermost: ContextVar[Call | None] = ContextVar("otel_budget_outermost", default=None)


class Call:
    """One call of the guard.

    A shell uses it as a context manager. An inquiry, which asks a guard on a runtime's behalf,
    enters it too, but then sets `outcome` and calls `finish`.

    Attributes:
        answer: What the guard returned; set by the shell.
        outcome: What the inquiry acted upon; None if `close` is to work it out from the answer.
        in_progress: True until the guard has answered.
    """

    __slots__ = (
        "_args",
        "_attached",
        "_deadline",
        "_identity",
        "_kwargs",
        "_outer",
        "_started",
        "answer",
        "context",
        "destination",
        "hub",
        "in_progress",
        "info",
        "is_counted",
        "outcome",
        "session",
        "settings",
        "span",
    )

    point: ClassVar[str]
    span_name: ClassVar[str]

    def __init__(
        self, settings: GuardSettings, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.settings = settings
        self.destination = settings.destination
        self.hub = self.destination.hub
        self.info = UNKNOWN
        self.session = ""
        self.context = get_current()
        self.span: Span | None = None
        #: False inside another instrumented guard's call, which is counted instead.
        self.is_counted = False
        self.in_progress = True
        self.answer: Any = None
        self.outcome: Outcome | None = None
        self._args = args
        self._kwargs = kwargs
        self._attached: Token[Context] | None = None
        self._outer: Token[Call | None] | None = None
        self._deadline: Deadline | None = None
        self._identity: Identity | None = None
        self._started = 0.0

    # -- added by each decision point ------------------------------------------------------
    def start_attributes(self) -> dict[str, Any]:
        """The decision point's own span attributes that are known before the guard answers."""
        return {}

    def close(self, seconds: float, error: BaseException | None) -> None:
        """Interpret the result of the call, end the span, count.

        Args:
            seconds: How long the guard took.
            error: What the guard raised, or None.
        """
        raise NotImplementedError

    # -- around the guard ------------------------------------------------------------------
    def __enter__(self) -> Self:
        try:
            self._open()
        except SHIELDED as error:
            self.hub.report_failure(semconv.COMPONENT_SPAN, error)
        except BaseException:  # raised by a signal handler; there will be no __exit__
            self.in_progress = False
            raise
        deadline = current_deadline.get()
        if deadline is not None and deadline.in_progress:
            self._deadline = deadline
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._started
        self.in_progress = False
        self.finish(seconds, error)

    def finish(self, seconds: float | None, error: BaseException | None) -> None:
        """Leave the call's context and close it, even if the guard is still running.

        Args:
            seconds: How long the guard took; None takes the time until now.
            error: What the guard raised, or None.
        """
        if seconds is None:
            seconds = time.perf_counter() - self._started
        try:
            if self._outer is not None:
                _outermost.reset(self._outer)
            if self._attached is not None:
                detach(self._attached)
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)
        try:
            self.close(seconds, error)
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_METRICS, failure)
            if self.records_span:  # a span that never ends is never exported
                self.end_span({}, error)

    @property
    def deadline_has_passed(self) -> bool:
        """Whether the caller of the guard around this one has stopped waiting."""
        deadline = self._deadline
        return deadline is not None and deadline.in_progress and time.monotonic() > deadline.at

    def argument(self, position: int, keyword: str) -> Any:
        """An argument of the call, however it was passed."""
        if len(self._args) > position:
            return self._args[position]
        return self._kwargs.get(keyword)

    def _open(self) -> None:
        # First: whatever fails below, the call is counted.
        outer = _outermost.get()
        if outer is None or not outer.in_progress:
            self.is_counted = True
            self._outer = _outermost.set(self)
        self.identify()
        if not self.traced:
            return
        context = self.join_session()
        # Known attributes are set at the span's start, where samplers see them.
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
        """Whether to start spans: a tracer provider was given, or there is a global one."""
        return self.destination.namespace is not None or tracing_is_set_up()

    def join_session(self) -> Context:
        """The current context; if no span is active in it, with the session's root as its span."""
        context = self.context
        if has_host_span(context):
            return context
        root = self.hub.sessions.root(
            self.session_key, context, self.destination.tracer, self.identity_attributes
        )
        return trace.set_span_in_context(root, context)

    # -- whose call it is ------------------------------------------------------------------
    def identify(self) -> None:
        """Find the call's session and `SessionInfo`."""
        session_id = self.argument(0, "session_id")
        self.session = text(session_id)
        self.info = self.settings.info_of(session_id, self.hub)
        self._identity = None

    @property
    def session_key(self) -> SessionKey:
        """The session, within its tracer provider."""
        return (self.destination.namespace, self.session)

    @property
    def identity(self) -> Identity:
        """Labels and attributes of the call's `SessionInfo`."""
        identity, tallies = self._identity, self.hub.tallies
        if identity is None or identity.tallies is not tallies:  # a fork renews the tallies
            identity = self._identity = self.settings.identity(self.info, tallies)
        return identity

    def identity_attributes(self) -> dict[str, Any]:
        """The attributes of the call's `SessionInfo`, and its session id."""
        return {**self.identity.attributes, semconv.SESSION_ID: self.session}

    # -- closing ---------------------------------------------------------------------------
    @property
    def records_span(self) -> bool:
        """Whether there is a span, and it records attributes."""
        try:
            return self.span is not None and self.span.is_recording()
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)
            return False

    def end_span(self, attributes: dict[str, Any], error: BaseException | None) -> None:
        """Add `attributes` and `error` to the span and end it. A failure does not stop counting."""
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
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)
        try:
            span.end()
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)

    def _describe(self, span: Span, error: BaseException) -> None:
        event = {semconv.EXCEPTION_TYPE: error_type(error)}
        message = None
        if self.settings.messages:
            message = event[semconv.EXCEPTION_MESSAGE] = text(error, MESSAGE_LENGTH)
        if self.settings.messages and self.settings.stacktraces:  # a stack trace ends in the text
            stack = "".join(traceback.format_exception(error))
            event[semconv.EXCEPTION_STACKTRACE] = text(stack, _STACK_LENGTH)
        span.add_event(semconv.SPAN_EVENT_EXCEPTION, event)
        span.set_status(Status(StatusCode.ERROR, message))

    def warned_about_awaitable(self) -> bool:
        """Whether the guard looked sync and answered with an awaitable, which is logged once."""
        try:
            if not inspect.isawaitable(self.answer):
                return False
        except SHIELDED:  # its class may raise
            return False
        log_once(
            logging.WARNING,
            f"The budget guard {self.settings.guard_name} returned an awaitable from "
            f"{self.span_name.removeprefix('budget.')}: make it `async def`, and wrappers around "
            "it, too. Its caller gets the awaitable; what comes of it is not seen here, and a "
            "check is counted as malformed.",
        )
        return True

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
