"""A dashboard as Grafana's classic JSON, schemaVersion 42 (read by Grafana 11 and later)."""

from __future__ import annotations

import json
from typing import Any, Final

from dashboards.builder import grafana_panels
from dashboards.builder.grafana_panels import DATASOURCE, MIN_INTERVAL
from dashboards.builder.model import Annotation, Dashboard, place
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
REFRESHES: Final = ("1m", "5m", "15m", "1h")


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
            panels.append(
                {"id": len(panels) + 1, "gridPos": position} | grafana_panels.panel_json(panel)
            )
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
        "time": {"from": dashboard.start, "to": dashboard.end},
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
        "annotations": {"list": [_annotation(each) for each in dashboard.annotations]},
        "templating": {"list": _variables(scope)},
        "panels": panels,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _annotation(described: Annotation) -> dict[str, Any]:
    return {
        "name": described.name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": described.color,
        "expr": escaped(described.expr),
        "step": MIN_INTERVAL,
        "titleFormat": described.name,
        "textFormat": described.text,
    }


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
                "datasource": DATASOURCE,
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
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "regex": '/window="([^"]+)"/',
        "refresh": 2,
        "sort": 0,
        "multi": False,
        "includeAll": False,
        "current": {"selected": True, "text": fine, "value": fine},
    }
