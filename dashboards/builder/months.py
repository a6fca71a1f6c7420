"""Spend of calendar months (UTC), which PromQL has no window for.

Days come from the record of a day's spend, made every half hour: the one before each midnight is
that day's, to half an hour. The day that is not over yet comes from the records of minutes.
"""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.rules import fleet_records
from dashboards.builder.scope import RECORDS, Scope
from otel_budget import semconv

#: The end of the selected time: its month is "this month".
_NOW: Final = "vector($__to / 1000)"
#: In a step at midnight, the month of the day before; and which month it must be.
_OF_DAY: Final = "month(vector(time() - 43200))"
_THIS: Final = f"month({_NOW})"
_BEFORE: Final = f"(month({_NOW}) + 10) % 12 + 1"
_TODAY: Final = f"floor(vector(time() - 1) / 86400) == floor({_NOW} / 86400)"
#: How much of this month has passed.
_PASSED: Final = (
    f"((day_of_month({_NOW}) - 1 + ({_NOW} % 86400) / 86400) / days_in_month({_NOW}) > 0)"
)


def so_far(scope: Scope, *labels: str) -> str:
    """USD of the month in which the selected time ends, by labels."""
    days = _days(scope, labels, _THIS, "31d")
    minutes = scope.fleet(semconv.METRIC_COST, RECORDS)
    today = (
        f"sum_over_time(({queries.by('sum', labels, minutes)} and on () ({_TODAY}))[1d:{RECORDS}])"
    )
    return f"({days} + {today} or {days} or {today})"


def before(scope: Scope, *labels: str) -> str:
    """USD of the whole month before that, by labels."""
    return _days(scope, labels, _BEFORE, "62d")


def projected(scope: Scope) -> str:
    """USD of the whole month at the pace of what has passed of it."""
    return f"{so_far(scope)} / {_PASSED}"


def _days(scope: Scope, labels: tuple[str, ...], month: str, back: str) -> str:
    record = scope.fleet(semconv.METRIC_COST, fleet_records.COMPARED)
    day = queries.by("sum", labels, f"last_over_time({record}[35m])")
    return f"sum_over_time(({day} and on () ({_OF_DAY} == {month}))[{back}:1d])"
