"""Every alert has its page, every page its alert; what the pages say exists."""

from __future__ import annotations

import re
from pathlib import Path

import promql_parser
import pytest
import yaml

import rule_cases as cases
from dashboards.builder import thresholds
from dashboards.builder.queries import Names
from dashboards.builder.rules import alert_model, pipeline_alerts, rule_groups
from promtool import promtool
from support.paths import ROOT
from test_dashboards import COLLECTOR, GRAFANA, panels, series_names

RULES = ROOT / "collector" / "prometheus" / "rules"
FOLDER = ROOT / "docs" / "runbooks"
GROUPS = rule_groups.groups(thresholds.load(), Names())
ALERTS = {
    rule.alert for group in GROUPS for rule in group.rules if isinstance(rule, alert_model.Alert)
}
RECORDS = {
    rule.record for group in GROUPS for rule in group.rules if isinstance(rule, alert_model.Record)
}
#: What Prometheus and Alertmanager tell of themselves.
PROGRAMS = {
    "ALERTS",
    pipeline_alerts.UP,
    pipeline_alerts.EVALUATION_FAILURES,
    pipeline_alerts.SENDING_FAILURES,
    pipeline_alerts.DROPPED,
    pipeline_alerts.NOTIFICATION_FAILURES,
}
#: Groups about the guard, the telemetry and what carries it.
HEALTH = {"llm-budget-guard", "llm-budget-telemetry", "llm-budget-pipeline"}
HEALTH_ALERTS = sorted(
    rule.alert
    for group in GROUPS
    for rule in group.rules
    if group.name in HEALTH and isinstance(rule, alert_model.Alert)
)
SECTIONS = ["What it means", "How to look", "What to do", "When to ignore it"]


def test_alerts_and_pages_are_paired() -> None:
    pages = {page.stem for page in FOLDER.glob("*.md")} - {"README"}
    assert pages == ALERTS
    linked = set(re.findall(r"\((\w+)\.md\)", (FOLDER / "README.md").read_text()))
    assert linked == ALERTS


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_a_page_names_only_what_exists(alert: str) -> None:
    page = (FOLDER / f"{alert}.md").read_text()
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS
    query = _query(page)
    promql_parser.parse(query)
    names = set(
        re.findall(r"\b(?:otelcol_\w+|llm_budget:[\w:]+|budget_\w+_total|budget_clock\w+)", query)
    )
    names |= set(re.findall(r"\b(?:up|ALERTS|(?:prometheus|alertmanager)_\w+_total)\b", query))
    names |= set(re.findall(r"budget_guard_duration\w+", query))
    assert names
    assert names <= set(series_names()) | RECORDS | COLLECTOR | PROGRAMS | {alert_model.EXPECTED}
    assert "- Jaeger: " in page
    assert set(re.findall(r"\bLLMBudget\w+", page)) <= ALERTS
    titles = {dashboard["title"]: dashboard for dashboard in GRAFANA.values()}
    named = re.findall(r"`(LLM budgets: [^`]+)`", page)
    assert named
    shown = {panel["title"] for name in named for panel in panels(titles[name])}
    line = next(line for line in page.splitlines() if line.startswith("- Dashboard: "))
    for title in re.findall(r"\*([^*]+)\*", line):
        assert any(panel.startswith(title) for panel in shown), title


@pytest.mark.parametrize("alert", HEALTH_ALERTS)
def test_a_page_asks_for_the_last_minutes_and_knows_a_way_without_jaeger(alert: str) -> None:
    page = (FOLDER / f"{alert}.md").read_text()
    assert re.search(r"\[(10|15|30)m\]|\[1d:5m\]", _query(page))
    assert "- Without Jaeger: " in page


@pytest.mark.parametrize("alert", HEALTH_ALERTS)
def test_a_pages_query_shows_what_fires_and_not_what_is_over(alert: str, tmp_path: Path) -> None:
    """While the alert fires there is something to see; half an hour later it is gone."""
    query = _query((FOLDER / f"{alert}.md").read_text())
    mine = [case for case in cases.CASES if case.alert == alert]
    asked = [(next(case for case in mine if case.fires), 1)]
    asked += [(case, 0) for case in mine if case.name == "stops when it is over"]
    groups = [
        {
            "interval": case.step,
            "input_series": [{"series": name, "values": v} for name, v in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": f"count({query}) > bool 0 or vector(0)",
                    "eval_time": case.at,
                    "exp_samples": [{"labels": "{}", "value": shown}],
                }
            ],
        }
        for case, shown in asked
    ]
    rules = [str(RULES / f"{name}.yml") for name in sorted(HEALTH)]
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": rules, "tests": groups}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def _query(page: str) -> str:
    (query,) = re.findall(r"```promql\n(.+?)```", page, re.DOTALL)
    return str(query)
