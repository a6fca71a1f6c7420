"""The two ledgers over a night: which alerts fire for each guard, and that no other does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

import history
from dashboards.builder.labels import TENANT
from guard_model import run
from ledger_scenarios import SCENARIOS, Scenario
from otel_budget import semconv as sc
from promtool import promtool
from rule_cases.case import series
from support.paths import ROOT

RULES = ROOT / "collector" / "prometheus" / "rules" / "llm-budget-ledgers.yml"
HOURS = sorted({scenario.hours for scenario in SCENARIOS})


def samples(scenario: Scenario) -> dict[str, str]:
    """What the processes export, as promtool writes series: a sample a minute, or none.

    The tenant is the scenario's name, so that many stand side by side in one Prometheus.
    """
    found: dict[str, list[str]] = {}
    first, last = (hour * 60 for hour in scenario.hours)
    for minute, process, points in run(scenario.processes(), range(first, last)):
        for (metric, pairs), value in points.items():
            attributes = dict(pairs)
            if sc.TENANT in attributes:
                attributes[sc.TENANT] = scenario.name
            name = series(metric, attributes, instance=process.instance, job=process.job)
            values = found.setdefault(name, [])
            values += ["_"] * (minute - first - len(values))
            values.append(f"{value:.6g}")
    return {name: " ".join(values) for name, values in found.items()}


def _demo() -> dict[str, str]:
    """The made-up history that the pictures show, which begins at nine."""
    known = {metric.name: metric for metric in sc.METRICS if metric.kind != "histogram"}
    found: dict[str, list[str]] = {}
    for minute, payload in enumerate(history.payloads(0)):
        (scope,) = payload["resourceMetrics"][0]["scopeMetrics"]
        for metric in scope["metrics"]:
            if metric["name"] not in known:
                continue
            for point in metric.get("gauge", metric.get("sum"))["dataPoints"]:
                attributes = {a["key"]: a["value"]["stringValue"] for a in point["attributes"]}
                values = found.setdefault(series(known[metric["name"]], attributes), [])
                values += ["_"] * (minute - len(values))
                values.append(f"{point['asDouble']:.6g}")
    return {name: " ".join(values) for name, values in found.items()}


def complaint(scenarios: Iterable[Scenario], hours: tuple[int, int], directory: Path) -> str:
    """What promtool says of the alerts that ever fired; empty if they are the right ones."""
    chosen = [scenario for scenario in scenarios if scenario.hours == hours]
    expected = [
        {"labels": f'{{alertname="{alert}", {TENANT}="{scenario.name}"}}', "value": 1}
        for scenario in chosen
        for alert in scenario.fires
    ]
    told = {name: values for scenario in chosen for name, values in samples(scenario).items()}
    return _complaint(told, hours, expected, directory)


def _complaint(
    told: dict[str, str], hours: tuple[int, int], expected: list[dict[str, Any]], directory: Path
) -> str:
    ever = 'count_over_time(ALERTS{alertstate="firing",severity!="none"}[2d])'
    group = {
        "interval": "1m",
        "start_timestamp": hours[0] * 3600,
        "input_series": [{"series": name, "values": values} for name, values in told.items()],
        "promql_expr_test": [
            {
                "expr": f"group by (alertname, {TENANT}) ({ever})",
                "eval_time": f"{hours[1] - hours[0]}h",
                "exp_samples": expected,
            }
        ],
    }
    file = directory / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [group]}))
    done = promtool("test", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("hours", HOURS)
def test_exactly_the_right_alerts_fire(hours: tuple[int, int], tmp_path: Path) -> None:
    assert complaint(SCENARIOS, hours, tmp_path) == ""


def test_the_demo_history_is_healthy(tmp_path: Path) -> None:
    told = _demo()
    assert any("budget_consumed" in name for name in told)
    assert _complaint(told, (9, 9 + history.HOURS), [], tmp_path) == ""


def test_a_scenario_that_fires_otherwise_fails(tmp_path: Path) -> None:
    """The check itself: a broken guard that is said to be healthy must be refused."""
    broken = next(scenario for scenario in SCENARIOS if scenario.fires)
    turned = Scenario(broken.name, broken.processes)
    assert broken.name in complaint([turned], turned.hours, tmp_path)


def test_scenarios_have_names_of_their_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
