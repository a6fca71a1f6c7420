"""Where cells lead, and what colours mean: in the files of Grafana and of Perses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from test_dashboards import GRAFANA, PERSES, drop_downs, panels

#: The page's board of traces, whose file another program writes.
OTHER_BOARDS = {"traces"}
FIELD = re.compile(r'\$\{__data\.fields\["([^"]+)"\]')


def _grafana_links() -> Iterator[tuple[str, dict[str, Any], str]]:
    for name, board in GRAFANA.items():
        for panel in panels(board):
            for override in panel.get("fieldConfig", {}).get("overrides", ()):
                for each in override["properties"]:
                    if each["id"] == "links":
                        yield name, panel, each["value"][0]["url"]


def _perses_columns() -> Iterator[tuple[str, list[dict[str, Any]], dict[str, Any]]]:
    for name, board in PERSES.items():
        for panel in board["spec"]["panels"].values():
            columns = panel["spec"]["plugin"]["spec"].get("columnSettings", ())
            for column in columns:
                yield name, columns, column


def test_a_cell_of_grafana_opens_a_board_that_exists_with_what_its_row_says() -> None:
    boards = {board["uid"]: {v["name"] for v in drop_downs(board)} for board in GRAFANA.values()}
    opened = set()
    for name, panel, url in _grafana_links():
        headers = panel["transformations"][-1]["options"]["renameByName"].values()
        assert set(FIELD.findall(url)) <= set(headers), url
        assert url.count("${__data.fields") == url.count(":percentencode}")
        if url.startswith("${jaeger}"):
            continue
        uid, _, query = url.removeprefix("/d/").partition("?")
        assert set(re.findall(r"var-(\w+)=", query)) <= boards[uid]
        opened.add((name, panel["title"], uid))
    for title in ("Budgets, most urgent first", "Denials", "Spend by tenant", "Spend by user"):
        assert ("overview", title, "otel-budget-drilldown") in opened


def test_a_cell_of_perses_opens_the_same() -> None:
    boards = {board["metadata"]["name"] for board in PERSES.values()}
    links = 0
    for name, columns, column in _perses_columns():
        if "dataLink" not in column:
            continue
        links += name == "overview"
        url = column["dataLink"]["url"]
        assert url.partition("?")[0] in boards | OTHER_BOARDS
        known = {each["name"] for each in columns if not each.get("hide")}
        assert set(FIELD.findall(url)) <= known, url
        assert column["name"] in (*FIELD.findall(url), "verdict")
    assert links == sum(name == "overview" for name, _, _ in _grafana_links())


def test_the_table_of_budgets_has_the_same_colours_in_both() -> None:
    """Shares by the thresholds, on a scale to 100 %, and verdicts by their words."""
    (table,) = (p for p in panels(GRAFANA["overview"]) if p["title"].startswith("Budgets, most"))
    settings: dict[str, dict[str, Any]] = defaultdict(dict)
    for override in table["fieldConfig"]["overrides"]:
        for each in override["properties"]:
            settings[override["matcher"]["options"]][each["id"]] = each["value"]
    spec = PERSES["overview"]["spec"]["panels"]["budgets_table"]["spec"]["plugin"]["spec"]
    conditions = {
        column["header"]: [each["condition"]["spec"] for each in column["cellSettings"]]
        for column in spec["columnSettings"]
        if "cellSettings" in column
    }
    assert set(conditions) == {"Used", "At reset", "Verdict"}
    for header in ("Used", "At reset"):
        steps = [step["value"] for step in settings[header]["thresholds"]["steps"][1:]]
        assert [each["min"] for each in conditions[header]] == steps[::-1] == [1.0, 0.8]
        assert (settings[header]["min"], settings[header]["max"]) == (0, 1)
    words = [each["options"]["pattern"][1:-1] for each in settings["Verdict"]["mappings"]]
    assert [each["expr"] for each in conditions["Verdict"]] == words


@pytest.mark.parametrize("boards", [GRAFANA, PERSES], ids=["grafana", "perses"])
def test_a_colour_has_one_meaning(boards: dict[str, Any]) -> None:
    """Whatever is called the same has the same colour, on every board."""
    colors: dict[str, set[str]] = defaultdict(set)
    for board in boards.values():
        if boards is GRAFANA:
            for panel in panels(board):
                for override in panel.get("fieldConfig", {}).get("overrides", ()):
                    if override["matcher"]["id"] == "byFrameRefID":
                        target = panel["targets"][ord(override["matcher"]["options"]) - ord("A")]
                        for each in override["properties"]:
                            if each["id"] == "color":
                                colors[target["legendFormat"]].add(each["value"]["fixedColor"])
            continue
        for panel in board["spec"]["panels"].values():
            for setting in panel["spec"]["plugin"]["spec"].get("querySettings", ()):
                query = panel["spec"]["queries"][setting["queryIndex"]]["spec"]["plugin"]["spec"]
                if "colorValue" in setting:
                    colors[query["seriesNameFormat"]].add(setting["colorValue"])
    assert all(len(found) == 1 for found in colors.values()), colors
    assert colors["refused"] == colors["hard"] == colors["exhausted"]
    assert colors["above a soft limit"] == colors["soft"]
