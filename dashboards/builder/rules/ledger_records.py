"""Two ledgers, recorded: what each guard says it consumed, and what was recorded meanwhile.

A guard's growth is the level now, less the level before the window, plus the level at the end of
each of the budget's own windows that ended in between: exact over resets, restarts and silence.
Nothing but the level itself can say whether several processes report one budget (``shared``) or
each its own part. Where it does not say, the truth lies between the largest growth that one process
saw (`least`) and the sum of all (`most`), and an alert fires only where both agree.
"""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import (
    AGENT,
    BUDGET,
    ENVIRONMENT,
    GUARD,
    INSTANCE,
    JOB,
    PRINCIPAL,
    RESOURCE,
    SHARED,
    TENANT,
    UNIT,
    WINDOW,
)
from dashboards.builder.rules.alert_model import (
    ENDED,
    FULLNESS,
    TOLD,
    WINDOW_END,
    Record,
    least,
    most,
    recorded,
    recorded_by_job,
)
from otel_budget import semconv
from otel_budget.metric import Metric

USD: Final = "USD"
TOKENS: Final = "tokens"
#: How far back: the alerts of one hour, and those of what happens only a few times a day.
HOUR: Final = "1h"
LONG: Final = "6h"
#: How long a budget or a process may be silent and still be the one it was: a night.
_MEMORY: Final = "1d"
#: A budget of one agent (or principal) is compared with what that one spent, any other with its
#: tenant's spend.
_OWNERS: Final[tuple[tuple[str, ...], ...]] = ((), (AGENT,), (PRINCIPAL,), (AGENT, PRINCIPAL))
_BUDGET: Final = (*BUDGET, SHARED)
_IS_SHARED: Final = f'{SHARED}="true"'
_IS_NOT_SHARED: Final = f'{SHARED}!="true"'
_IS_KNOWN: Final = f'{SHARED}!=""'
_IS_UNKNOWN: Final = f'{SHARED}=""'
#: Of a level without tenant nobody can say whose spend it counts, and the level of a limit per
#: session is the fullest session's.
_COMPARED: Final = (
    queries.CAP,
    f'{TENANT}!=""',
    queries.NOT_CANARY,
    f'{RESOURCE}!~"session_.*"',
    f'{UNIT}=~"{USD}|{TOKENS}"',
)


def ledgers(names: queries.Names) -> list[Record]:
    """What the guards say, and what was recorded over the same time."""
    return [
        *_told(names),
        *(record for window in (HOUR, LONG) for record in _grown(window)),
        *(record for window in (HOUR, LONG) for record in _recorded(names, window)),
        _fullness(names),
    ]


def _told(names: queries.Names) -> list[Record]:
    budget, process = _BUDGET, (*_BUDGET, JOB, INSTANCE)

    def gauge(metric: Metric, shared: str) -> str:
        return queries.selector(names.of(metric), *_COMPARED, shared)

    def left(shared: str) -> str:
        return queries.time_left(gauge(semconv.METRIC_WINDOW_REMAINING, shared))

    def own(shared: str) -> str:
        return f"{gauge(semconv.METRIC_CONSUMED, shared)} and {left(shared)}"

    before = f"last_over_time({TOLD}[{_MEMORY}] offset 1s)"
    end_before = f"last_over_time({WINDOW_END}[{_MEMORY}] offset 1s)"
    return [
        Record(
            record=TOLD,
            expr=f"{queries.by('max', budget, own(_IS_SHARED))}\n"
            f"or {queries.by('max', process, own(_IS_NOT_SHARED))}",
            because="Consumed as the guard says, of windows that have not ended since. Once a "
            "budget where\nit is known to be shared, else once a process.",
        ),
        Record(
            record=WINDOW_END,
            expr=f"round(time() + ({queries.by('max', budget, left(_IS_SHARED))}\n"
            f"or {queries.by('max', process, left(_IS_NOT_SHARED))}), 60)",
            because="When that window ends, in Unix time.",
        ),
        Record(
            record=ENDED,
            expr=f"{before} and ({WINDOW_END} - 90 > ({end_before} < time() + 120))",
            because="At the first level of a new window: what the one before ended with. A window "
            "is new if\nit ends later and the one before is over; an end that moves along is no "
            "reset.",
        ),
    ]


