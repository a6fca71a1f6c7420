"""Alerts about pace: a budget that is being emptied, spent too fast, or about to run out.

A pace counts only if it is also far above what is usual for this budget: an office that spends its
day's limit in working hours is no runaway. Windows under six hours have no pace that means
anything; LLMBudgetExhausted tells of them.
"""

from __future__ import annotations

from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import TENANT
from dashboards.builder.rules.alert_model import (
    CONSUMED_HELD,
    COST_1H,
    COST_USUAL,
    CRITICAL,
    EXHAUSTION,
    LIMIT,
    THE_BUDGET,
    WARNING,
    WHO,
    WINDOW_END_HELD,
    WINDOW_LENGTH,
    Alert,
    grown,
    usual,
    who,
)
from dashboards.builder.thresholds import Thresholds

_SECONDS: Final = {"10m": 600, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21600, "3d": 259200}
_DAY: Final = 86400
#: What is counted as a day's window; what is longer goes by the months' alerts.
_SHORT: Final = f"({WINDOW_LENGTH} >= {6 * 3600} <= {2 * _DAY})"
_LONG: Final = f"({WINDOW_LENGTH} > {2 * _DAY})"
#: The forecast of a shorter window follows the hours of the day, or the days of the week.
_FORECAST_WINDOW: Final = 14 * _DAY
_FORECAST_PASSED: Final = 8 * _DAY
_REMAINING: Final = f"({WINDOW_END_HELD} - time())"
_SHARE_TEXT: Final = "{{ $value | humanizePercentage }}"
_PACE_TEXT: Final = "{{ $value | humanize }} times the pace its limit allows"


def spend(thresholds: Thresholds) -> list[Alert]:
    """The alerts, the most urgent first."""
    return [
        *_days(thresholds),
        *_months(thresholds),
        _will_run_out(thresholds),
        _spike(thresholds),
    ]


def _share(window: str) -> str:
    """What of its limit was spent in `window` (0..1)."""
    return f"({grown(window)} / {LIMIT})"


def _pace(window: str) -> str:
    """The pace of `window`: at 1 the limit lasts exactly for the budget's window."""
    return f"({_share(window)} * {WINDOW_LENGTH} / {_SECONDS[window]})"


def _gone(window: str) -> str:
    """In how many seconds nothing is left at the pace of `window`."""
    return queries.seconds_to_exhaustion(CONSUMED_HELD, LIMIT, grown(window), str(_SECONDS[window]))


def _unusual(window: str, factor: float, measure: str, newcomer: float) -> str:
    """Above `factor` times the usual of `window`; `measure` above `newcomer` where nothing is."""
    above = f"{grown(window)} > {factor} * {usual(window)}"
    return f"({above} or ({measure} > {newcomer} unless {usual(window)}))"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g} h"


def _days(thresholds: Thresholds) -> list[Alert]:
    t = thresholds
    return [
        Alert(
            alert="LLMBudgetEmptying",
            expr=f"{_share('10m')} > {t.emptying_share}\nand {_SHORT}\n"
            f"and {_gone('10m')} < {t.emptying_gone_seconds}\n"
            f"and ({grown('10m')} > {t.emptying_usual} * {usual('10m')}"
            f" and {grown('30m')} > {t.emptying_usual} * {usual('30m')}"
            f" or {_share('10m')} > {t.emptying_sure})",
            severity=CRITICAL,
            summary=f"{WHO}: {THE_BUDGET} is being emptied, {_SHARE_TEXT} of its limit in ten "
            "minutes",
            description=f"At this pace nothing is left within {_hours(t.emptying_gone_seconds)}, "
            "and it is far above what is usual for this budget. Find the agent and model on the "
            "drill-down dashboard and stop it.",
            for_="1m",
            keep_firing_for="1h",
            because="one large call holds its reservation for minutes, and a level with it; each "
            "minute\nmore costs a thirtieth of the budget.",
        ),
        Alert(
            alert="LLMBudgetBurnFast",
            expr=f"{_share('30m')} > {t.burn_fast_share}\nand {_SHORT}\n"
            f"and {_gone('30m')} < {t.burn_fast_gone_seconds}\n"
            f"and {_gone('30m')} < {_REMAINING}\n"
            f"and {_share('10m')} > {t.burn_fast_lately}\n"
            f"and {_unusual('30m', t.burn_fast_usual, _share('30m'), t.burn_fast_newcomer)}",
            severity=WARNING,
            summary=f"{WHO}: {_SHARE_TEXT} of {THE_BUDGET} was spent in half an hour",
            description="It goes on, it is far above what is usual for this budget, and at this "
            f"pace nothing is left within {_hours(t.burn_fast_gone_seconds)}. Find the agent and "
            "model on the drill-down dashboard.",
            for_="1m",
            keep_firing_for="4h",
            because="half an hour already smooths the pace; a minute keeps a single evaluation "
            "from\nfiring.",
        ),
        Alert(
            alert="LLMBudgetBurnSlow",
            expr=f"{_share('2h')} > {t.burn_slow_share}\nand {_SHORT}\n"
            f"and {_gone('2h')} < clamp_min({_REMAINING}, {t.burn_slow_gone_seconds})\n"
            f"and {_share('30m')} > {t.burn_slow_lately}\n"
            f"and {_unusual('2h', t.burn_slow_usual, _share('2h'), t.burn_slow_newcomer)}",
            severity=WARNING,
            summary=f"{WHO}: {_SHARE_TEXT} of {THE_BUDGET} was spent in two hours",
            description="It goes on, it is far above what is usual for this budget, and at this "
            f"pace it is used up before its reset, or within {_hours(t.burn_slow_gone_seconds)}. "
            "Find what changed on the drill-down dashboard.",
            for_="5m",
            keep_firing_for="1d",
            because="there are hours left: five minutes cost nothing and avoid noise. A new "
            "level is one\nwarning, not one a day.",
        ),
    ]


