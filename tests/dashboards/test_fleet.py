"""The records of all processes against known truth: what they hold, and what they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.builder import queries as q
from dashboards.builder import scope
from dashboards.builder.boards.shared_panels import FROM_RECORDS
from dashboards.builder.rules import fleet_records
from otel_budget import semconv as sc
from panel_queries import fill_in
from promtool import promtool
from rule_cases.case import COST, decision, hit, series
from support.paths import ROOT
from test_dashboards import GRAFANA, PERSES, panels

RULES = ROOT / "collector" / "prometheus" / "rules"
#: A process that spends 0.5 a minute, one that is replaced by another, and three short jobs.
HEALTHY = {
    series(sc.METRIC_COST, COST, instance="steady"): "0+0.5x200",
    series(sc.METRIC_COST, COST, instance="old"): "9+0.25x60 _x200",
    series(sc.METRIC_COST, COST, instance="new"): "_x62 0.25+0.25x138",
    series(sc.METRIC_COST, COST, instance="job1"): "_x20 0.75 _x200",
    series(sc.METRIC_COST, COST, instance="job2"): "_x71 1.25x2 _x200",
    series(sc.METRIC_COST, COST, instance="job3"): "_x101 2 _x200",
}
NOT_RECORDED, AGE = (
    next(
        fill_in(panel["targets"][0]["expr"])
        for panel in panels(GRAFANA["health"])
        if panel["title"] == title
    )
    for title in ("Counted but not recorded, 24 h", "Age of the last datum")
)


def _spent(start: int, end: int) -> float:
    """What the healthy history spent after one minute, until another (both between its jobs)."""
    return 0.5 * (end - start) + 0.25 * (60 - start) + 0.25 * (end - 61) + 0.75 + 1.25 + 2


def _check(
    history: dict[str, str],
    asked: list[tuple[str, str, float]],
    directory: Path,
    *windows: str,
) -> None:
    """Ask (query, time, value), with records of windows, made once a minute or in five."""
    group: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": v} for name, v in history.items()],
        "promql_expr_test": [
            {"expr": expr, "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
            for expr, at, value in asked
        ],
    }
    rules = [str(RULES / f"llm-budget-fleet-{window}.yml") for window in windows]
    interval = "5m" if windows == ("5m",) else "1m"
    every = {"rule_files": rules, "evaluation_interval": interval, "fuzzy_compare": True}
    file = directory / "test.yml"
    file.write_text(yaml.safe_dump(every | {"tests": [group]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


#: Asked at 157 minutes, the youngest record is two minutes old, or two and up to five.
@pytest.mark.parametrize(("window", "youngest"), [("1m", 155), ("5m", 153)])
def test_records_sum_to_the_exact_total_in_a_healthy_history(
    window: str, youngest: int, tmp_path: Path
) -> None:
    record = fleet_records.total(sc.METRIC_COST, window)
    exact = f"sum({q.total(q.Names().of(sc.METRIC_COST), '150m')})"
    spent = _spent(youngest - 150, youngest)
    recorded = f"sum(sum_over_time({record}[150m] offset {157 - youngest}m))"
    _check(HEALTHY, [(recorded, "157m", spent), (exact, f"{youngest}m", spent)], tmp_path, window)


def test_the_stat_says_nothing_is_missing_in_a_healthy_history(tmp_path: Path) -> None:
    _check(HEALTHY, [(NOT_RECORDED, "157m", 0)], tmp_path, "1m", fleet_records.COMPARED)


def test_the_stat_waits_for_the_first_comparison(tmp_path: Path) -> None:
    """Nothing is missing while the records are younger than half an hour."""
    _check(HEALTHY, [(f"absent({NOT_RECORDED})", "157m", 1)], tmp_path, "1m")


def test_the_stat_measures_a_hole_in_the_records(tmp_path: Path) -> None:
    """Ten minutes whose samples came after the record was made: 1 a minute, 96 at the count."""
    record = fleet_records.total(sc.METRIC_COST, "1m") + '{job="agents"}'
    history = {
        series(sc.METRIC_COST, COST): "0+1x200",
        record: "_ 1x49 _x10 1x200",
    }
    _check(history, [(NOT_RECORDED, "100m", 1 - 86 / 96)], tmp_path, fleet_records.COMPARED)


def test_the_stat_says_that_nothing_is_recorded(tmp_path: Path) -> None:
    """Where the rules are not loaded, not "no data"."""
    history = {series(sc.METRIC_COST, COST): "0+1x200"}
    _check(history, [(NOT_RECORDED, "100m", 1)], tmp_path)


@pytest.mark.parametrize("window", fleet_records.WINDOWS)
def test_the_age_of_the_last_datum_grows_for_a_day(window: str, tmp_path: Path) -> None:
    """It turns red when nothing arrives, instead of having no data after five minutes."""
    age = AGE.replace(fleet_records.WINDOWS[0], window)
    asked = [(age, f"{minute}m20s", 60.0 * (minute - 999) + 20) for minute in (1000, 1004, 1030)]
    asked += [(age, f"{minute}m20s", 60.0 * (minute - 999) + 20) for minute in (1500, 2400)]
    history = {decision(sc.ALLOW): "0+1x999"}
    _check(history, [*asked, (f"absent({age})", "2500m20s", 1)], tmp_path, window)


LAST_DENIED = next(
    target["expr"]
    for panel in panels(GRAFANA["overview"])
    if panel["title"] == "Denials"
    for target in panel["targets"]
    if target["expr"].startswith("time() - ")
)
#: A counter of denials, refused once in minute 100: samples of a minute each.
DENIED = {
    "a gap": "0x99 1x19 _x14 1x170",
    "asleep": "0x99 1x19 _x94 1x90",
    "ten minutes between exports": "0 _x9 " * 11 + "1 _x9 " * 20,
    "restarted with nothing to tell": "0x99 1x19 _x4 0x180",
    "born and refused": "_x100 1x200",
}


@pytest.mark.parametrize("window", fleet_records.WINDOWS)
@pytest.mark.parametrize("name", DENIED)
def test_when_a_call_was_last_refused_survives_gaps_and_restarts(
    name: str, window: str, tmp_path: Path
) -> None:
    """To the length of a record, and the two minutes that it is behind."""
    arrived = 110 if name.startswith("ten") else 100
    told = fill_in(LAST_DENIED.replace("$__range", "4h").replace(scope.RECORDS, window))
    asked = [
        (f"abs(min({told}) - {60 * (minute - arrived)}) <= bool {8 * 60}", f"{minute}m", 1.0)
        for minute in (*range(arrived + 1, arrived + 15), *range(arrived + 15, 280, 9))
    ]
    _check({hit(sc.KIND_HARD): DENIED[name]}, asked, tmp_path, window)


@pytest.mark.parametrize("name", GRAFANA)
def test_a_chart_from_records_says_so_and_its_points_are_as_far_apart(name: str) -> None:
    found = 0
    asked = [panel["spec"] for panel in PERSES[name]["spec"]["panels"].values()]
    for panel, other in zip(panels(GRAFANA[name]), asked, strict=True):
        targets = panel.get("targets", ())
        if panel["type"] == "timeseries" and any(
            scope.RECORDS in target["expr"] for target in targets
        ):
            found += 1
            assert FROM_RECORDS in panel["description"]
            # Bars a minute apart are noise.
            drawn = panel["fieldConfig"]["defaults"]["custom"]["drawStyle"]
            interval = fleet_records.WINDOWS[-1] if drawn == "bars" else scope.RECORDS
            assert panel["interval"] == interval
            steps = {query["spec"]["plugin"]["spec"]["minStep"] for query in other["queries"]}
            assert steps == {interval}
    assert found > (0 if name == "burndown" else 2)


@pytest.mark.parametrize("name", GRAFANA)
def test_spend_is_asked_exactly_and_the_rest_of_records(name: str) -> None:
    """What shows one number or row a series, and does not read what each process counted."""
    exact = {
        panel["title"]
        for panel in panels(GRAFANA[name])
        for target in panel.get("targets", ())
        if target["instant"] and "$__range" in target["expr"].replace(f"{scope.RANGE}:", "")
        if scope.RECORDS not in target["expr"]
    }
    assert exact == EXACT[name]
    for panel in panels(GRAFANA[name]):
        if panel["title"] in exact:
            assert FROM_RECORDS not in panel["description"]
        elif "Spend by" in panel["title"] or panel["title"] in OF_RECORDS:
            assert FROM_RECORDS in panel["description"]


#: Exceptions and failures are a few series of each process, without tenants.
EXACT = {
    "overview": {"Spend, selected time", "Spend today (UTC)"},
    "drilldown": {"Spend"},
    "burndown": set(),
    "spend": set(),
    "health": set(),
}
OF_RECORDS = {"Refused calls", "Soft limits crossed", "Denials", "Soft limits and denials"}


@pytest.mark.parametrize(("seconds", "window"), [(3600, "1m"), (86400, "1m"), (90000, "5m")])
def test_the_board_reads_coarser_records_of_longer_times(
    seconds: int, window: str, tmp_path: Path
) -> None:
    """The hidden variable's query, as Grafana asks it for a selected time."""
    (records,) = (
        variable
        for variable in GRAFANA["overview"]["templating"]["list"]
        if variable["name"] == scope.RECORDS.removeprefix("$")
    )
    query = records["query"]["query"].removeprefix("query_result(").removesuffix(")")
    assert records["hide"] == 2
    expr = f"sum by (window) ({query.replace('$__range_s', str(seconds))})"
    chosen = f'sum(({expr}) == on (window) label_replace(vector(1), "window", "{window}", "", ""))'
    _check({}, [(chosen, "1m", 1), (f"count({expr})", "1m", 1)], tmp_path)
