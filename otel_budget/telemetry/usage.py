"""A usage record as telemetry: the tokens of one successful model call and their cost."""

from __future__ import annotations

import logging
from typing import Any, Final

from otel_budget import semconv
from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.session_info import call_cost
from otel_budget.log_once import log_once
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.metrics.tallies import Addition
from otel_budget.telemetry.settings import SHIELDED

_UNREAD: Final = Measurement(malformed=True)


class UsageRecord(Call):
    """A call of ``record_after_llm``. The usage counts even if the guard's own record raises."""

    __slots__ = ("_measurement",)

    point = semconv.POINT_USAGE
    span_name = semconv.SPAN_RECORD_AFTER_LLM

    def identify(self) -> None:
        """Identify the call, and read the usage before the guard may change it."""
        # First: whatever fails below, the call is closed and counted.
        self._measurement = _UNREAD
        super().identify()
        provider = self.identity.attributes.get(semconv.PROVIDER)
        self._measurement = measure(self.argument(1, "usage"), provider)

    def close(self, seconds: float, error: BaseException | None) -> None:
        """Price the usage, end the span with it, count it."""
        if self.outcome is not None:
            decision = self.outcome.decision
        elif error is None:
            decision = semconv.RECORDED
        else:
            decision = semconv.ERROR if isinstance(error, Exception) else semconv.CANCELLED
        measurement = self._measurement
        cost = self._price(measurement)
        totals = None
        if self.is_counted:
            totals = self.hub.sessions.spend(self.session_key, cost.usd or 0.0, measurement.tokens)
        attributes: dict[str, Any] = {}
        if self.records_span:
            attributes = _attributes(measurement, cost)
            if totals is not None:
                attributes[semconv.SESSION_COST], attributes[semconv.SESSION_TOKENS] = totals
        self.end_span(attributes, error)
        if self.answer is not None:
            self.warned_about_awaitable()
        if self.is_counted:
            self._count(measurement, cost, decision, seconds, error)
            if cost.reason == semconv.NO_PRICES or not self.identity.names_tenant_and_model:
                self._warn_about_missing_info(cost)

    def count_without_usage(self, reason: str) -> None:
        """Count a model call that ended without a usage to record, so that its cost is unknown.

        Args:
            reason: One of `semconv.WITHOUT_USAGE_REASONS`.
        """
        try:
            super().identify()  # there is no usage to read
            identity = self.identity
            series = identity.tallies[semconv.METRIC_CALLS_WITHOUT_USAGE]
            identity.tallies.add([(series, (*identity.call_key, reason), 1)])
        except SHIELDED as failure:
            self.hub.report_failure(semconv.COMPONENT_METRICS, failure)

    def _price(self, measurement: Measurement) -> Price:
        try:
            attributes = self.identity.attributes
            model, provider = attributes.get(semconv.MODEL), attributes.get(semconv.PROVIDER)
            return price(measurement, self.settings.prices, model, provider, call_cost())
        except SHIELDED as error:
            self.hub.report_failure(semconv.COMPONENT_PRICES, error)
            return Price(None, semconv.PRICE_ERROR)

    def _count(
        self,
        measurement: Measurement,
        cost: Price,
        decision: str,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        identity = self.identity
        series, key = identity.tallies.series, identity.call_key
        additions: list[Addition] = [(series[semconv.METRIC_CALLS], key, 1)]
        if cost.usd is None:
            additions.append((series[semconv.METRIC_UNPRICED_CALLS], (*key, cost.reason), 1))
        else:
            additions.append((series[semconv.METRIC_COST], (*key, cost.source), cost.usd))
        if not measurement.malformed:
            of_tokens, keys = series[semconv.METRIC_TOKENS], identity.token_keys
            additions.append((of_tokens, keys[0], measurement.input_tokens))
            for token_key, tokens in zip(keys[1:], measurement[1:4], strict=True):
                if tokens:  # counting one type exports the others as 0
                    additions.append((of_tokens, token_key, tokens))
        self.tally(additions, identity, decision, seconds, error)

    def _warn_about_missing_info(self, cost: Price) -> None:
        known = self.identity.attributes  # texts; the SessionInfo's own values may raise
        is_missing = {
            "prices": cost.reason == semconv.NO_PRICES,
            "a model": semconv.MODEL not in known,
            "a tenant": semconv.TENANT not in known,
        }
        missing = ", ".join(name for name, missed in is_missing.items() if missed)
        log_once(
            logging.WARNING if cost.usd is None else logging.INFO,
            f"otel-budget sees calls without {missing}: pass session_info=SessionInfo(tenant=…, "
            "model=…, provider=…) to instrument(); for prices install 'otel-budget[prices]' or "
            "pass prices=FlatRates(…).",
        )


def _attributes(measurement: Measurement, cost: Price) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if measurement.malformed:
        attributes[semconv.ERROR_TYPE] = semconv.MALFORMED_USAGE
    else:
        attributes = {
            semconv.USAGE_INPUT_TOKENS: measurement.input_tokens,
            semconv.USAGE_OUTPUT_TOKENS: measurement.output_tokens,
            semconv.USAGE_CACHE_READ_TOKENS: measurement.cache_read_tokens,
            semconv.USAGE_CACHE_WRITE_TOKENS: measurement.cache_write_tokens,
            semconv.USAGE_TOTAL_TOKENS: measurement.total_tokens,
        }
    if cost.usd is not None:
        attributes[semconv.COST] = cost.usd
        attributes[semconv.COST_SOURCE] = cost.source
    return attributes
