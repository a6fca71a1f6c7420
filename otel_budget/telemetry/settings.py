"""Settings of one instrumented guard, and where its telemetry goes.

They do not change; the state of one call is in `call.Call`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from opentelemetry._logs import Logger
from opentelemetry.trace import Tracer

from otel_budget import semconv
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.session_info import (
    UNKNOWN,
    SessionInfo,
    SessionInfoSource,
    WrongSessionInfo,
    resolve,
    with_call_info,
)
from otel_budget.metric import Metric
from otel_budget.sanitize import name, shielded, text
from otel_budget.telemetry.hub import Hub
from otel_budget.telemetry.metrics.polling import LastAnswer
from otel_budget.telemetry.metrics.series import Cell, Labels
from otel_budget.telemetry.metrics.tallies import Tallies
from otel_budget.telemetry.sessions import Namespace

#: Distinct SessionInfos whose identities are kept.
_REMEMBERED: Final = 1_024


@dataclass(frozen=True, slots=True)
class Destination:
    """Where telemetry goes."""

    tracer: Tracer
    logger: Logger
    hub: Hub
    #: Of the tracer provider that was given; None for the global one.
    namespace: Namespace | None = None
    #: Keeps the given providers alive for as long as their guard.
    providers: tuple[Any, ...] = ()


#: Set by `otel_budget.testing`; replaces the destination of every guard.
override: Destination | None = None


class CheckCells(NamedTuple):
    """What a check with one decision adds to.

    Attributes:
        decisions: The number of such decisions.
        duration: The attributes of the time that the guard took.
    """

    decisions: Cell
    duration: dict[str, str]


class RecordCells(NamedTuple):
    """The sums that a record adds to.

    Attributes:
        calls: Of its calls.
        cost: Of its cost in USD; of its calls without a price if that is unknown.
        tokens: Of the tokens of each type; empty if the usage cannot be read.
    """

    calls: Cell
    cost: Cell
    tokens: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """Labels, attributes and sums of one `SessionInfo`, cached for one hub's tallies.

    Attributes:
        tallies: What its labels were admitted to.
        info: The SessionInfo.
        labels: Its label set.
        guard_name: The guard's name, as metrics carry it.
        attributes: What spans and log events carry.
        model: The model, as metrics carry it.
        provider: The provider, as metrics carry it.
        names_tenant_and_model: Whether who pays and for which model is known.
    """

    tallies: Tallies
    info: SessionInfo
    labels: Labels
    guard_name: str | None
    attributes: dict[str, str]
    model: str | None
    provider: str | None
    names_tenant_and_model: bool
    _cells: dict[tuple[Metric | str | None, ...], Cell] = field(default_factory=dict)
    _checks: dict[tuple[str, str], CheckCells] = field(default_factory=dict)
    _records: dict[tuple[str, str, bool], RecordCells] = field(default_factory=dict)
    _durations: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def cell(self, counter: Metric, *values: str | None) -> Cell:
        """As `Tallies.cell` with these labels, for few and known values: it is remembered."""
        cell = self._cells.get((counter, *values))
        if cell is None:
            cell = self._cells[counter, *values] = self.tallies.cell(counter, self.labels, *values)
        return cell

    def check_cells(self, point: str, decision: str) -> CheckCells:
        """What a check adds to, by its point and its decision."""
        cells = self._checks.get((point, decision))
        if cells is None:
            cells = self._checks[point, decision] = CheckCells(
                self.cell(semconv.METRIC_DECISIONS, point, decision),
                self.duration_attributes(point, decision),
            )
        return cells

    def record_cells(self, source: str, reason: str, *, malformed: bool) -> RecordCells:
        """The sums that a record adds to.

        Args:
            source: Who told its cost.
            reason: Why its cost is unknown; empty if it is known.
            malformed: Whether its usage cannot be read.
        """
        cells = self._records.get((source, reason, malformed))
        if cells is None:
            call = (self.model, self.provider)
            cost = (
                self.cell(semconv.METRIC_UNPRICED_CALLS, *call, reason)
                if reason
                else self.cell(semconv.METRIC_COST, *call, source)
            )
            kinds = () if malformed else semconv.TOKEN_TYPES
            tokens = tuple(self.cell(semconv.METRIC_TOKENS, kind, *call) for kind in kinds)
            cells = RecordCells(self.cell(semconv.METRIC_CALLS, *call), cost, tokens)
            self._records[source, reason, malformed] = cells
        return cells

    def duration_attributes(self, point: str, decision: str) -> dict[str, str]:
        """The attributes of a duration, without tenant and agent."""
        attributes = self._durations.get((point, decision))
        if attributes is None:
            attributes = {semconv.DECISION_POINT: point, semconv.DECISION: decision}
            if self.guard_name is not None:
                attributes[semconv.GUARD_NAME] = self.guard_name
            self._durations[point, decision] = attributes
        return attributes


class GuardSettings:
    """An instrumented guard's name and options, and where its telemetry goes.

    Args:
        guard_name: The value of ``budget.guard.name``.
        session_info: As given to `instrument`.
        prices: The price source, or None.
        metric_labels: Which of tenant, agent, principal become metric labels.
        span_events: Whether hits are written as span events.
        log_events: Whether hits are written as log events.
        late_after: In seconds, see `interpretation.outcome_of`.
        stacktraces: Whether an exception's stack trace is recorded.
        levels: Keeps what the guard tells of its levels; None if it has no ``budget_levels``.
        messages: Whether messages and exception texts are written.
        hits_only: Whether a plain allow and a good record have no span.
        destination: Where telemetry goes unless it is overridden.
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
        levels: LastAnswer | None,
        messages: bool,
        hits_only: bool,
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
        self.levels = levels
        self.messages = messages
        self.hits_only = hits_only
        self._destination = destination
        self._identities: dict[SessionInfo, Identity] = {}
        self._last: Identity | None = None

    @property
    def destination(self) -> Destination:
        """Where telemetry goes now."""
        return override or self._destination

    @property
    def is_captured(self) -> bool:
        """Whether a test captures the telemetry."""
        return override is not None

    def info_of(self, session_id: Any, hub: Hub) -> SessionInfo:
        """The `SessionInfo` of `session_id`; if its source raises, only `call_info` counts."""
        try:
            if type(self.session_info) is SessionInfo:  # mostly: nothing is looked up
                return with_call_info(self.session_info)
            return resolve(self.session_info, session_id)
        except WrongSessionInfo as error:
            hub.report_failure(semconv.COMPONENT_SESSION_INFO, error, str(error))
            return with_call_info(UNKNOWN)
        except shielded() as error:
            hub.report_failure(semconv.COMPONENT_SESSION_INFO, error)
            return with_call_info(UNKNOWN)

    def identity(self, info: SessionInfo, tallies: Tallies) -> Identity:
        """Labels and attributes of `info`."""
        last = self._last
        if last is not None and last.info is info and last.tallies is tallies:
            return last
        try:
            identity = self._identities.get(info)
        except shielded():  # a field is not hashable
            return self._identity_of(info, tallies)
        if identity is None or identity.tallies is not tallies:
            if len(self._identities) >= _REMEMBERED:
                self._identities = {}
            identity = self._identities[info] = self._identity_of(info, tallies)
        self._last = identity
        return identity

    def _identity_of(self, info: SessionInfo, tallies: Tallies) -> Identity:
        named = {
            attribute: name(getattr(info, field))
            for field, attribute in semconv.SESSION_ATTRIBUTES.items()
        }
        named[semconv.GUARD_NAME] = text(self.guard_name)
        attributes = {key: value for key, value in named.items() if value is not None}
        pairs = tuple(
            (key, attributes[key])
            for key in (semconv.LABELS[label] for label in self.metric_labels)
            if key in attributes
        )
        labels = tallies.labels(pairs)
        model = tallies.value(semconv.METRIC_MODEL, named[semconv.MODEL])
        provider = tallies.value(semconv.METRIC_PROVIDER, named[semconv.PROVIDER])
        return Identity(
            tallies,
            info,
            labels,
            tallies.value(semconv.GUARD_NAME, named[semconv.GUARD_NAME]),
            attributes,
            model,
            provider,
            semconv.TENANT in attributes and semconv.MODEL in attributes,
        )
