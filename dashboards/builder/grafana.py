"""A dashboard as Grafana's classic JSON, schemaVersion 42 (read by Grafana 11 and later)."""

from __future__ import annotations

import json
from typing import Any, Final

from dashboards.builder.model import (
    Dashboard,
    Panel,
    Target,
    Unit,
    place,
)
from dashboards.builder.rules.fleet_records import WINDOWS
from dashboards.builder.scope import (
    ALL_VALUE,
    FINE_UP_TO,
    JAEGER_DEFAULT,
    RECORDS,
    VARIABLES,
    Scope,
    escaped,
)

SCHEMA_VERSION: Final = 42
TAG: Final = "otel-budget"
#: The shortest interval of a chart: the default export interval of the SDK.
MIN_INTERVAL: Final = "1m"
REFRESHES: Final = ("1m", "5m", "15m", "1h")
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_TYPES: Final = {
    "stat": "stat",
    "lines": "timeseries",
    "bars": "timeseries",
    "gauges": "bargauge",
    "table": "table",
    "heatmap": "heatmap",
    "text": "text",
}
_NOW: Final = ("stat", "gauges", "table")


def render(dashboard: Dashboard, scope: Scope) -> str:
    """The dashboard's JSON, the same for the same description."""
    panels: list[dict[str, Any]] = []
    for row, title_y, placed in place(dashboard):
        panels.append(
            {
                "type": "row",
                "id": len(panels) + 1,
                "title": row.title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": title_y},
                "panels": [],
            }
        )
        for panel, x, y in placed:
            position = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            panels.append({"id": len(panels) + 1, "gridPos": position} | _panel(panel))
    document = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        # Budgets reset, and days begin, at midnight UTC.
        "timezone": "utc",
        "refresh": dashboard.refresh,
        # Nobody needs to ask a fleet's week every five seconds: the records are a minute apart.
        "timepicker": {"refresh_intervals": list(REFRESHES)},
        "time": {"from": "now-6h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "Budgets",
                "tags": [TAG],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "annotations": {"list": []},
        "templating": {"list": _variables(scope)},
        "panels": panels,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _variables(scope: Scope) -> list[dict[str, Any]]:
    source: dict[str, Any] = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data Source",
        "query": "prometheus",
        "refresh": 1,
    }
    jaeger: dict[str, Any] = {
        "type": "textbox",
        "name": "jaeger",
        "label": "Jaeger",
        "query": JAEGER_DEFAULT,
        "current": {"text": JAEGER_DEFAULT, "value": JAEGER_DEFAULT},
    }
    chosen: list[dict[str, Any]] = []
    for variable in VARIABLES:
        query = f"label_values({escaped(scope.source(variable))}, {variable.label})"
        chosen.append(
            {
                "type": "query",
                "name": variable.name,
                "label": variable.title,
                "datasource": _DATASOURCE,
                "definition": query,
                "query": {"query": query, "refId": variable.name},
                "refresh": 2,
                "sort": 1,
                "multi": True,
                "includeAll": True,
                "allValue": ALL_VALUE,
                "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            }
        )
    return [source, *chosen, _records(), jaeger]


def _records() -> dict[str, Any]:
    """Chooses by the selected time, hidden: Grafana asks again when it changes."""
    fine, coarse = WINDOWS
    query = (
        f'query_result(label_replace(vector(1), "window", "{fine}", "", "") '
        f"and on () (vector($__range_s) <= {FINE_UP_TO}) "
        f'or label_replace(vector(1), "window", "{coarse}", "", "") '
        f"and on () (vector($__range_s) > {FINE_UP_TO}))"
    )
    name = RECORDS.removeprefix("$")
    return {
        "type": "query",
        "name": name,
        "label": "Records",
        "hide": 2,
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "regex": '/window="([^"]+)"/',
        "refresh": 2,
        "sort": 0,
        "multi": False,
        "includeAll": False,
        "current": {"selected": True, "text": fine, "value": fine},
    }


def _panel(panel: Panel) -> dict[str, Any]:
    common: dict[str, Any] = {
        "type": _TYPES[panel.kind],
        "title": panel.title,
        "description": panel.description,
    }
    if panel.kind == "text":
        return common | {"options": {"mode": "markdown", "content": panel.text}}
    links = [
        {"title": link.title, "url": link.url, "targetBlank": True}
        for link in panel.links
        if not link.column
    ]
    if panel.today:
        common["timeFrom"] = "now/d"
    return common | {
        "datasource": _DATASOURCE,
        "interval": panel.interval or MIN_INTERVAL,
        "targets": [_target(panel, target, i) for i, target in enumerate(panel.targets)],
        "fieldConfig": {
            "defaults": _defaults(panel) | {"links": links},
            "overrides": _overrides(panel),
        },
        "options": _options(panel),
        "transformations": _transformations(panel),
    }


def _ref(index: int) -> str:
    return chr(ord("A") + index)


def _target(panel: Panel, target: Target, index: int) -> dict[str, Any]:
    formats = {"table": "table", "heatmap": "heatmap"}
    return {
        "refId": _ref(index),
        "datasource": _DATASOURCE,
        "editorMode": "code",
        "expr": escaped(target.expr),
        "legendFormat": target.legend or "__auto",
        "format": formats.get(panel.kind, "time_series"),
        "instant": panel.kind in _NOW,
        "range": panel.kind not in _NOW,
        "exemplar": target.exemplar,
    }


def _unit(unit: Unit) -> dict[str, Any]:
    known: dict[str, Any] = {"unit": unit.grafana}
    return known if unit.decimals is None else known | {"decimals": unit.decimals}


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "blue", "value": None}]
    steps += [{"color": step.color, "value": step.value} for step in panel.steps]
    defaults: dict[str, Any] = _unit(panel.unit) | {
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {
            "mode": "thresholds" if panel.kind in ("stat", "gauges", "table") else "palette-classic"
        },
        # Unknown is not 0.
        "noValue": "no data",
    }
    if panel.kind != "table":
        defaults["min"] = 0
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.kind == "lines":
        style = "line" if panel.steps else "off"
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 2,
            "fillOpacity": 8,
            "showPoints": "auto",
            "spanNulls": False,
            "thresholdsStyle": {"mode": style},
        }
    if panel.kind == "bars":
        defaults["custom"] = {
            "drawStyle": "bars",
            "lineWidth": 1,
            "fillOpacity": 80,
            "stacking": {"mode": "normal", "group": "A"},
        }
    if panel.kind == "table":
        defaults["custom"] = {"align": "auto", "filterable": True}
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {
                "reduceOptions": reduce,
                "colorMode": "value",
                "graphMode": "none",
                "textMode": "value",
                "justifyMode": "auto",
            }
        case "gauges":
            return {
                "reduceOptions": reduce,
                "displayMode": "basic",
                "orientation": "horizontal",
                "showUnfilled": True,
                "valueMode": "color",
            }
        case "table":
            return {"showHeader": True, "cellHeight": "sm"}
        case "heatmap":
            return {
                "calculate": False,
                "yAxis": {"unit": panel.unit.grafana},
                "color": {"mode": "scheme", "scheme": "Blues", "steps": 32},
                "cellGap": 1,
                "legend": {"show": True},
                "tooltip": {"mode": "single", "yHistogram": True},
                "exemplars": {"color": "orange"},
            }
        case _:
            return {
                "legend": {
                    "showLegend": True,
                    "displayMode": "table",
                    "placement": "right" if panel.legend_right else "bottom",
                    "calcs": ["lastNotNull"] if panel.kind == "lines" else ["sum"],
                },
                "tooltip": {"mode": "multi", "sort": "desc"},
            }


