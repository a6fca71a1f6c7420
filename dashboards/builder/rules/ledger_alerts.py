"""Alerts about the guard's own count: it does not move, moves too much, or refuses too early."""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import (
    BUDGET_OF_ONE_SOURCE,
    ENVIRONMENT,
    RESOURCE,
    SHARED,
    TENANT,
    UNIT,
    WINDOW,
)
from dashboards.builder.rules.alert_model import (
    FULLNESS,
    RECENT,
    THE_BUDGET,
    WARNING,
    WHO,
    Alert,
    least,
    most,
    recorded,
    who,
)
from dashboards.builder.rules.ledger_records import HOUR, LONG, TOKENS, USD
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

#: Budgets of one owner that differ in their window count the same spend.
_COUNTED: Final = tuple(name for name in BUDGET_OF_ONE_SOURCE if name != WINDOW)
#: Causes of refusals that have nothing to do with how full a budget is.
_OTHER_CAUSES: Final = (semconv.CAUSE_POLICY, semconv.CAUSE_UNPRICED, semconv.CAUSE_UNAVAILABLE)
#: Of budgets that say whether they are shared.
_SAID: Final = f'{SHARED}!=""'
_GUARD_OF: Final = f"{WHO}: the guard's count of {{{{ $labels.{RESOURCE} }}}}"
_SHARE: Final = "{{ $value | humanizePercentage }}"


def ledger(thresholds: Thresholds, names: queries.Names) -> list[Alert]:
    """The guard's count beside the recorded spend, its refusals and its reservations."""
    floors = {USD: thresholds.ledger_floor_usd, TOKENS: thresholds.ledger_floor_tokens}

    def ratio(of: str, window: str, unit: str, *matchers: str) -> str:
        unit_is = f'{UNIT}="{unit}"'
        spent = queries.selector(recorded(window), unit_is)
        return f"{queries.selector(of, unit_is, *matchers)} / ({spent} > {floors[unit]:g})"

    def moved(window: str, unit: str, *matchers: str) -> str:
        return queries.by("max", _COUNTED, ratio(most(window), window, unit, *matchers))

    still = {USD: thresholds.ledger_not_counting, TOKENS: thresholds.ledger_not_counting_tokens}
    not_counting = "\nor ".join(
        f"{moved(window, unit)} < {share:g}"
        for window in (HOUR, LONG)
        for unit, share in still.items()
    )
    more = "\nor ".join(ratio(least(HOUR), HOUR, unit) for unit in floors)
    unknown = "\nor ".join(
        queries.by(
            "sum", (ENVIRONMENT, TENANT), names.total(queries.selector(names.of(metric)), HOUR)
        )
        for metric in (semconv.METRIC_UNPRICED_CALLS, semconv.METRIC_CALLS_WITHOUT_USAGE)
    )
    return [
        Alert(
            alert="LLMBudgetGuardNotCounting",
            expr=not_counting,
            severity=WARNING,
            summary=f"{_GUARD_OF} stands still while spend is recorded",
            description=f"The guard counted {_SHARE} of what was recorded over the same time. "
            "Its limit will not stop anybody. Look at both ledgers on the health dashboard.",
            for_="15m",
            because="one call that the guard counts late looks the same for minutes.",
        ),
        Alert(
            alert="LLMBudgetGuardUndercounts",
            expr=f"{moved(HOUR, USD, _SAID)} "
            f">= {thresholds.ledger_not_counting:g} < {thresholds.ledger_undercounts:g}",
            severity=WARNING,
            summary=f"{_GUARD_OF} is only {_SHARE} of the recorded spend",
            description="Some calls are recorded that the guard does not count, so more can be "
            "spent than its limit says. Lost settles and calls past the guard look like this.",
            for_="15m",
            because="as above.",
        ),
        Alert(
            alert="LLMBudgetGuardCountsMore",
            expr=f"{queries.by('min', _COUNTED, more)} > {thresholds.ledger_counts_more:g}\n"
            f"unless on ({ENVIRONMENT}, {TENANT}) (({unknown}) > 0)",
            severity=WARNING,
            summary=f"{_GUARD_OF} is {_SHARE} of the recorded spend",
            description="Either the guard counts calls twice or in another unit, or somebody "
            "spends from this budget whose telemetry does not arrive here: the numbers look the "
            "same. The budget will be refused too early.",
            for_="15m",
            because="a reservation that is counted and settled later looks the same for minutes.",
        ),
        _refused_early(thresholds, names),
        Alert(
            alert="LLMBudgetReservationLeaked",
            expr=_leaked(thresholds, names),
            severity=WARNING,
            summary=f"{WHO}: a reservation of {THE_BUDGET} is "
            "{{ $value | humanizeDuration }} old",
            description="No model call takes that long: somebody reserved and never settled. "
            "What is held is missing from the budget until the reservation expires.",
            for_="5m",
            because="a guard that has just come back tells old ones before it lets them expire.",
        ),
    ]


def _refused_early(thresholds: Thresholds, names: queries.Names) -> Alert:
    labels = (ENVIRONMENT, TENANT, RESOURCE, WINDOW)
    refused = queries.selector(
        names.of(semconv.METRIC_THRESHOLD_HITS),
        queries.HARD,
        queries.equals(semconv.DECISION_POINT, semconv.POINT_LLM),
        queries.none_of(semconv.CAUSE, _OTHER_CAUSES),
        f'{TENANT}!=""',
        queries.NOT_CANARY,
    )
    often = f"{queries.by('sum', labels, names.happened(refused, RECENT))} >= "
    far = thresholds.ledger_refused_below
    everybody = queries.selector(FULLNESS, f'{TENANT}=""')
    return Alert(
        alert="LLMBudgetRefusedFarFromLimit",
        expr=f"({often}{thresholds.ledger_refusals})\n"
        f"and on ({', '.join(labels)}) ({FULLNESS} < {far:g})\n"
        f"unless on ({ENVIRONMENT}, {RESOURCE}, {WINDOW}) ({everybody} >= {far:g})",
        severity=WARNING,
        summary=f"{who(TENANT)}: {THE_BUDGET} refuses calls although it is far from its limit",
        description=f"Refusals in {RECENT}: {{{{ $value | humanize }}}}, while no budget of that "
        f"name was over {far:.0%}, reservations included. The count that the guard decides by is "
        "not the one it tells.",
        for_="5m",
        because="a burst of reservations may come and go between two levels.",
    )


def _leaked(thresholds: Thresholds, names: queries.Names) -> str:
    age, reserved = (
        queries.level(queries.selector(names.of(metric), queries.NOT_CANARY))
        for metric in (semconv.METRIC_RESERVATION_AGE, semconv.METRIC_RESERVED)
    )
    return f"{age} > {thresholds.reservation_old_seconds:g}\nand {reserved} > 0"
