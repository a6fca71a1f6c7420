"""A dashboard as Perses' JSON, with the same queries, titles, units, thresholds and variables."""

from __future__ import annotations

import json
from typing import Any, Final

from dashboards.builder.grafana_panels import MIN_INTERVAL
from dashboards.builder.model import (
    Color,
    Dashboard,
    Panel,
    Step,
    Target,
    Unit,
    place,
    table_columns,
)
from dashboards.builder.rules.fleet_records import WINDOWS
from dashboards.builder.scope import ALL_VALUE, RECORDS, VARIABLES, Scope

PROJECT: Final = "otel-budget"
_COLORS: Final[dict[Color, str]] = {
    "blue": "#1f77b4",
    "orange": "#e6700a",
    "red": "#c4162a",
    "purple": "#7b4fa3",
    "grey": "#8a8a8a",
}
#: Pixels that a column of words needs.
_WORDS_WIDTH: Final = 230
_KINDS: Final = {
    "stat": "StatChart",
    "lines": "TimeSeriesChart",
    "bars": "TimeSeriesChart",
    "gauges": "BarChart",
    "table": "Table",
    "text": "Markdown",
}


def render(dashboard: Dashboard, scope: Scope) -> str:
    """The dashboard's JSON, the same for the same description."""
    layouts = []
    for row, title_y, placed in place(dashboard):
        items = [
            {
                "x": x,
                "y": y - title_y - 1,
                "width": panel.width,
                "height": panel.height,
                "content": {"$ref": f"#/spec/panels/{panel.key}"},
            }
            for panel, x, y in placed
        ]
        display = {"title": row.title, "collapse": {"open": True}}
        layouts.append({"kind": "Grid", "spec": {"display": display, "items": items}})
    document = {
        "kind": "Dashboard",
        "metadata": {"name": dashboard.uid, "project": PROJECT},
        "spec": {
            "display": {"name": dashboard.title, "description": dashboard.description},
            "duration": dashboard.start.removeprefix("now-"),
            "refreshInterval": dashboard.refresh,
            "variables": _variables(scope),
            "panels": {panel.key: _panel(panel) for panel in dashboard.panels},
            "layouts": layouts,
        },
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _variables(scope: Scope) -> list[dict[str, Any]]:
    lists: list[dict[str, Any]] = [
        {
            "kind": "ListVariable",
            "spec": {
                "name": variable.name,
                "display": {"name": variable.title},
                "allowMultiple": True,
                "allowAllValue": True,
                "customAllValue": ALL_VALUE,
                "defaultValue": "$__all",
                "sort": "alphabetical-asc",
                "plugin": {
                    "kind": "PrometheusLabelValuesVariable",
                    "spec": {"labelName": variable.label, "matchers": [scope.source(variable)]},
                },
            },
        }
        for variable in VARIABLES
    ]
    records = {
        "name": RECORDS.removeprefix("$"),
        "display": {
            "name": "Records of",
            "description": f"{WINDOWS[0]} for times up to a day, {WINDOWS[1]} for longer ones.",
        },
        "allowMultiple": False,
        "allowAllValue": False,
        "defaultValue": WINDOWS[0],
        "plugin": {"kind": "StaticListVariable", "spec": {"values": list(WINDOWS)}},
    }
    return [*lists, {"kind": "ListVariable", "spec": records}]


def _panel(panel: Panel) -> dict[str, Any]:
    display = {"name": panel.title, "description": panel.description}
    plugin = {"kind": _KINDS[panel.kind], "spec": _spec(panel)}
    spec: dict[str, Any] = {"display": display, "plugin": plugin}
    if panel.targets:
        spec["queries"] = [_query(panel, target) for target in panel.targets]
    return {"kind": "Panel", "spec": spec}


def _query(panel: Panel, target: Target) -> dict[str, Any]:
    query, step = target.timeless or target.expr, panel.interval or MIN_INTERVAL
    spec: dict[str, Any] = {"query": query, "minStep": step}
    if target.legend:
        spec["seriesNameFormat"] = target.legend
    plugin = {"kind": "PrometheusTimeSeriesQuery", "spec": spec}
    return {"kind": "TimeSeriesQuery", "spec": {"plugin": plugin}}


def _format(unit: Unit) -> dict[str, Any]:
    return dict(unit.perses)


def _thresholds(panel: Panel) -> dict[str, Any]:
    if not panel.steps and panel.kind != "stat":
        return {}
    steps = [{"value": step.value, "color": _COLORS[step.color]} for step in panel.steps]
    return {"thresholds": {"mode": "absolute", "defaultColor": _COLORS["blue"], "steps": steps}}


def _spec(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case "stat":
            shown = {"calculation": "last-number", "format": _format(panel.unit)}
            return shown | {"valueFontSize": 28} | _thresholds(panel)
        case "gauges":
            return {"calculation": "last-number", "format": _format(panel.unit), "sort": "desc"}
        case "text":
            return {"text": panel.perses_text}
        case "table":
            return _table(panel)
        case _:
            return _chart(panel)


def _chart(panel: Panel) -> dict[str, Any]:
    visual: dict[str, Any] = {"palette": {"mode": "categorical"}}
    visual |= {"display": "bar", "stack": "all"} if panel.kind == "bars" else {"lineWidth": 1.5}
    axis: dict[str, Any] = {"format": _format(panel.unit), "min": 0}
    if panel.top is not None:
        axis["max"] = panel.top
    position = "right" if panel.legend_right else "bottom"
    legend = {"position": position, "mode": "list", "size": "small"}
    drawn = [{"queryIndex": i} | _drawn(target) for i, target in enumerate(panel.targets)]
    settings = [how for how in drawn if len(how) > 1]
    chart: dict[str, Any] = {"legend": legend, "yAxis": axis, "visual": visual}
    if settings:
        chart["querySettings"] = settings
    return chart | _thresholds(panel)


def _drawn(target: Target) -> dict[str, Any]:
    how: dict[str, Any] = {}
    if target.color:
        how |= {"colorMode": "fixed", "colorValue": _COLORS[target.color]}
    if target.dashed:
        how["lineStyle"] = "dashed"
    return how


def _table(panel: Panel) -> dict[str, Any]:
    several = len(panel.targets) > 1
    values = [f"value #{i}" if several else "value" for i in range(1, len(panel.targets) + 1)]
    words, links = dict(panel.words), {link.column: link for link in panel.links}
    columns: list[dict[str, Any]] = []
    for label, header, index in table_columns(panel):
        column: dict[str, Any] = {"name": label, "header": header, "enableSorting": True}
        if index is not None:
            target = panel.targets[index]
            column |= {"name": values[index], "align": "right"}
            column["format"] = _format(target.unit or panel.unit)
            if index == 0:
                column["sort"] = "desc"
            if target.steps:
                column["cellSettings"] = _steps(target.steps)
        if label in words:
            column["width"] = _WORDS_WIDTH
            column["cellSettings"] = [
                _cell("Regex", {"expr": word.pattern}, word.color) for word in words[label]
            ]
        if label in links:
            link = links[label]
            new = "://" in link.perses
            column["dataLink"] = {"url": link.perses, "title": link.title, "openNewTab": new}
        columns.append(column)
    hidden = [value for value, target in zip(values, panel.targets, strict=True) if target.hidden]
    unseen = ("timestamp", *panel.hidden, *hidden, *([panel.row] if panel.row else []))
    columns += [{"name": name, "hide": True} for name in unseen]
    table: dict[str, Any] = {
        "density": "compact",
        "defaultColumnWidth": "auto",
        "columnSettings": columns,
    }
    if panel.row:
        # Merging alone would tell rows apart by every label, also by one that one query brings.
        labels = (*(label for label, _ in panel.columns if label), *panel.hidden, panel.row)
        table["transforms"] = [
            *({"kind": "MergeIndexedColumns", "spec": {"column": label}} for label in labels),
            {"kind": "JoinByColumnValue", "spec": {"columns": [panel.row]}},
        ]
    elif several:
        table["transforms"] = [{"kind": "MergeSeries", "spec": {}}]
    return table


def _cell(kind: str, spec: dict[str, Any], color: Color) -> dict[str, Any]:
    condition = {"kind": kind, "spec": spec}
    return {"condition": condition, "textColor": "#ffffff", "backgroundColor": _COLORS[color]}


def _steps(steps: tuple[Step, ...]) -> list[dict[str, Any]]:
    """The highest first: the first that holds counts."""
    return [_cell("Range", {"min": step.value}, step.color) for step in reversed(steps)]
