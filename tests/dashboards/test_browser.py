"""The dashboards in a real browser: every panel asked, was answered, and says so."""

from __future__ import annotations

import json
import re
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

import history
import scenario
from browser import NAMES, PERSES, check, needs_browser, view, wait_for_the_minute
from collector.stack import PROGRAMS, Stack
from dashboards.web.serve import serving
from panel_queries import recorded_decisions
from promtool import backend

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    """A Prometheus that has six hours of history, and the scenario at their end."""
    needs_browser()
    for program in PROGRAMS:
        backend(program)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(Path(directory), interval=5) as stack,
    ):
        history.send(stack.otlp_http)
        books, process = scenario.run(stack.otlp_grpc)
        with scenario.kept_alive(process):
            expected = sum(books.decisions.values())
            assert recorded_decisions(stack.prometheus, expected) >= expected
            wait_for_the_minute()
            yield stack.prometheus


def test_every_panel_is_drawn_with_all_and_with_one_tenant(prometheus: str, tmp_path: Path) -> None:
    """On a wide screen by day, and with All also on a telephone by night."""
    views = [view(name, tenant) for name in NAMES for tenant in ("", "globex")]
    views += [view(name) | {"narrow": True} for name in NAMES]
    with serving(prometheus) as address:
        found = check(address, views, chromium=needs_browser(), pictures=tmp_path)
    problems = {(board["name"], board["chosen"], *board["problems"]) for board in found}
    assert problems == {(name, chosen) for name in NAMES for chosen in ("All", "globex")}
    for board in found:
        asked = json.loads((PERSES / f"{board['name']}.json").read_text())["spec"]["panels"]
        assert board["asked"] == sum(
            len(panel["spec"].get("queries", ())) for panel in asked.values()
        )
    assert len(list(tmp_path.glob("*.png"))) == len(views)


@pytest.mark.parametrize(
    ("text", "board", "chosen"),
    [("globex", "drilldown", {"tenant": "globex"}), ("exhausted for", "burndown", None)],
)
def test_a_cell_opens_what_it_says(
    prometheus: str, text: str, board: str, chosen: dict[str, str] | None
) -> None:
    """A tenant opens the drill-down with it, a verdict the budget's page."""
    followed = view("overview") | {"file": str(PERSES / f"{board}.json"), "follow": text}
    with serving(prometheus) as address:
        (found,) = check(address, [followed], chromium=needs_browser())
    assert found["problems"] == []
    opened = urllib.parse.urlsplit(found["opened"])
    parameters = dict(urllib.parse.parse_qsl(opened.query))
    assert opened.path == f"/{board}"
    expected = chosen or {"tenant": "acme", "resource": "llm_cost_usd"}
    assert {name: parameters[f"var-{name}"] for name in expected} == expected
    asked = [query for query in found["seen"] if "budget_tenant=~" in query]
    assert asked
    chosen_tenant = re.compile(rf"budget_tenant=~`\(?{expected['tenant']}\)?`")
    assert [query for query in asked if not chosen_tenant.search(query)] == []


def test_a_broken_dashboard_fails_by_name(prometheus: str, tmp_path: Path) -> None:
    """The check itself: bad PromQL, a metric nobody emits, a variable nobody defines."""
    broken = json.loads((PERSES / "overview.json").read_text())
    panels = broken["spec"]["panels"]
    for key, query in (
        ("spend_hour", "sum(("),
        ("refused", "sum(budget_nobody_emits_total)"),
        ("tokens_model", ""),
        ("unpriced", 'sum(budget_calls_total{budget_tenant=~"$nobody"})'),
    ):
        panels[key]["spec"]["queries"][0]["spec"]["plugin"]["spec"]["query"] = query
    panels["cache_share"]["spec"]["plugin"]["kind"] = "NoSuchChart"
    (tmp_path / "overview.json").write_text(json.dumps(broken))
    with serving(prometheus, dashboards=tmp_path) as address:
        (found,) = check(address, [view("overview", folder=tmp_path)], chromium=needs_browser())
    problems = "\n".join(found["problems"])
    assert "Spend, last hour (query 1): answered 400" in problems
    assert "Refused calls (query 1): empty" in problems
    assert "$nobody was not filled in" in problems
    assert "Tokens by model (query 1): never asked" in problems
    assert "A NoSuchChart plugin for kind 'Panel' is not installed" in problems
    assert "Spend by tenant" not in problems
