"""A panel as Grafana's classic JSON."""

from __future__ import annotations

from typing import Any, Final

from dashboards.builder.model import SHARE, Color, Panel, Step, Target, Unit, table_columns
from dashboards.builder.scope import escaped

#: The shortest interval of a chart: the default export interval of the SDK.
MIN_INTERVAL: Final = "1m"
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_TYPES: Final = {
    "stat": "stat",
    "lines": "timeseries",
    "bars": "timeseries",
    "gauges": "bargauge",
    "table": "table",
    "text": "text",
}
_NOW: Final = ("stat", "gauges", "table")
#: Where Grafana has no name for a colour.
_COLORS: Final = {"grey": "#808080"}


def panel_json(panel: Panel) -> dict[str, Any]:
    """The panel without its place."""
    common: dict[str, Any] = {
        "type": _TYPES[panel.kind],
        "title": panel.title,
        "description": panel.description,
    }
    if panel.kind == "text":
        return common | {"options": {"mode": "markdown", "content": panel.text}}
    if panel.today:
        common["timeFrom"] = "now/d"
    return common | {
        "datasource": DATASOURCE,
        "interval": panel.interval or MIN_INTERVAL,
        "targets": [_target(panel, target, i) for i, target in enumerate(panel.targets)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
        "transformations": _transformations(panel),
    }


def _ref(index: int) -> str:
    return chr(ord("A") + index)


def _target(panel: Panel, target: Target, index: int) -> dict[str, Any]:
    return {
        "refId": _ref(index),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": escaped(target.expr),
        "legendFormat": target.legend or "__auto",
        "format": "table" if panel.kind == "table" else "time_series",
        "instant": panel.kind in _NOW,
        "range": panel.kind not in _NOW,
        "exemplar": target.exemplar,
    }


def _unit(unit: Unit) -> dict[str, Any]:
    known: dict[str, Any] = {"unit": unit.grafana}
    return known if unit.decimals is None else known | {"decimals": unit.decimals}


def _color(name: Color) -> str:
    return _COLORS.get(name, name)


def _thresholds(steps: tuple[Step, ...]) -> dict[str, Any]:
    known: list[dict[str, Any]] = [{"color": "blue", "value": None}]
    known += [{"color": _color(step.color), "value": step.value} for step in steps]
    return {"mode": "absolute", "steps": known}


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = _unit(panel.unit) | {
        "thresholds": _thresholds(panel.steps),
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


def _value_column(panel: Panel, index: int) -> str:
    """Grafana's name of a query's number in a table."""
    return "Value" if len(panel.targets) == 1 else f"Value #{_ref(index)}"


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind != "table":
        return []
    names = {
        label if index is None else _value_column(panel, index): header
        for label, header, index in table_columns(panel)
    }
    values = [_value_column(panel, i) for i, target in enumerate(panel.targets) if target.hidden]
    unseen = [*values, *([panel.row] if panel.row else [])]
    steps: list[dict[str, Any]] = []
    if len(panel.targets) > 1:
        steps.append({"id": "merge", "options": {}})
    if panel.targets[0].hidden:
        order = {"field": _value_column(panel, 0), "desc": True}
        steps.append({"id": "sortBy", "options": {"fields": {}, "sort": [order]}})
    organize = {
        "excludeByName": dict.fromkeys(("Time", *panel.hidden, *unseen), True),
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": names,
    }
    return [*steps, {"id": "organize", "options": organize}]


def _override(matcher: str, options: str, **properties: Any) -> dict[str, Any]:
    return {
        "matcher": {"id": matcher, "options": options},
        "properties": [
            {"id": key.replace("__", "."), "value": value} for key, value in properties.items()
        ],
    }


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    if panel.kind != "table":
        drawn = [_drawn(target) for target in panel.targets]
        return [_override("byFrameRefID", _ref(i), **how) for i, how in enumerate(drawn) if how]
    overrides = [
        _override("byName", target.header, **_number(target, panel))
        for target in panel.targets
        if not target.hidden
    ]
    headers = dict(panel.columns)
    for label, words in panel.words:
        mapped = [
            {
                "type": "regex",
                "options": {
                    "pattern": f"/{word.pattern}/",
                    "result": {"color": _color(word.color), "index": index},
                },
            }
            for index, word in enumerate(words)
        ]
        cell = {"type": "color-text"}
        overrides.append(
            _override("byName", headers[label], mappings=mapped, custom__cellOptions=cell)
        )
    for link in panel.links:
        shown = [{"title": link.title, "url": link.grafana, "targetBlank": "://" in link.grafana}]
        overrides.append(_override("byName", headers[link.column], links=shown))
    return overrides


def _drawn(target: Target) -> dict[str, Any]:
    how: dict[str, Any] = {}
    if target.color:
        how["color"] = {"mode": "fixed", "fixedColor": _color(target.color)}
    if target.dashed:
        how["custom__lineStyle"] = {"fill": "dash", "dash": [8, 8]}
    return how


def _number(target: Target, panel: Panel) -> dict[str, Any]:
    unit = target.unit or panel.unit
    if not target.steps:
        return _unit(unit)
    # A share is a bar on a scale to 100 %; what is above fills it.
    cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    scale = {"min": 0, "max": 1} if unit == SHARE else {}
    return (
        _unit(unit) | scale | {"thresholds": _thresholds(target.steps), "custom__cellOptions": cell}
    )