def _grown(window: str) -> list[Record]:
    def grown(memory: str, newborn: str, *matchers: str) -> str:
        told = queries.selector(TOLD, *matchers)
        now = f"last_over_time({told}[{window}])"
        ended = f"sum_over_time({queries.selector(ENDED, *matchers)}[{window}])"
        level = f"({now} + {ended} or {now})"
        before = f"last_over_time({told}[{memory}] offset {window})"
        first = f"{now} - min_over_time({told}[{window}])" if newborn == "first" else level
        return f"(clamp_min({level} - {before}, 0) or {first})"

    def sure(*matchers: str) -> str:
        return grown("15m", "first", *matchers)

    def possible(*matchers: str) -> str:
        return grown(_MEMORY, "whole", *matchers)

    one_budget = f"on ({', '.join(BUDGET)})"
    counted_least = Record(
        record=least(window),
        expr=f"{queries.by('sum', _BUDGET, sure(_IS_KNOWN))}\n"
        f"or {one_budget} {queries.by('max', BUDGET, sure(_IS_UNKNOWN))}",
        because=f"What the guard counted in {window} at least: of processes and budgets that "
        "were told just\nbefore, or else since their first level. What was counted during a "
        "long silence is of no known time.",
    )
    counted_most = Record(
        record=most(window),
        expr=f"{queries.by('sum', _BUDGET, possible(_IS_SHARED))}\n"
        f"or {one_budget} " + queries.by("sum", _BUDGET, possible(_IS_NOT_SHARED)),
        because=f"What the guard counted in {window} at most: what a new process has counted "
        "may all be its own,\nand what was counted during a silence may be of its end.",
    )
    # Only what is sure within the hour says that a guard counts too much.
    return [counted_least, counted_most] if window == HOUR else [counted_most]


def _recorded(names: queries.Names, window: str) -> list[Record]:
    def counted(metric: Metric, unit: str) -> str:
        total = names.total(queries.selector(names.of(metric)), window, memory=_MEMORY)
        labels = (ENVIRONMENT, JOB, TENANT, AGENT, PRINCIPAL)
        return queries.marked(queries.by("sum", labels, total), UNIT, unit)

    def spent(owner: tuple[str, ...]) -> str:
        who = (ENVIRONMENT, TENANT, *owner)
        source = (*who, JOB, UNIT)
        matchers = [f'{name}{"!=" if name in owner else "="}""' for name in (AGENT, PRINCIPAL)]
        level = queries.selector(names.of(semconv.METRIC_CONSUMED), *_COMPARED, *matchers)
        tells = queries.by("group", (*source, GUARD), f"last_over_time({level}[{window}])")
        spend = queries.by("sum", source, recorded_by_job(window))
        joined = f"{tells} * on ({', '.join(source)}) group_left () {spend}"
        return queries.by("sum", (*who, GUARD, UNIT), joined)

    join = ", ".join((ENVIRONMENT, TENANT, AGENT, PRINCIPAL, GUARD, UNIT))
    every = "\nor ".join(spent(owner) for owner in _OWNERS)
    return [
        Record(
            record=recorded_by_job(window),
            expr=f"{counted(semconv.METRIC_COST, USD)}\n"
            f"or {counted(semconv.METRIC_TOKENS, TOKENS)}",
            because=f"USD and tokens of the last {window}, including jobs that started and ended "
            "in it.",
        ),
        Record(
            record=recorded(window),
            expr=f"0 * {most(window)} + on ({join}) group_left () (\n{every}\n)",
            because="What was recorded beside each budget: of its owner, and only by jobs that "
            "tell a level of the\nsame guard, because a job without that guard spends past it.",
        ),
    ]


def _fullness(names: queries.Names) -> Record:
    consumed, reserved, limit = (
        queries.selector(names.of(metric), queries.CAP, queries.NOT_CANARY)
        for metric in (semconv.METRIC_CONSUMED, semconv.METRIC_RESERVED, semconv.METRIC_LIMIT)
    )
    full = f"(({queries.used(consumed, reserved)}) / {limit})[15m:1m]"
    return Record(
        record=FULLNESS,
        expr=queries.by("max", (ENVIRONMENT, TENANT, RESOURCE, WINDOW), f"max_over_time({full})"),
        because="How full the fullest of the budgets was that a refusal may come from, with what "
        "was reserved.",
    )