def _months(thresholds: Thresholds) -> list[Alert]:
    t = thresholds
    return [
        Alert(
            alert="LLMBudgetMonthBurnFast",
            expr=f"{_pace('1h')} > {t.month_fast_pace}\nand {_LONG}\n"
            f"and {_pace('10m')} > {t.month_fast_pace}\n"
            f"and {_unusual('1h', t.month_fast_usual, _pace('1h'), t.month_fast_newcomer)}",
            severity=CRITICAL,
            summary=f"{WHO}: {THE_BUDGET} is being spent at {_PACE_TEXT}",
            description="This was the pace of the last hour and still is that of the last ten "
            "minutes, and it is far above what is usual for this budget. Find the agent and model "
            "on the drill-down dashboard.",
            for_="2m",
            keep_firing_for="1h",
            because="both times already smooth the pace; two minutes keep a single evaluation "
            "from paging.",
        ),
        Alert(
            alert="LLMBudgetMonthBurnSlow",
            expr=f"{_pace('6h')} > {t.month_slow_pace}\nand {_LONG}\n"
            f"and {_pace('1h')} > {t.month_slow_pace}\n"
            f"and {_gone('6h')} < {_REMAINING}\n"
            f"and {_unusual('6h', t.month_slow_usual, _pace('6h'), t.month_slow_newcomer)}",
            severity=WARNING,
            summary=f"{WHO}: {THE_BUDGET} has been spent at {_PACE_TEXT} for six hours",
            description="Not a burst but a new level: at this pace the budget is used up before "
            "its window ends. Find what changed on the drill-down dashboard.",
            for_="10m",
            keep_firing_for="1d",
            because="this is a matter of days, so ten minutes cost nothing and avoid noise.",
        ),
        Alert(
            alert="LLMBudgetMonthBurnDays",
            expr=f"{_pace('3d')} > {t.month_days_pace}\nand {_LONG}\n"
            f"and {_gone('3d')} < {_REMAINING} - {t.month_days_early_seconds}\n"
            f"and {CONSUMED_HELD} / {LIMIT} > {t.month_days_used}",
            severity=WARNING,
            summary=f"{WHO}: {THE_BUDGET} has been spent at {_PACE_TEXT} for three days",
            description="At this pace the budget is used up more than "
            f"{_hours(t.month_days_early_seconds)} before its window ends. Raise the limit, slow "
            "the agents down, or tell the tenant when its calls will stop.",
            for_="1h",
            keep_firing_for="1d",
            because="the three days already smooth the pace, and there are days left.",
        ),
    ]


def _will_run_out(thresholds: Thresholds) -> Alert:
    passed = f"({WINDOW_LENGTH} - {_REMAINING})"
    return Alert(
        alert="LLMBudgetWillRunOut",
        expr=f"({EXHAUSTION} > 0) < {_REMAINING} - {thresholds.forecast_early_seconds}\n"
        f"and {WINDOW_LENGTH} >= {_FORECAST_WINDOW}\nand {passed} >= {_FORECAST_PASSED}\n"
        f"and {CONSUMED_HELD} / {LIMIT} >= {thresholds.forecast_utilization}",
        severity=WARNING,
        summary=f"{WHO}: {THE_BUDGET} will run out in {{{{ $value | humanizeDuration }}}}, "
        "before its window ends",
        description="This assumes the pace of the last seven days. Raise the limit, slow the "
        "agents down, or tell the tenant when its calls will stop.",
        for_="1h",
        keep_firing_for="1d",
        because="the warning comes days ahead; an hour of the same answer is a trend.",
    )


def _spike(thresholds: Thresholds) -> Alert:
    return Alert(
        alert="LLMBudgetSpendSpike",
        expr=f"({COST_1H} > {thresholds.spike_factor} * {COST_USUAL})"
        f" > {thresholds.spike_floor_usd}\n"
        # A tenant of less than a day has no past to be compared with.
        f"and last_over_time({COST_1H}[1d] offset 1d)",
        severity=WARNING,
        summary=f"{who(TENANT)} spent {{{{ $value | printf `%.2f` }}}} USD in the last hour, "
        f"over {thresholds.spike_factor:g} times its usual",
        description="Compared with the highest hour of each of the last seven days, the highest "
        "of them left out. It may be a loop, but also a release or a new customer. The overview "
        "shows which agent and model.",
        for_="10m",
        keep_firing_for="2h",
        because="the hour already smooths the spend; ten minutes keep one expensive call from "
        "setting it off.",
    )
