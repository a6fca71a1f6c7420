"""Settings of one instrumented guard, and where its telemetry goes.

They do not change; what belongs to one call lives in `recording.Call`.
"""

from __future__ import annotations

from asyncio import CancelledError
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry._logs import Logger
from opentelemetry.trace import Tracer

from otel_budget import semconv
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.session_info import (
    UNKNOWN,
    SessionInfo,
    SessionInfoSource,
    resolve,
    with_call_info,
)
from otel_budget.sanitize import name, text
from otel_budget.telemetry.hub import Hub
from otel_budget.telemetry.tallies import Labels, Tallies

#: What the shield holds back. KeyboardInterrupt and SystemExit are not the telemetry's: a signal
#: handler of the host raises them, wherever the host happens to be.
SHIELDED: Final = (Exception, CancelledError)

#: Distinct SessionInfos whose attributes are remembered.
_REMEMBERED: Final = 1_024


@dataclass(frozen=True, slots=True)
class Destination:
    """Where telemetry goes."""

    tracer: Tracer
    logger: Logger
    hub: Hub
    #: Which trace provider's sessions these are; 0 is the global one's.
    trace_provider: int = 0
    #: Keeps the given providers alive, so that their ids stay theirs.
    given: tuple[Any, ...] = ()


#: Set by `otel_budget.testing`: goes before every settings's own destination.
override: Destination | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Labels and attributes of one `SessionInfo`, worked out once per hub's tallies."""

    tallies: Tallies
    info: SessionInfo
    labels: Labels
    guard_name: str | None
    model: str | None
    provider: str | None
    attributes: dict[str, str]
    _of_durations: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def duration_attributes(self, point: str, decision: str) -> dict[str, str]:
        """The attributes of a duration: neither tenant nor agent."""
        attributes = self._of_durations.get((point, decision))
        if attributes is None:
            attributes = {semconv.DECISION_POINT: point, semconv.DECISION: decision}
            if self.guard_name is not None:
                attributes[semconv.GUARD_NAME] = self.guard_name
            self._of_durations[point, decision] = attributes
        return attributes


class GuardSettings:
    """An instrumented guard's name and options, whom it acts for, and where its telemetry goes.

    Args:
        guard_name: For attributes.
        session_info: Who and what, as given to `instrument`.
        prices: Who knows what calls cost.
        metric_labels: Which of tenant, agent, principal become metric labels.
        span_events: Whether hits are events on spans.
        log_events: Whether hits are log events.
        late_after: See `interpretation.outcome_of`.
        stacktraces: Whether an exception's stack is recorded.
        tells_levels: Whether the guard has ``budget_levels``.
        destination: Where telemetry goes.
    """

    def __init__(
        self,
        *,
        guard_name: str,
        session_info: SessionInfoSource,
        prices: PriceSource | None,
        metric_labels: tuple[str, ...],
        span_events: bool,
        log_events: bool,
        late_after: float | str | None,
        stacktraces: bool,
        tells_levels: bool,
        destination: Destination,
    ) -> None:
        self.guard_name = guard_name
        self.session_info = session_info
        self.prices = prices
        self.metric_labels = metric_labels
        self.span_events = span_events
        self.log_events = log_events
        self.late_after = late_after
        self.stacktraces = stacktraces
        self.tells_levels = tells_levels
        self._destination = destination
        self._identities: dict[SessionInfo, Identity] = {}
        self._last: Identity | None = None

    @property
    def destination(self) -> Destination:
        """Where telemetry goes now."""
        return override or self._destination

    def info_of(self, session_id: Any, hub: Hub) -> SessionInfo:
        """Who and what `session_id` is; what cannot be told is unknown."""
        try:
            return resolve(self.session_info, session_id)
        except SHIELDED as error:
            hub.failed(semconv.COMPONENT_SESSION_INFO, error)
            return with_call_info(UNKNOWN)

    def identity(self, info: SessionInfo, tallies: Tallies) -> Identity:
        """Labels and attributes of `info`."""
        last = self._last
        if last is not None and last.info is info and last.tallies is tallies:
            return last
        try:
            identity = self._identities.get(info)
        except Exception:  # a field that cannot be hashed
            return self._identity_of(info, tallies)
        if identity is None or identity.tallies is not tallies:
            if len(self._identities) >= _REMEMBERED:
                self._identities = {}
            identity = self._identities[info] = self._identity_of(info, tallies)
        self._last = identity
        return identity

    def _identity_of(self, info: SessionInfo, tallies: Tallies) -> Identity:
        guard_name, model, provider = text(self.guard_name), name(info.model), name(info.provider)
        named = {
            semconv.GUARD_NAME: guard_name,
            semconv.TENANT: name(info.tenant),
            semconv.PRINCIPAL: name(info.principal),
            semconv.AGENT: name(info.agent),
            semconv.CORRELATION_ID: name(info.correlation_id),
            semconv.MODEL: model,
            semconv.PROVIDER: provider,
        }
        attributes = {key: value for key, value in named.items() if value is not None}
        pairs = tuple(
            (key, attributes[key])
            for key in (semconv.LABELS[label] for label in self.metric_labels)
            if key in attributes
        )
        return Identity(
            tallies,
            info,
            tallies.labels(pairs),
            tallies.value(semconv.GUARD_NAME, guard_name),
            tallies.value(semconv.METRIC_MODEL, model),
            tallies.value(semconv.METRIC_PROVIDER, provider),
            attributes,
        )
