"""The README's table of metrics agrees with the code."""

from __future__ import annotations

import re

from otel_budget import semconv
from support.paths import ROOT

README = (ROOT / "README.md").read_text()


def _table() -> dict[str, list[str]]:
    rows = re.findall(r"^\| `(budget\.[^`]+)` \| (.+) \|$", README, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in rows}


def test_the_metric_table_is_the_schema() -> None:
    table = _table()
    assert set(table) == {metric.name for metric in semconv.METRICS}
    for metric in semconv.METRICS:
        prometheus, unit, attributes, _ = table[metric.name]
        assert prometheus == f"`{metric.prometheus_name()}`"
        assert unit == (f"`{metric.unit}`" if metric.unit else "")
        if metric.kind == "gauge" and attributes.startswith("the same"):
            continue
        for attribute in metric.attributes:
            assert _short(attribute) in attributes, (metric.name, attribute)


def _short(attribute: str) -> str:
    short = {semconv.METRIC_MODEL: "model", semconv.METRIC_PROVIDER: "provider"}
    return short.get(attribute, attribute.removeprefix("budget."))
