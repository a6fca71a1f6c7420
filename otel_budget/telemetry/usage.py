"""A record as telemetry: the tokens of one successful model call and what they cost."""

from __future__ import annotations

import logging
from typing import Any

from otel_budget import semconv
from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.session_info import call_cost
from otel_budget.log_once import log_once
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.settings import SHIELDED
from otel_budget.telemetry.tallies import Addition


class UsageRecord(Call):
    """A call of ``record_after_llm``. The usage counts even if the guard's own record raises."""

    __slots__ = ("_measured",)

    point = semconv.POINT_USAGE
    span_name = semconv.SPAN_RECORD_AFTER_LLM

    def identify(self) -> None:
        """Find out whose call this is, and read the usage before the guard may change it."""
        super().identify()
        provider = self.identity.attributes.get(semconv.PROVIDER)
        self._measured = measure(self.argument(1, "usage"), provider)

    def close(self, seconds: float, error: BaseException | None) -> None:
        """Price the usage, end the span with it, count it."""
        if self.outcome is not None:
            decision = self.outcome.decision
        elif error is None:
            decision = semconv.RECORDED
        else:
            decision = semconv.ERROR if isinstance(error, Exception) else semconv.CANCELLED
        measured = self._measured
        cost = self._price(measured)
        totals: dict[str, Any] = {}
        if self.counts:
            spent, tokens = self.hub.sessions.spend(
                self.session_key, cost.usd or 0.0, measured.tokens
            )
            totals = {semconv.SESSION_COST: spent, semconv.SESSION_TOKENS: tokens}
        if self.records_span:
            totals.update(_attributes(measured, cost))
        self.end_span(totals, error)
        if self.counts:
            self._count(measured, cost, decision, seconds, error)
            self._say_what_is_missing(cost)

    def missing(self, reason: str) -> None:
        """Count a model call that ended without a usage to record: nothing is known of its cost."""
        try:
            self.identify()
            identity = self.identity
            key = (identity.labels, identity.model, identity.provider, reason)
            identity.tallies.add([(identity.tallies[semconv.METRIC_CALLS_WITHOUT_USAGE], key, 1)])
        except SHIELDED as failure:
            self.hub.failed(semconv.COMPONENT_METRICS, failure)

    def _price(self, measured: Measurement) -> Price:
        try:
            attributes = self.identity.attributes
            model, provider = attributes.get(semconv.MODEL), attributes.get(semconv.PROVIDER)
            return price(measured, self.settings.prices, model, provider, call_cost())
        except SHIELDED as error:
            self.hub.failed(semconv.COMPONENT_PRICES, error)
            return Price(None, semconv.PRICE_ERROR)

    def _count(
        self,
        measured: Measurement,
        cost: Price,
        decision: str,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        identity = self.identity
        tallies, labels = identity.tallies, identity.labels
        model, provider = identity.model, identity.provider
        key = (labels, model, provider)
        additions: list[Addition] = [(tallies[semconv.METRIC_CALLS], key, 1)]
        if cost.usd is None:
            additions.append((tallies[semconv.METRIC_UNPRICED_CALLS], (*key, cost.reason), 1))
        else:
            additions.append((tallies[semconv.METRIC_COST], key, cost.usd))
        if not measured.malformed:
            series = tallies[semconv.METRIC_TOKENS]
            for token_type, tokens in zip(semconv.TOKEN_TYPES, measured, strict=False):
                if tokens or token_type == semconv.TOKENS_INPUT:  # one brings the others as zeros
                    additions.append((series, (labels, token_type, model, provider), tokens))
        self.tally(additions, identity, decision, seconds, error)

    def _say_what_is_missing(self, cost: Price) -> None:
        info = self.info
        if info.tenant and info.model and cost.reason != semconv.NO_PRICES:
            return
        missing = {
            "prices": cost.reason == semconv.NO_PRICES,
            "a model": not info.model,
            "a tenant": not info.tenant,
        }
        what = ", ".join(key for key, is_missing in missing.items() if is_missing)
        log_once(
            logging.WARNING if cost.usd is None else logging.INFO,
            f"otel-budget sees calls without {what}: pass session_info=SessionInfo(tenant=…, "
            "model=…, provider=…) to instrument(); for prices install 'otel-budget[prices]' or "
            "pass prices=FlatRates(…).",
        )


def _attributes(measured: Measurement, cost: Price) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if measured.malformed:
        attributes[semconv.ERROR_TYPE] = semconv.MALFORMED_USAGE
    else:
        attributes = {
            semconv.USAGE_INPUT_TOKENS: measured.input_tokens,
            semconv.USAGE_OUTPUT_TOKENS: measured.output_tokens,
            semconv.USAGE_CACHE_READ_TOKENS: measured.cache_read_tokens,
            semconv.USAGE_CACHE_WRITE_TOKENS: measured.cache_write_tokens,
            semconv.USAGE_TOTAL_TOKENS: measured.total_tokens,
        }
    if cost.usd is not None:
        attributes[semconv.COST] = cost.usd
    return attributes