def _value_columns(panel: Panel) -> list[tuple[str, Target]]:
    """The column of each query's value in a table, by Grafana's name."""
    if len(panel.targets) == 1:
        return [("Value", panel.targets[0])]
    return [(f"Value #{_ref(i)}", target) for i, target in enumerate(panel.targets)]


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind != "table":
        return []
    names = dict(panel.columns) | {name: target.header for name, target in _value_columns(panel)}
    organize = {
        "id": "organize",
        "options": {
            "excludeByName": dict.fromkeys(("Time", *panel.hidden), True),
            "indexByName": {name: index for index, name in enumerate(names)},
            "renameByName": names,
        },
    }
    return [{"id": "merge", "options": {}}, organize] if len(panel.targets) > 1 else [organize]


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    overrides: list[dict[str, Any]] = []
    if panel.kind == "table":
        for index, (_, target) in enumerate(_value_columns(panel)):
            unit = target.unit or panel.unit
            properties = [{"id": key, "value": value} for key, value in _unit(unit).items()]
            if index == 0 and panel.steps:
                cell = {"type": "color-text"}
                properties.append({"id": "custom.cellOptions", "value": cell})
            overrides.append(
                {"matcher": {"id": "byName", "options": target.header}, "properties": properties}
            )
    for target in panel.targets:
        if target.color:
            fixed = {"mode": "fixed", "fixedColor": target.color}
            overrides.append(
                {
                    "matcher": {"id": "byName", "options": target.legend},
                    "properties": [{"id": "color", "value": fixed}],
                }
            )
    for link in panel.links:
        if link.column:
            value = [{"title": link.title, "url": link.url, "targetBlank": True}]
            overrides.append(
                {
                    "matcher": {"id": "byName", "options": link.column},
                    "properties": [{"id": "links", "value": value}],
                }
            )
    return overrides
