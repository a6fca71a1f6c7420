"""A check as telemetry: its decision, and its soft limit or denial."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from opentelemetry._logs import SeverityNumber

from otel_budget import semconv
from otel_budget.contract import Deny, Hit, SoftLimit
from otel_budget.contract.dialects import read_decision
from otel_budget.contract.hit_details import HitDetails
from otel_budget.contract.interpretation import ALLOWED, Outcome, interpret, outcome_of, utilization
from otel_budget.log_once import log_once
from otel_budget.sanitize import MESSAGE_LENGTH, count, text
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.metrics.levels import details_of
from otel_budget.telemetry.metrics.tallies import Addition
from otel_budget.telemetry.settings import SHIELDED

_FAILED: Final = Outcome(semconv.ERROR)
_CANCELLED: Final = Outcome(semconv.CANCELLED)
_LATE: Final = Outcome(semconv.LATE)
_NO_DETAILS: Final = HitDetails()


class CheckCall(Call):
    """A call of ``check_before_llm`` or ``check_before_tool``."""

    __slots__ = ()

    def close(self, seconds: float, error: BaseException | None) -> None:
        """Interpret the answer, end the span, count the decision and its hit."""
        outcome = self.outcome or self._outcome(seconds, error)
        hit, totals, details = outcome.hit, {}, _NO_DETAILS
        event: dict[str, Any] = {}
        if hit is not None:
            totals, details = self._totals(), self._details(hit)
            if self.is_counted:
                event = self._event_attributes(hit, details)
        attributes: dict[str, Any] = {}
        if self.records_span:
            if hit is not None and self.is_counted and self.settings.span_events:
                self._add_span_event(event)
            attributes = {**_attributes(outcome, details), **totals}
        self.end_span(attributes, error)
        if outcome.decision == semconv.MALFORMED and not self.warned_about_awaitable():
            log_once(
                logging.WARNING,
                f"The budget guard {self.settings.guard_name} gave an answer that its runtime "
                f"rejects and treats as a denial: {outcome.answer}.",
            )
        if not self.is_counted:
            return
        identity = self.identity
        series, decision = identity.tallies.series, outcome.decision
        key = (identity.labels, self.point, decision)
        additions: list[Addition] = [(series[semconv.METRIC_DECISIONS], key, 1)]
        if decision in semconv.PROCEEDING:
            additions += self.proceeding_additions()
        if hit is not None:
            additions.append(self._hit_addition(hit, details))
        self.tally(additions, identity, decision, seconds, error)
        if hit is not None:
            self._log(hit, event, totals)

    def _outcome(self, seconds: float, error: BaseException | None) -> Outcome:
        """The outcome of a check that no inquiry has set one for."""
        if isinstance(error, Exception):
            return _FAILED
        if self.deadline_has_passed:
            return _LATE if error is not None else interpret(read_decision(self.answer), late=True)
        if error is not None:
            return _CANCELLED
        late_after = self.settings.late_after if self._deadline is None else None
        return outcome_of(self.answer, seconds, late_after)

    def proceeding_additions(self) -> list[Addition]:
        """What the decision point counts in addition if the call may proceed."""
        return []

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
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_DECISION, failure)
            return _NO_DETAILS

    def _add_span_event(self, event: dict[str, Any]) -> None:
        try:
            if self.span is not None:
                self.span.add_event(semconv.SPAN_EVENT_THRESHOLD_HIT, event)
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)

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
        return (
            tallies[semconv.METRIC_THRESHOLD_HITS],
            (identity.labels, self.point, kind, resource, tool, window, details.cause),
            1,
        )

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
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_LOG_EVENT, failure)

    def _emit(self, hit: Hit, event: dict[str, Any], totals: dict[str, Any]) -> None:
        logger = self.destination.logger
        severity = SeverityNumber.WARN if isinstance(hit, Deny) else SeverityNumber.INFO
        event_name = semconv.LOG_EVENT_THRESHOLD_HIT
        if not logger.enabled(
            context=self.context, severity_number=severity, event_name=event_name
        ):
            return
        if isinstance(hit, SoftLimit) and not self.hub.sessions.may_log_soft(
            self.session_key, text(hit.resource)
        ):
            return
        attributes = {
            **self.identity_attributes(),
            semconv.DECISION_POINT: self.point,
            **totals,
            **event,
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

    __slots__ = ()

    point = semconv.POINT_LLM
    span_name = semconv.SPAN_CHECK_BEFORE_LLM

    def start_attributes(self) -> dict[str, Any]:
        """The estimated prompt tokens."""
        estimate = self._estimate()
        return {} if estimate is None else {semconv.ESTIMATED_PROMPT_TOKENS: estimate}

    def proceeding_additions(self) -> list[Addition]:
        """The estimated prompt tokens: comparable with the input tokens if the calls succeed."""
        estimate, identity = self._estimate(), self.identity
        if not estimate:
            return []
        series = identity.tallies.series[semconv.METRIC_ESTIMATED_TOKENS]
        return [(series, identity.call_key, estimate)]

    def _estimate(self) -> int | None:
        return count(self.argument(1, "estimated_prompt_tokens"))


class ToolCheck(CheckCall):
    """A call of ``check_before_tool``."""

    __slots__ = ()

    point = semconv.POINT_TOOL
    span_name = semconv.SPAN_CHECK_BEFORE_TOOL

    def start_attributes(self) -> dict[str, Any]:
        """The tool's name."""
        return {semconv.TOOL_NAME: self.tool_name()}

    def tool_name(self) -> str:
        """The tool's name, which comes from the model and can be any text."""
        return text(self.argument(1, "tool_name"))


def _attributes(outcome: Outcome, details: HitDetails) -> dict[str, Any]:
    attributes: dict[str, Any] = {semconv.DECISION: outcome.decision}
    if outcome is ALLOWED:
        return attributes
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
