"""What the boards make of records, against known truth: months, forecasts, savings, the largest."""

from __future__ import annotations

import calendar
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.builder import months, output, thresholds
from dashboards.builder import queries as q
from dashboards.builder.boards import budgets
from dashboards.builder.labels import LEVEL, MODEL, TENANT, TOKEN_TYPE
from dashboards.builder.rules import alert_model, fleet_records
from dashboards.builder.scope import OTHERS, RECORDS, VARIABLES, Scope
from otel_budget import semconv as sc
from promtool import promtool

SCOPE = Scope(q.Names())
THRESHOLDS = thresholds.load()
DAY_RECORD = fleet_records.total(sc.METRIC_COST, fleet_records.COMPARED)
MINUTES = fleet_records.total(sc.METRIC_COST, "5m")


def filled(expr: str, *, now: float = 0, window: str = "1h") -> str:
    """The query with everything chosen."""
    for variable in VARIABLES:
        expr = expr.replace(f"`${variable.name}`", '".*"')
    expr = expr.replace("$__range", window).replace("$__interval", window).replace(RECORDS, "5m")
    return expr.replace("$__to", str(int(now * 1000)))


def drawn(board: str, key: str, target: int = 0) -> str:
    """What a panel asks."""
    boards = {b.uid: b for b in output.dashboards(THRESHOLDS, SCOPE)}
    (panel,) = (p for p in boards[f"otel-budget-{board}"].panels if p.key == key)
    return panel.targets[target].expr


