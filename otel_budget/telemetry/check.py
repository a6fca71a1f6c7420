"""A check as telemetry: its decision, and its soft limit or denial."""

from __future__ import annotations

import logging
import os
import time
from typing import Any, Final

from opentelemetry._logs import SeverityNumber

from otel_budget import semconv
from otel_budget.contract import Deny, Hit, SoftLimit
from otel_budget.contract.dialects import read_decision
from otel_budget.contract.hit_details import HitDetails
from otel_budget.contract.interpretation import ALLOWED, Outcome, interpret, outcome_of, utilization
from otel_budget.log_once import log_once
from otel_budget.sanitize import MESSAGE_LENGTH, count, error_type, shielded, text
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.metrics.levels import details_of
from otel_budget.telemetry.metrics.price_list import price_list
from otel_budget.telemetry.metrics.tallies import Addition
from otel_budget.telemetry.settings import Identity

_ALLOWED: Final = {semconv.DECISION: semconv.ALLOW}
_FAILED: Final = Outcome(semconv.ERROR)
_CANCELLED: Final = Outcome(semconv.CANCELLED)
_LATE: Final = Outcome(semconv.LATE)
_NO_DETAILS: Final = HitDetails()


class CheckCall(Call):
    """A call of ``check_before_llm`` or ``check_before_tool``."""

    __slots__ = ()

    def close(self, seconds: float, error: BaseException | None) -> None:
        """Interpret the answer, end or draw the span, count the decision and its hit."""
        outcome = self.outcome or self._outcome(seconds, error)
        if outcome is ALLOWED:
            self.end_span(_ALLOWED)
            if self.is_counted:
                self._count(semconv.ALLOW, [], seconds, None)
            return
        hit, decision = outcome.hit, outcome.decision
        totals, details, event, is_due = {}, _NO_DETAILS, {}, True
        if hit is not None:
            totals, details = self._totals(), self._details(hit)
            event = self._event_attributes(hit, details)
            is_due = isinstance(hit, Deny) or self._soft_limit_is_due(hit)
        attributes = {**_attributes(outcome, details), **totals}
        if error is not None:
            attributes[semconv.ERROR_TYPE] = error_type(error)
        has_event = hit is not None and self.is_counted and self.settings.span_events
        span_event = event if has_event else None
        self.end_span(attributes, error, span_event)
        if is_due or decision != semconv.SOFT_LIMIT:
            self.draw_span(attributes, seconds, error, span_event)
        if decision == semconv.MALFORMED and not self.warned_about_awaitable():
            log_once(
                logging.WARNING,
                f"The budget guard {self.settings.guard_name} gave an answer that its runtime "
                f"rejects and treats as a denial: {outcome.answer}.",
            )
        if self.is_counted:
            hits = [] if hit is None else [self._hit_addition(hit, details)]
            self._count(decision, hits, seconds, error)
            if hit is not None and is_due:
                self._log(hit, event, totals)

    def _count(
        self,
        decision: str,
        additions: list[Addition],
        seconds: float,
        error: BaseException | None,
    ) -> None:
        identity = self.identity
        cells = identity.check_cells(self.point, decision)
        additions.append((cells.decisions, 1))
        if decision in semconv.PROCEEDING:
            self.add_proceeding(additions, identity)
        self.count(additions, identity, cells.duration, seconds, error)

    def _outcome(self, seconds: float, error: BaseException | None) -> Outcome:
        """The outcome of a check that no inquiry has set one for."""
        if error is None and self._deadline is None:
            return outcome_of(self.answer, seconds, self.settings.late_after)
        if isinstance(error, Exception):
            return _FAILED
        if self.deadline_has_passed:
            return _LATE if error is not None else interpret(read_decision(self.answer), late=True)
        return _CANCELLED if error is not None else outcome_of(self.answer, seconds, None)

    def add_proceeding(self, additions: list[Addition], identity: Identity) -> None:
        """Add what the decision point counts besides if the call may proceed."""

    def tool_name(self) -> str | None:
        """The name of the checked tool; None if the check is not about a tool."""
        return None

    # -- hits ------------------------------------------------------------------------------
    def _totals(self) -> dict[str, Any]:
        cost, tokens = self.hub.sessions.spend(self.session_key, 0.0, 0)
        return {semconv.SESSION_COST: cost, semconv.SESSION_TOKENS: tokens}

    def _details(self, hit: Hit) -> HitDetails:
        """What is known of the budget behind `hit`."""
        try:
            for name in hit.unread_details:
                why = f"{name} of a decision of {self.settings.guard_name} cannot be read"
                self.hub.report_failure(semconv.COMPONENT_DECISION, why=why)
            return details_of(hit, self.settings.levels, self.info)
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_DECISION, failure)
            return _NO_DETAILS

    def _soft_limit_is_due(self, hit: Hit) -> bool:
        """Whether a soft limit is written now: once a minute, unlike its count."""
        what = text(hit.resource)
        if not self.is_counted:  # the outer guard's call, which ends later, has its own turn
            what = f"{what} of {self.settings.guard_name}"
        return self.hub.sessions.soft_limit_is_due(self.session_key, what)

    def _hit_addition(self, hit: Hit, details: HitDetails) -> Addition:
        """What to count for `hit`; remembers a soft limit for the gauges."""
        identity, tallies = self.identity, self.hub.tallies
        kind = semconv.KIND_HARD if isinstance(hit, Deny) else semconv.KIND_SOFT
        resource = tallies.value(semconv.RESOURCE, text(hit.resource))
        if isinstance(hit, SoftLimit) and self.settings.levels is None and details.numbers_from:
            self.hub.levels.remember_soft_limit(
                identity.labels, identity.guard_name, resource, hit.consumed, hit.limit
            )
        tool = tallies.value(semconv.TOOL_NAME, self.tool_name())
        window = tallies.value(semconv.WINDOW, details.window)
        hits = tallies.cell(
            semconv.METRIC_THRESHOLD_HITS,
            identity.labels,
            self.point,
            kind,
            resource,
            tool,
            window,
            details.cause,
        )
        return hits, 1

    def _event_attributes(self, hit: Hit, details: HitDetails) -> dict[str, Any]:
        """The attributes of the runtime's own event, with what is known in the place of zeros."""
        message: str | None
        if isinstance(hit, Deny):
            kind, message = semconv.KIND_HARD, hit.reason
        else:
            kind, message = semconv.KIND_SOFT, hit.message
        attributes: dict[str, Any] = {
            semconv.RESOURCE: text(hit.resource),
            semconv.KIND: kind,
            **_detail_attributes(details),
        }
        if message is not None and self.settings.messages:
            attributes[semconv.MESSAGE] = text(message, MESSAGE_LENGTH)
        return attributes

    def _log(self, hit: Hit, event: dict[str, Any], totals: dict[str, Any]) -> None:
        try:
            if self.settings.log_events:
                self._emit(hit, event, totals)
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_LOG_EVENT, failure)

    def _emit(self, hit: Hit, event: dict[str, Any], totals: dict[str, Any]) -> None:
        logger = self.destination.logger
        severity = SeverityNumber.WARN if isinstance(hit, Deny) else SeverityNumber.INFO
        event_name = semconv.LOG_EVENT_THRESHOLD_HIT
        if not logger.enabled(
            context=self.context, severity_number=severity, event_name=event_name
        ):
            return
        attributes = {
            **self.identity_attributes(),
            semconv.DECISION_POINT: self.point,
            **totals,
            **event,
            # Not from `random`, which a host may seed alike in every process.
            semconv.LOG_RECORD_UID: os.urandom(16).hex(),
        }
        tool = self.tool_name()
        if tool is not None:
            attributes[semconv.TOOL_NAME] = tool
        now = time.time_ns()
        logger.emit(
            timestamp=now,
            observed_timestamp=now,
            context=self.context,
            severity_number=severity,
            severity_text=severity.name,
            event_name=event_name,
            attributes=attributes,
        )


