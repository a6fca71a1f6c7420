"""The README agrees with the code."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from otel_budget import Deny, SessionInfo, instrument, semconv
from otel_budget.testing import capture_telemetry
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


def test_the_readmes_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def _examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_examples_are_python() -> None:
    for block in _examples():
        compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_window_guard_example_runs() -> None:
    (block,) = (block for block in _examples() if "WindowGuard(limit" in block)
    names: dict[str, Any] = {"SessionInfo": SessionInfo, "instrument": instrument}
    exec(block, names)
    guard, usage = names["guard"], {"prompt_tokens": 150_000, "completion_tokens": 400_000}
    with capture_telemetry() as telemetry:
        guard.record_after_llm("s", {**usage, "total_tokens": 550_000})
        assert isinstance(guard.check_before_llm("s", 1), Deny)
    assert telemetry.value("budget.cost", tenant="acme") == pytest.approx(0.15 * 3.0 + 0.4 * 15.0)
