"""A usage record as telemetry: the tokens of one successful model call and their cost."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from otel_budget import semconv
from otel_budget.contract.interpretation import Measurement, Price, measure, price
from otel_budget.contract.session_info import call_cost
from otel_budget.log_once import log_once
from otel_budget.sanitize import error_type, shielded
from otel_budget.telemetry.call import Call
from otel_budget.telemetry.metrics.price_list import NotYetRead, price_list
from otel_budget.telemetry.metrics.tallies import Addition
from otel_budget.telemetry.settings import Identity

_UNREAD: Final = Measurement(malformed=True)
#: The cost of a record that comes before the price list is read.
_WAITS: Final = Price(None)


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
        """Price the usage, end or draw the span with it, count it."""
        if self.outcome is not None:
            decision = self.outcome.decision
        elif error is None:
            decision = semconv.RECORDED
        else:
            decision = semconv.ERROR if isinstance(error, Exception) else semconv.CANCELLED
        identity, measurement = self.identity, self._measurement
        cost = self._price(identity, measurement)
        totals = None
        if self.is_counted:
            totals = self.hub.sessions.spend(self.session_key, cost.usd or 0.0, measurement.tokens)
        is_good = decision == semconv.RECORDED and not measurement.malformed
        attributes: dict[str, Any] = {}
        if not is_good or self.is_recording:
            attributes = _attributes(measurement, cost, totals, error)
        if decision != semconv.RECORDED:
            attributes[semconv.DECISION] = decision
        self.end_span(attributes, error)
        if not is_good:
            self.draw_span(attributes, seconds, error)
        if self.answer is not None:
            self.warned_about_awaitable()
        if self.is_counted:
            additions: list[Addition] = []
            if cost is _WAITS:
                self.hub.count_later(partial(self._count_priced, identity, measurement))
            else:
                additions = _additions(identity, measurement, cost)
            duration = identity.duration_attributes(self.point, decision)
            self.count(additions, identity, duration, seconds, error)
            if cost.reason == semconv.NO_PRICES or not identity.names_tenant_and_model:
                self._warn_about_missing_info(cost)

    def count_without_usage(self, reason: str) -> None:
        """Count a model call that ended without a usage to record, so that its cost is unknown.

        Args:
            reason: One of `semconv.WITHOUT_USAGE_REASONS`.
        """
        try:
            super().identify()  # there is no usage to read
            identity = self.identity
            model, provider = identity.model, identity.provider
            calls = identity.cell(semconv.METRIC_CALLS_WITHOUT_USAGE, model, provider, reason)
            identity.tallies.add([(calls, 1)])
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_METRICS, failure)

    def _count_priced(self, identity: Identity, measurement: Measurement) -> None:
        """Count a record whose price was not known when it was made, once prices are there."""
        cost = self._price(identity, measurement)
        identity.tallies.add(_additions(identity, measurement, cost))
        self.hub.sessions.spend(self.session_key, cost.usd or 0.0, 0)

    def _price(self, identity: Identity, measurement: Measurement) -> Price:
        settings = self.settings
        try:
            if settings.prices is price_list:
                if settings.is_captured:  # a test sees every cost, and holds up nobody
                    price_list.read()
                if price_list.is_read:
                    settings.prices = price_list.source
            known = identity.attributes.get
            model, provider = known(semconv.MODEL), known(semconv.PROVIDER)
            return price(measurement, settings.prices, model, provider, call_cost())
        except NotYetRead:
            return _WAITS
        except shielded() as error:
            self.hub.report_failure(semconv.COMPONENT_PRICES, error)
            return Price(None, semconv.PRICE_ERROR)

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


def _additions(identity: Identity, measurement: Measurement, cost: Price) -> list[Addition]:
    cells = identity.record_cells(cost.source, cost.reason, malformed=measurement.malformed)
    return [
        (cells.calls, 1),
        (cells.cost, 1 if cost.usd is None else cost.usd),
        *zip(cells.tokens, measurement[:4], strict=False),
    ]


def _attributes(
    measurement: Measurement,
    cost: Price,
    totals: tuple[float, int] | None,
    error: BaseException | None,
) -> dict[str, Any]:
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
    if totals is not None:
        attributes[semconv.SESSION_COST], attributes[semconv.SESSION_TOKENS] = totals
        if cost is _WAITS:
            del attributes[semconv.SESSION_COST]
    if error is not None:
        attributes[semconv.ERROR_TYPE] = error_type(error)
    return attributes