class LlmCheck(CheckCall):
    """A call of ``check_before_llm``."""

    __slots__ = ("_estimate",)

    point = semconv.POINT_LLM
    span_name = semconv.SPAN_CHECK_BEFORE_LLM

    def identify(self) -> None:
        """Identify the call, and read the estimated prompt tokens."""
        self._estimate: int | None = None
        super().identify()
        self._estimate = count(self.argument(1, "estimated_prompt_tokens"))

    def add_start_attributes(self, attributes: dict[str, Any]) -> None:
        """Add the estimated prompt tokens."""
        if self._estimate is not None:
            attributes[semconv.ESTIMATED_PROMPT_TOKENS] = self._estimate

    def add_proceeding(self, additions: list[Addition], identity: Identity) -> None:
        """Add the estimated prompt tokens: comparable with the input tokens if calls succeed."""
        if self.settings.prices is price_list:
            price_list.begin(self.hub.count_waiting)
        if self._estimate:
            model, provider = identity.model, identity.provider
            cell = identity.cell(semconv.METRIC_ESTIMATED_TOKENS, model, provider)
            additions.append((cell, self._estimate))


class ToolCheck(CheckCall):
    """A call of ``check_before_tool``."""

    __slots__ = ()

    point = semconv.POINT_TOOL
    span_name = semconv.SPAN_CHECK_BEFORE_TOOL

    def add_start_attributes(self, attributes: dict[str, Any]) -> None:
        """Add the tool's name."""
        attributes[semconv.TOOL_NAME] = self.tool_name()

    def tool_name(self) -> str:
        """The tool's name, which comes from the model and can be any text."""
        return text(self.argument(1, "tool_name"))


def _attributes(outcome: Outcome, details: HitDetails) -> dict[str, Any]:
    attributes: dict[str, Any] = {semconv.DECISION: outcome.decision}
    hit = outcome.hit
    if outcome.decision == semconv.MALFORMED:
        attributes[semconv.ERROR_TYPE] = semconv.MALFORMED
    elif outcome.decision == semconv.LATE and outcome.answer is not None:
        attributes[semconv.ANSWER] = outcome.answer
    elif hit is not None and outcome.decision in {semconv.SOFT_LIMIT, semconv.DENY}:
        attributes[semconv.RESOURCE] = text(hit.resource)
    if hit is not None:
        attributes.update(_detail_attributes(details))
    if details.consumed is not None:
        used = utilization(details.consumed, details.limit)
        if used is not None:
            attributes[semconv.UTILIZATION] = used
    return attributes


def _detail_attributes(details: HitDetails) -> dict[str, Any]:
    """What is known; what is not has no attribute."""
    named = zip(semconv.DETAIL_ATTRIBUTES.values(), details, strict=True)
    return {name: value for name, value in named if value is not None}
