"""A dashboard as Perses' JSON, with the same queries, titles, units, thresholds and variables."""

from __future__ import annotations

import json
from typing import Any, Final

from dashboards.builder.grafana import MIN_INTERVAL
from dashboards.builder.model import (
    COUNT,
    Dashboard,
    Panel,
    Target,
    Unit,
    place,
)
from dashboards.builder.rules.fleet_records import WINDOWS
from dashboards.builder.scope import ALL_VALUE, JAEGER_DEFAULT, RECORDS, VARIABLES, Scope

PROJECT: Final = "otel-budget"
_COLORS: Final = {"blue": "#1f77b4", "orange": "#e6700a", "red": "#c4162a", "purple": "#7b4fa3"}
#: Perses draws classic histograms as lines only.
_KINDS: Final = {
    "stat": "StatChart",
    "lines": "TimeSeriesChart",
    "bars": "TimeSeriesChart",
    "gauges": "BarChart",
    "table": "Table",
    "heatmap": "TimeSeriesChart",
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
            "duration": "6h",
            "refreshInterval": "0s",
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
    jaeger = {"name": "jaeger", "display": {"name": "Jaeger"}, "value": JAEGER_DEFAULT}
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
    return [
        *lists,
        {"kind": "ListVariable", "spec": records},
        {"kind": "TextVariable", "spec": jaeger},
    ]


def _panel(panel: Panel) -> dict[str, Any]:
    display = {"name": panel.title, "description": panel.description}
    plugin = {"kind": _KINDS[panel.kind], "spec": _spec(panel)}
    spec: dict[str, Any] = {"display": display, "plugin": plugin}
    if panel.targets:
        spec["queries"] = [_query(panel, target) for target in panel.targets]
    if links := [link for link in panel.links if not link.column]:
        spec["links"] = [
            {"name": link.title, "url": link.url, "renderVariables": True, "targetBlank": True}
            for link in links
        ]
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
            return {"text": panel.text}
        case "table":
            return _table(panel)
        case _:
            return _chart(panel)


def _chart(panel: Panel) -> dict[str, Any]:
    # The categorical palette has few colours: enough for tenants, not for a histogram's bounds.
    palette = "auto" if panel.kind == "heatmap" else "categorical"
    visual: dict[str, Any] = {"palette": {"mode": palette}}
    visual |= {"display": "bar", "stack": "all"} if panel.kind == "bars" else {"lineWidth": 1.5}
    # A heatmap's unit is that of its bounds; drawn as lines, the values are answers.
    unit = COUNT if panel.kind == "heatmap" else panel.unit
    axis: dict[str, Any] = {"format": _format(unit), "min": 0}
    if panel.top is not None:
        axis["max"] = panel.top
    position = "right" if panel.legend_right else "bottom"
    legend = {"position": position, "mode": "list", "size": "small"}
    colors = [
        {"queryIndex": i, "colorMode": "fixed-single", "colorValue": _COLORS[target.color]}
        for i, target in enumerate(panel.targets)
        if target.color
    ]
    chart: dict[str, Any] = {"legend": legend, "yAxis": axis, "visual": visual}
    if colors:
        chart["querySettings"] = colors
    return chart | _thresholds(panel)


def _table(panel: Panel) -> dict[str, Any]:
    columns: list[dict[str, Any]] = [
        {"name": label, "header": header, "enableSorting": True} for label, header in panel.columns
    ]
    several = len(panel.targets) > 1
    for index, target in enumerate(panel.targets, start=1):
        columns.append(
            {
                "name": f"value #{index}" if several else "value",
                "header": target.header,
                "align": "right",
                "enableSorting": True,
                "format": _format(target.unit or panel.unit),
                **({"sort": "desc"} if index == 1 else {}),
            }
        )
    columns += [{"name": name, "hide": True} for name in ("timestamp", *panel.hidden)]
    table: dict[str, Any] = {
        "density": "compact",
        "defaultColumnWidth": "auto",
        "columnSettings": columns,
    }
    if several:
        table["transforms"] = [{"kind": "MergeSeries", "spec": {}}]
    return table
