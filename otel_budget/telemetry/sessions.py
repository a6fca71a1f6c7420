"""Sessions: one trace for decisions that have no span around them, and running totals.

A check and its record are never paired, since model calls of one session overlap in real runtimes.
A root span ties the session together. It ends at once, so it is exported even if the process dies.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes

from otel_budget import semconv
from otel_budget.sanitize import INT64_MAX, MAX_COST

#: Sessions remembered; the least recently used is forgotten.
MAX_SESSIONS: Final = 10_000
#: Spans after which a session gets a new root: backends refuse huge traces, denials included.
MAX_SPANS: Final = 1_000
#: Seconds after which a session gets a new root.
MAX_AGE: Final = 3_600.0
#: Minimum seconds between two log events, or drawn spans, of one session about one soft limit.
SOFT_INTERVAL: Final = 60.0
#: Soft limits of one session whose last writing is remembered.
_MAX_RESOURCES: Final = 32


class Namespace:
    """The sessions of one tracer provider, told apart from those of any other.

    It refers to the provider weakly: what a provider holds, such as finished spans, is not kept
    for as long as its sessions are remembered.
    """

    __slots__ = ("__weakref__", "provider")

    def __init__(self, provider: Any) -> None:
        self.provider: Callable[[], Any]
        try:
            self.provider = weakref.ref(provider)
        except TypeError:  # the host's own class, which has slots
            self.provider = lambda: provider


#: By the provider's id, which another provider may get once this one is gone.
_namespaces: Final[weakref.WeakValueDictionary[int, Namespace]] = weakref.WeakValueDictionary()


def namespace_of(provider: Any) -> Namespace | None:
    """The namespace of a tracer provider; None is that of the global one."""
    if provider is None:
        return None
    namespace = _namespaces.get(id(provider))
    if namespace is None or namespace.provider() is not provider:
        namespace = _namespaces[id(provider)] = Namespace(provider)
    return namespace


#: The namespace of the tracer provider, and the session id.
SessionKey = tuple[Namespace | None, str]


class _Session:
    __slots__ = ("born", "cost", "root", "soft_written", "spans", "tokens")

    def __init__(self) -> None:
        self.root: NonRecordingSpan | None = None
        self.spans = 0
        self.born = 0.0
        self.cost = 0.0
        self.tokens = 0
        self.soft_written: dict[str, float] = {}

    def takes(self, spans: int) -> bool:
        """Whether the root may have so many more children."""
        return self.spans + spans <= MAX_SPANS and time.monotonic() - self.born < MAX_AGE


class Sessions:
    """The sessions of one hub, bounded."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[SessionKey, _Session] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._sessions)

    def _session(self, key: SessionKey) -> _Session:
        """The session of `key`, created if it is new. The caller holds the lock."""
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session()
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(key)
        return session

    def root(
        self,
        key: SessionKey,
        current: Context,
        tracer: Tracer,
        attributes: Callable[[], Attributes],
        spans: int = 1,
    ) -> NonRecordingSpan:
        """The session's root, as a parent; started if there is none that is fresh.

        Args:
            key: The session.
            current: The current context, which has no span of the host; the root gets its baggage.
            tracer: Starts the root.
            attributes: Returns the root's attributes; called only if a root is started.
            spans: As how many spans the child counts.
        """
        with self._lock:
            session = self._session(key)
            fresh = session.takes(spans)
            session.spans += spans
            last = session.root
        if last is not None and fresh:
            return last
        # Outside the lock: a span processor of the host may block here, and no other session waits.
        links = [Link(last.get_span_context())] if last is not None else None
        # Without a parent: the root of another session may be current.
        alone = set_span_in_context(INVALID_SPAN, current)
        root = tracer.start_span(semconv.SPAN_SESSION, alone, attributes=attributes(), links=links)
        parent = NonRecordingSpan(root.get_span_context())
        if not parent.get_span_context().is_valid:
            return parent
        with self._lock:
            if session.root is not last and session.root is not None:
                # Another thread has just set one. A root that loses this race is never ended, and
                # so never exported.
                return session.root
            session.root, session.spans, session.born = parent, spans, time.monotonic()
        root.end()
        return parent

    def fresh_root(self, key: SessionKey, spans: int) -> NonRecordingSpan | None:
        """The session's root if there is one that is fresh; the child counts as `spans`."""
        with self._lock:
            session = self._sessions.get(key)
            if session is None or session.root is None or not session.takes(spans):
                return None
            session.spans += spans
            return session.root

    def spend(self, key: SessionKey, cost: float, tokens: int) -> tuple[float, int]:
        """Add to the session's running totals and return them: cost in USD, tokens."""
        with self._lock:
            session = self._session(key)
            session.cost += cost
            session.tokens += tokens
            if session.cost > MAX_COST or session.tokens > INT64_MAX:
                session.cost = min(session.cost, MAX_COST)
                session.tokens = min(session.tokens, INT64_MAX)
            return session.cost, session.tokens

    def soft_limit_is_due(self, key: SessionKey, what: str) -> bool:
        """Whether a soft limit of this session is to be written: once a minute for each `what`."""
        now = time.monotonic()
        with self._lock:
            written = self._session(key).soft_written
            if now - written.get(what, float("-inf")) < SOFT_INTERVAL:
                return False
            if len(written) >= _MAX_RESOURCES:
                written.clear()
            written[what] = now
            return True

    def after_fork(self) -> None:
        """Replace the lock: a thread that the child does not have may hold the old one."""
        self._lock = threading.RLock()


class SessionRoot(NonRecordingSpan):
    """A session's root as the current span of a gate's body: no span of the host's to a guard."""


def has_host_span(context: Context) -> bool:
    """Whether a valid span is current that is not a session's root in a gate's body."""
    span = get_current_span(context)
    return not isinstance(span, SessionRoot) and span.get_span_context().is_valid
