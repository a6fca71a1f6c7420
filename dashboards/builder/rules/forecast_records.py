"""When each budget runs out, recorded: the earliest of the paces that can be believed.

The pace of the window itself, once a share of it has passed; of windows of two weeks or more that
of the last seven days instead, which weekends do not bend; and the pace of the last minutes where a
budget is being emptied. Where there is none of them, that is a state of its own.
"""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import LEVEL
from dashboards.builder.rules.alert_model import (
    CONSUMED,
    EMPTYING,
    EXHAUSTED_SINCE,
    EXHAUSTION,
    FORECAST,
    LIMIT,
    WINDOW_LENGTH,
    WINDOW_REMAINING,
    Record,
)
from dashboards.builder.thresholds import Thresholds

#: The label of `FORECAST`, and its values.
STATE: Final = "forecast"
EXHAUSTED: Final = "exhausted"
EMPTIED: Final = "being emptied now"
RUNS_OUT: Final = "runs out before its reset"
LASTS: Final = "lasts until its reset"
UNUSED: Final = "nothing used yet"
TOO_EARLY: Final = "not enough history yet"

_DAY: Final = 86400
#: Seconds: windows as long as this go by the last seven days, once these and a day have passed, so
#: that the level before them is one of the same window.
_LONG_WINDOW: Final = 14 * _DAY
_LONG_PACE: Final = 7 * _DAY
_LONG_PASSED: Final = _LONG_PACE + _DAY
#: A budget is being emptied if ten minutes took this share of it and it would be gone in an hour.
_EMPTYING_SHARE: Final = 0.02
_EMPTYING_PACE: Final = 600
_SOON: Final = 3600


def forecast(thresholds: Thresholds) -> list[Record]:
    """When each budget runs out, and what is to be thought of that."""
    passed = f"({WINDOW_LENGTH} - {WINDOW_REMAINING} > 0)"
    share = queries.elapsed_share(WINDOW_LENGTH, WINDOW_REMAINING)

    def at_pace(grown: str, seconds: str) -> str:
        return queries.seconds_to_exhaustion(CONSUMED, LIMIT, grown, seconds)

    before = f"({CONSUMED} offset 10m <= {CONSUMED} or min_over_time({CONSUMED}[10m]))"
    lately = f"({CONSUMED} - {before})"
    week_ago = f"last_over_time({CONSUMED}[1d] offset {_LONG_PACE}s)"
    week = f"clamp_min({CONSUMED} - {week_ago}, 0)"
    is_long = f"({WINDOW_LENGTH} >= {_LONG_WINDOW} and {passed} >= {_LONG_PASSED})"
    # A week without any spend is a pace, too: nothing runs out, so there is no number.
    by_week = f"{at_pace(week, str(_LONG_PACE))} and {is_long}"
    by_window = f"{at_pace(CONSUMED, passed)} and {share} >= {thresholds.forecast_elapsed}"
    own = f"({by_week} or ({by_window} unless ({week} and {is_long})))"
    spent = f"({CONSUMED} >= {LIMIT}) * 0"
    earliest = f"({EMPTYING} <= {own} or {own} or {EMPTYING})"
    known = f"({WINDOW_LENGTH} and {LIMIT} and {CONSUMED})"
    idle_week = f"({week} == 0 and {is_long})"
    states = (
        (EXHAUSTED, f"{CONSUMED} >= {LIMIT}"),
        (EMPTIED, f"{EMPTYING} < {WINDOW_REMAINING}"),
        (RUNS_OUT, f"{EXHAUSTION} < {WINDOW_REMAINING}"),
        (LASTS, f"({EXHAUSTION} or {idle_week}) and {known}"),
        (UNUSED, f"({CONSUMED} == 0) and {known}"),
        (TOO_EARLY, known),
    )
    same = f"on ({', '.join(LEVEL)})"
    full = f"({CONSUMED} >= {LIMIT})"
    this_window = f"(time() - ({WINDOW_LENGTH} - {WINDOW_REMAINING}))"
    return [
        Record(
            record=EMPTYING,
            expr=f"({at_pace(lately, str(_EMPTYING_PACE))} < {_SOON})\n"
            f"and {lately} / {LIMIT} >= {_EMPTYING_SHARE}",
            because="At the pace of the last ten minutes, of budgets that are being emptied: an "
            "average of the\nwindow tells those when they are gone.",
        ),
        Record(
            record=EXHAUSTION,
            expr=f"{spent}\nor {earliest}",
            because="The earliest of the paces that can be believed; deriv() of a level is none.",
        ),
        Record(
            record=EXHAUSTED_SINCE,
            expr=f"(last_over_time({EXHAUSTED_SINCE}[1h]) >= {this_window} and {full})\n"
            f"or ({EXHAUSTED_SINCE} and ({full} unless {WINDOW_LENGTH}))\n"
            f"or {full} * 0 + time()",
            because="Since when (Unix time) a budget is used up; if it is the same window, over an "
            "hour in which\nnobody tells the level.",
        ),
        Record(
            record=FORECAST,
            expr=f"\nor {same} ".join(
                queries.marked(f"0 * ({expr}) + 1", STATE, state) for state, expr in states
            ),
            because="What the forecast says, in words; where it says nothing yet, that.",
        ),
    ]
