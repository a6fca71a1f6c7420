"""Every alert has its page, every page its alert; what the pages say exists."""

from __future__ import annotations

import re

import promql_parser
import pytest

from dashboards.builder import thresholds
from dashboards.builder.queries import Names
from dashboards.builder.rules import alert_model, rule_groups
from support.paths import ROOT
from test_dashboards import COLLECTOR, GRAFANA, panels, series_names

FOLDER = ROOT / "docs" / "runbooks"
GROUPS = rule_groups.groups(thresholds.load(), Names())
ALERTS = {
    rule.alert for group in GROUPS for rule in group.rules if isinstance(rule, alert_model.Alert)
}
RECORDS = {
    rule.record for group in GROUPS for rule in group.rules if isinstance(rule, alert_model.Record)
}
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
    (query,) = re.findall(r"```promql\n(.+?)```", page, re.DOTALL)
    promql_parser.parse(query)
    names = set(re.findall(r"\b(?:otelcol_\w+|llm_budget:[\w:]+|budget_\w+_total)", query))
    names |= set(re.findall(r"budget_guard_duration\w+", query))
    assert names
    assert names <= set(series_names()) | RECORDS | COLLECTOR
    assert "- Jaeger: " in page
    assert set(re.findall(r"\bLLMBudget\w+", page)) <= ALERTS
    titles = {dashboard["title"]: dashboard for dashboard in GRAFANA.values()}
    named = re.findall(r"`(LLM budgets: [^`]+)`", page)
    assert named
    shown = {panel["title"] for name in named for panel in panels(titles[name])}
    line = next(line for line in page.splitlines() if line.startswith("- Dashboard: "))
    for title in re.findall(r"\*([^*]+)\*", line):
        assert any(panel.startswith(title) for panel in shown), title
