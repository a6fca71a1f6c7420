"""A gate's body in the trace of its session: the model's spans between check and record."""

from __future__ import annotations

import weakref

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    Span,
    SpanContext,
    get_current_span,
    get_tracer_provider,
    set_span_in_context,
)

from otel_budget import semconv
from otel_budget.sanitize import shielded, text
from otel_budget.telemetry.hub import Hub
from otel_budget.telemetry.sessions import SessionRoot, has_host_span
from otel_budget.telemetry.settings import Destination, GuardSettings
from otel_budget.telemetry.traced_call import tracing_was_set_up

#: As how many of a session's spans a body counts: a model call is rarely one span alone.
_SPANS = 2


class JoinedBody(SessionRoot):
    """A body, and what is current in it: its session's root.

    Once it is over, it stands for what was current before. Where nobody can take it back, in the
    context of a task that outlives the body, or of a consumer whose generator somebody else closed,
    it then leads nothing into the session.
    """

    def __init__(self, root: SpanContext, current: Context, hub: Hub) -> None:
        super().__init__(root)
        self._before = current
        self._is_over = False
        self._hub = hub
        attached = set_span_in_context(self, current)
        self._attached = weakref.ref(attached)
        attach(attached)

    def get_span_context(self) -> SpanContext:
        """The session's root; once the body is over, what would be current without it."""
        span: Span = self
        while isinstance(span, JoinedBody):
            if not span._is_over:
                return span._context
            span = get_current_span(span._before)
        return span.get_span_context()

    def leave(self) -> None:
        """End the body; make current what was before, if the body's root is what is current.

        No token is reset: bodies end in any order, and a generator may be closed by another task,
        thread or finalizer, whose context has nothing to reset.
        """
        self._is_over = True
        try:
            self._before = _without_bodies_over(self._before)
            if get_current() is self._attached():
                attach(self._before)
        except shielded() as error:
            self._hub.report_failure(semconv.COMPONENT_SPAN, error)


def _without_bodies_over(context: Context) -> Context:
    """`context`, or what it was before the bodies that are over."""
    while isinstance(body := get_current_span(context), JoinedBody) and body._is_over:
        if context is body._attached():
            context = body._before
        else:  # the host has added to it, such as baggage
            context = set_span_in_context(get_current_span(body._before), context)
    return context


def join_body(settings: GuardSettings, session_id: str) -> JoinedBody | None:
    """Let a body that begins now join its session's trace, where the host has no span around it.

    Args:
        settings: Those of the gate's guard.
        session_id: The body's session.
    """
    destination = settings.destination
    hub = destination.hub
    try:
        if not _traces_globally(destination):
            return None
        current = get_current()
        if has_host_span(current):
            return None
        session = text(session_id)
        key = (destination.namespace, session)
        root: Span | None
        if settings.hits_only:  # only what is drawn starts a root
            root = hub.sessions.fresh_root(key, _SPANS)
        else:
            root = hub.sessions.root(
                key,
                current,
                destination.tracer,
                lambda: {
                    **settings.identity(settings.info_of(session_id, hub), hub.tallies).attributes,
                    semconv.SESSION_ID: session,
                },
                spans=_SPANS,
            )
        if root is None or not root.get_span_context().is_valid:
            return None
        return JoinedBody(root.get_span_context(), current, hub)
    except shielded() as error:
        hub.report_failure(semconv.COMPONENT_SPAN, error)
        return None


def _traces_globally(destination: Destination) -> bool:
    """Whether the guard's spans go where the model's do: to the global tracer provider."""
    if not tracing_was_set_up():  # the check, or the making of the gate, has looked
        return False
    namespace = destination.namespace
    return namespace is None or namespace.provider() is get_tracer_provider()
