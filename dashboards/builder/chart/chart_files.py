"""The written files of the chart; the rest of `collector/kubernetes` is written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dashboards.builder.chart import marks
from dashboards.builder.thresholds import DEFAULT_FILE, Thresholds
from otel_budget.version import __version__

_ROOT: Final = Path(__file__).parents[3]
_CHART: Final = "collector/kubernetes"
#: Folders of rendered files, and of the chart.
_RENDERED: Final = {
    "collector/prometheus/rules/": "files/rules/",
    "dashboards/grafana/": "files/grafana/",
    "dashboards/perses/": "files/perses/",
}
#: Of the overlays, those that are sound in a cluster: several gateways would each be scraped for
#: the same series.
OVERLAYS: Final = ("auth", "gateway", "logs-otlp", "redaction", "start-times", "tail-sampling")
_COPIED: Final = {
    "collector/config.yaml": "files/otelcol/config.yaml",
    "collector/start.sh": "files/otelcol/start.sh",
    "collector/alertmanager/alertmanager.yml": "files/alertmanager.yml",
    **{f"collector/overlays/{name}.yaml": f"files/otelcol/{name}.yaml" for name in OVERLAYS},
}
_IMAGES: Final = {"collector": "OTELCOL_IMAGE", "shell": "BUSYBOX_IMAGE"}
_WRITTEN: Final = """\
# From here on written by `make dashboards`, from collector/.env and dashboards/thresholds.toml.
"""


def files(thresholds: Thresholds, render: Callable[[Thresholds], dict[str, str]]) -> dict[str, str]:
    """Path relative to the project's root -> text.

    Args:
        thresholds: The numbers, which become the default values.
        render: Renders rules and dashboards, as they are written elsewhere.
    """
    stand_ins = marks.Marks()
    written = {
        renamed: stand_ins.fill(text)
        for path, text in render(stand_ins.thresholds(thresholds)).items()
        for folder, there in _RENDERED.items()
        if (renamed := path.replace(folder, there)) != path
    }
    written |= {there: _read(path) for path, there in _COPIED.items()}
    written["Chart.yaml"] = _chart()
    written["values.yaml"] = _values(thresholds)
    written["values.schema.json"] = _schema(thresholds)
    return {f"{_CHART}/{path}": text for path, text in written.items()}


def _read(path: str) -> str:
    return (_ROOT / path).read_text(encoding="utf-8")


def _images() -> dict[str, str]:
    found = dict(re.findall(r"^(\w+_IMAGE)=(\S+)$", _read("collector/.env"), re.M))
    return {name: found[variable] for name, variable in _IMAGES.items()}


def _chart() -> str:
    collector = _images()["collector"].rpartition(":")[2]
    return f"""\
# Written by `make dashboards`.
apiVersion: v2
name: otel-budget
description: The OpenTelemetry Collector, alert rules and dashboards for budgets of LLM agents.
type: application
version: {__version__}
# The Collector's.
appVersion: "{collector}"
kubeVersion: ">=1.26.0-0"
"""


def _values(thresholds: Thresholds) -> str:
    head, _, _ = _read(f"{_CHART}/values.yaml").partition(_WRITTEN)
    images = "".join(f"  {name}: {image}\n" for name, image in _images().items())
    return f"{head}{_WRITTEN}images:\n{images}\n{_threshold_values(thresholds)}"


def _threshold_values(thresholds: Thresholds) -> str:
    """The file of thresholds as YAML, with its comments."""
    lines, table = ["thresholds:"], ""
    for line in DEFAULT_FILE.read_text(encoding="utf-8").splitlines():
        if named := re.match(r"\[(\w+)\](.*)$", line):
            table = named[1]
            if any(where.startswith(f"{table}.") for where in marks.values().values()):
                lines.append(f"  {table}:{named[2]}".rstrip())
        elif (entry := re.match(r"(\w+) = [^#]*?(\s*#.*)?$", line)) and table:
            name = f"{table}_{entry[1]}"
            if name in marks.values():
                number = json.dumps(getattr(thresholds, name))
                lines.append(f"    {entry[1]}: {number}{entry[2] or ''}")
        elif line.startswith("#") and table:
            lines.append(f"  {line}")
    return "\n".join(lines) + "\n"


def _schema(thresholds: Thresholds) -> str:
    """The schema as it is, with what belongs to the thresholds."""
    schema = json.loads(_read(f"{_CHART}/values.schema.json"))
    tables: dict[str, Any] = {}
    for name, where in marks.values().items():
        table, entry = where.split(".")
        properties = tables.setdefault(
            table, {"type": "object", "additionalProperties": False, "properties": {}}
        )["properties"]
        properties[entry] = _kind(getattr(thresholds, name))
    schema["properties"]["thresholds"]["properties"] = tables
    return json.dumps(schema, indent=2) + "\n"


def _kind(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"type": "string", "pattern": "^[0-9]+[smhdw]$"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": 1}
    # helm's --set takes a number with a point for a string.
    return {"type": ["number", "string"], "exclusiveMinimum": 0, "pattern": "^[0-9]+([.][0-9]+)?$"}