def check(
    series: dict[str, str],
    asked: list[tuple[str, str, list[tuple[dict[str, str], float]]]],
    directory: Path,
    *,
    start: int = 0,
    interval: str = "1m",
) -> None:
    """Ask (query, time, expected) of series."""
    tests = [
        {
            "expr": expr,
            "eval_time": at,
            "exp_samples": [
                {
                    "labels": "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}",
                    "value": value,
                }
                for labels, value in expected
            ],
        }
        for expr, at, expected in asked
    ]
    group: dict[str, Any] = {
        "interval": interval,
        "start_timestamp": start,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": tests,
    }
    file = directory / "test.yml"
    file.write_text(yaml.safe_dump({"fuzzy_compare": True, "tests": [group]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


#: Whole days of $1 in January and $2 in February for acme, and a cheaper tenant; a minute's record
#: of the day that is not over.
JANUARY = calendar.timegm((2027, 1, 1, 0, 0, 0))


@pytest.mark.parametrize(
    ("month", "day", "so_far", "before"),
    [
        pytest.param(2, 10, 2.0 * 9, 31.0, id="in February"),
        pytest.param(2, 1, None, 31.0, id="on the first"),
        pytest.param(1, 31, 30.0, None, id="in January, with nothing kept of December"),
    ],
)
def test_a_months_spend_is_its_days_and_what_of_today_is_recorded(
    month: int, day: int, so_far: float | None, before: float | None, tmp_path: Path
) -> None:
    """At noon; a day's record at time T is of the 24 hours before T."""
    half_hours = 48
    january, february = f"_ 1x{31 * half_hours - 1}", f"2x{28 * half_hours}"
    series = {f'{DAY_RECORD}{{{TENANT}="acme"}}': f"{january} {february}"}
    now = calendar.timegm((2027, month, day, 12, 0, 0))
    # Of the records of five minutes only those of the last days are kept.
    kept = (now - JANUARY) // 1800 - 2 * half_hours
    series[f'{MINUTES}{{{TENANT}="acme"}}'] = f"_x{kept} 0.06x{3 * half_hours}"
    at = f"{(now - JANUARY) // 60}m"
    # The points are half an hour apart, and a look-back of five minutes sees one step in six.
    today = 0.06 * 24
    acme = {TENANT: "acme"}
    check(
        series,
        [
            (
                filled(months.so_far(SCOPE, TENANT), now=now),
                at,
                [(acme, (so_far or 0) + today)],
            ),
            (
                filled(months.before(SCOPE, TENANT), now=now),
                at,
                [] if before is None else [(acme, before)],
            ),
        ],
        tmp_path,
        start=JANUARY,
        interval="30m",
    )


LABELS = dict.fromkeys(LEVEL, "x") | {"budget_source": "guard"}
WRITTEN = ",".join(f'{name}="{value}"' for name, value in LABELS.items())


def test_the_forecast_goes_on_to_the_end_of_the_window(tmp_path: Path) -> None:
    """Half is left after an hour, and at its pace nothing after two; the window has four to go."""
    end = 5 * 3600
    series = {
        f"{alert_model.UTILIZATION}{{{WRITTEN}}}": "0.5x60",
        f"{alert_model.EXHAUSTION}{{{WRITTEN}}}": "10800-60x60",
        f"{alert_model.WINDOW_END_HELD}{{{WRITTEN}}}": f"{end}x60",
        f"{alert_model.WINDOW_LENGTH}{{{WRITTEN}}}": f"{end}x60",
    }
    left, ahead, even = (filled(drawn("burndown", "burn_down", index)) for index in range(3))
    check(
        series,
        [
            (left, "60m", [(LABELS, 0.5)]),
            (ahead, "60m", []),
            (f"round({ahead}, 0.01)", "2h", [(LABELS, 0.25)]),
            (ahead, "3h1m", []),
            (even, "60m", [(LABELS, 0.8)]),
            (even, "2h", [(LABELS, 0.6)]),
            (even, "5h1m", []),
        ],
        tmp_path,
    )


def test_what_a_cache_saves_by_the_ratios_of_the_thresholds(tmp_path: Path) -> None:
    """A plain prompt token costs 3 USD a million."""
    million = 1_000_000
    tokens = fleet_records.total(sc.METRIC_TOKENS, "5m")
    counts = {
        sc.TOKENS_INPUT: 100_000,
        sc.TOKENS_CACHE_READ: 900_000,
        sc.TOKENS_CACHE_WRITE: 100_000,
        sc.TOKENS_OUTPUT: 100_000,
    }
    price = 3 / million
    cost = price * (100_000 + 0.1 * 900_000 + 1.25 * 100_000 + 5 * 100_000)
    series = {
        f'{tokens}{{{MODEL}="m",{TOKEN_TYPE}="{kind}"}}': f"_x9 {count}"
        for kind, count in counts.items()
    }
    series[f'{MINUTES}{{{MODEL}="m"}}'] = f"_x9 {cost}"
    saved = price * (0.9 * 900_000 - 0.25 * 100_000)
    check(series, [(filled(drawn("spend", "saved")), "10m", [({}, saved)])], tmp_path)


def test_the_largest_stand_by_themselves_and_the_others_say_how_many(tmp_path: Path) -> None:
    series = {f'{MINUTES}{{{TENANT}="t{number}"}}': f"_x9 {number}" for number in range(1, 21)}
    most, others = SCOPE.fleet_top(TENANT, sc.METRIC_COST, 3)
    check(
        series,
        [
            (filled(most), "10m", [({TENANT: f"t{n}"}, n) for n in (18, 19, 20)]),
            (filled(others), "10m", [({OTHERS: "17 others"}, sum(range(1, 18)))]),
            (filled(SCOPE.fleet_top(TENANT, sc.METRIC_COST, 20)[1]), "10m", []),
        ],
        tmp_path,
    )


@pytest.mark.parametrize(
    ("used", "exhaustion", "remaining", "since", "verdict", "rank"),
    [
        (1.0, 0, 7200, -10800, "exhausted for 3 h", 3),
        (0.5, 3600, 10800, None, "runs out 2 h before its reset", 2.5),
        (0.5, 86400 * 3, 86400 * 10, None, "runs out 7 d before its reset", 2 + 1 / 73),
        (0.5, 86400, 3600, None, "lasts until its reset", 0.5),
        (0.7, None, None, None, "no forecast: no window is told", 0.7),
    ],
)
def test_a_verdict_in_words(  # noqa: PLR0917 (a table)
    used: float,
    exhaustion: float | None,
    remaining: float | None,
    since: float | None,
    verdict: str,
    rank: float,
    tmp_path: Path,
) -> None:
    urgency, now = budgets.Urgency(SCOPE), 36000
    series = {f"{alert_model.UTILIZATION}{{{WRITTEN}}}": f"{used}x600"}
    if exhaustion is not None:
        series[f"{alert_model.EXHAUSTION}{{{WRITTEN}}}"] = f"{exhaustion}x600"
        series[f"{alert_model.WINDOW_REMAINING}{{{WRITTEN}}}"] = f"{remaining}x600"
        state = re.sub(r"\d+ \w+ ", "", verdict) if used < 1 else "exhausted"
        series[f'{alert_model.FORECAST}{{{WRITTEN},forecast="{state}"}}'] = "1x600"
    if since is not None:
        series[f"{alert_model.EXHAUSTED_SINCE}{{{WRITTEN}}}"] = f"{now + since}x600"
    check(
        series,
        [
            (
                q.by("max", (*LEVEL, budgets.VERDICT), filled(urgency.verdict)),
                "10h",
                [({**LABELS, budgets.VERDICT: verdict}, 1)],
            ),
            (q.by("max", LEVEL, filled(urgency.rank)), "10h", [(LABELS, rank)]),
        ],
        tmp_path,
    )
