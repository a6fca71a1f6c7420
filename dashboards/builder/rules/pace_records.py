"""How fast each budget is being spent, and what is usual for it, recorded once a minute.

A level is held until its window ends, because a tenant that is not served is not told either: a
runaway on an idle tenant would have no past to be compared with. What is usual is the second
largest of the last seven days' maxima: one bad day does not teach it, and every step costs the
same, however long the past is.
"""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import ENVIRONMENT, TENANT
from dashboards.builder.rules.alert_model import (
    CONSUMED_HELD,
    COST_1H,
    COST_HIGHEST,
    COST_USUAL,
    LIMIT,
    LIMIT_HELD,
    WINDOW_END_HELD,
    WINDOW_REMAINING,
    Record,
    grown,
    highest,
    usual,
)
from otel_budget import semconv

#: What is compared with the usual, and what is only looked at.
USUAL_WINDOWS: Final = ("10m", "30m", "1h", "2h", "6h")
WINDOWS: Final = (*USUAL_WINDOWS, "3d")
#: How long Prometheus may be away and still go on with what it held.
_AWAY: Final = "1h"
#: The second largest of seven.
_SECOND: Final = 0.834
_MIDNIGHT: Final = "time() - time() % 86400"


def paces(names: queries.Names) -> list[Record]:
    """Held levels, what was spent of each budget in each time, and what is usual."""
    cost = queries.selector(names.of(semconv.METRIC_COST), queries.NOT_CANARY)
    return [
        *_held(names),
        *(_grown(window) for window in WINDOWS),
        *(
            record
            for window in USUAL_WINDOWS
            for record in _usual(grown(window), highest(window), usual(window), window)
        ),
        Record(
            record=COST_1H,
            expr=queries.by("sum", (ENVIRONMENT, TENANT), names.total(cost, "1h")),
            because="USD of the last hour, including jobs that started and ended in it.",
        ),
        *_usual(COST_1H, COST_HIGHEST, COST_USUAL, "an hour"),
    ]


def _held(names: queries.Names) -> list[Record]:
    consumed, remaining = (
        queries.selector(names.of(metric), queries.CAP, queries.NOT_CANARY)
        for metric in (semconv.METRIC_CONSUMED, semconv.METRIC_WINDOW_REMAINING)
    )
    told = f"{WINDOW_REMAINING}{{{queries.CAP}}}"
    latest = queries.level(queries.running(f"min_over_time({consumed}[2m])", remaining))
    runs_on = f"({WINDOW_END_HELD} > time())"

    def held(record: str, now: str) -> Record:
        before = f"last_over_time({record}[{_AWAY}])"
        return Record(
            record=record,
            expr=f"{now}\nor ({before} and {runs_on} unless {told})",
            because="Of a budget that is not told any more, what was told last, until its window "
            "ends.",
        )

    return [
        Record(
            record=WINDOW_END_HELD,
            expr=f"round(time() + {told}, 60)\n"
            f"or (last_over_time({WINDOW_END_HELD}[{_AWAY}]) > time())",
            because="When the window of each budget ends, in Unix time.",
        ),
        # Of two minutes only: at fifty times the pace, five are a sixth of a day's limit.
        held(CONSUMED_HELD, latest),
        held(LIMIT_HELD, f"{LIMIT}{{{queries.CAP}}}"),
    ]


def _grown(window: str) -> Record:
    before = f"last_over_time({CONSUMED_HELD}[{_AWAY}] offset {window})"
    end_before = f"last_over_time({WINDOW_END_HELD}[{_AWAY}] offset {window})"
    # An end that moves along, as of a window of the last 24 hours, is no reset.
    reset = f"({WINDOW_END_HELD} - 90 > ({end_before} <= time()))"
    first = f"{CONSUMED_HELD} - min_over_time({CONSUMED_HELD}[{window}])"
    return Record(
        record=grown(window),
        expr=f"clamp_min({CONSUMED_HELD} - ({before} unless {reset}), 0)\n"
        f"or ({CONSUMED_HELD} and {reset})\n"
        f"or {first}",
        because=f"What was spent of each budget in {window}: since its reset, if that lies in "
        "between, and since\nits first level, if there is none before.",
    )


def _usual(series: str, most: str, second: str, window: str) -> list[Record]:
    # Midnights, each told five minutes before: the days' maxima.
    days = f"({most} offset 5m)[7d:1d]"
    today = f"({most} and timestamp({most}) >= {_MIDNIGHT})"
    return [
        Record(
            record=most,
            expr=f"({series} >= {today}) or {today} or {series}\n"
            f"or 0 * (max_over_time({days}) > 0)",
            because=f"The most in {window} of today so far; 0 of a day without any, for a week.",
        ),
        Record(
            record=second,
            expr=f"quantile_over_time({_SECOND}, {days} offset 1h)",
            because=f"The usual most in {window}: the second largest of the last seven days'.",
        ),
    ]
