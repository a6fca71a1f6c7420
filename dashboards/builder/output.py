"""The generated files: what they are called and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from dashboards.builder import grafana, perses
from dashboards.builder.boards import burndown, drilldown, health, overview, shared_panels, spend
from dashboards.builder.chart import chart_files
from dashboards.builder.model import Dashboard
from dashboards.builder.queries import Names
from dashboards.builder.rules import rule_groups, rules_yaml
from dashboards.builder.scope import Scope
from dashboards.builder.thresholds import Thresholds

ROOT: Final = Path(__file__).parent.parent.parent


def dashboards(thresholds: Thresholds, scope: Scope) -> tuple[Dashboard, ...]:
    """The dashboards."""
    modules = (overview, drilldown, burndown, spend, health)
    built = (module.build(scope, thresholds) for module in modules)
    return tuple(
        replace(
            board,
            rows=[
                replace(row, panels=[shared_panels.read_records(panel) for panel in row.panels])
                for row in board.rows
            ],
        )
        for board in built
    )


def files(
    thresholds: Thresholds, *, suffixes: bool = True, anchored: bool = False
) -> dict[str, str]:
    """Every generated file: path relative to the project's root -> text.

    Args:
        thresholds: The numbers.
        suffixes: False writes the variant for backends that name metrics without suffixes.
        anchored: True writes the variant for a Prometheus that stores start times.
    """
    names = Names(suffixes, anchored)

    def render(numbers: Thresholds) -> dict[str, str]:
        return _rules_and_dashboards(numbers, names)

    return render(thresholds) | chart_files.files(thresholds, render)


def _rules_and_dashboards(thresholds: Thresholds, names: Names) -> dict[str, str]:
    written = {}
    for group in rule_groups.groups(thresholds, names):
        text = rules_yaml.render(group, thresholds.runbook_base)
        written[f"collector/prometheus/rules/{group.name}.yml"] = text
    scope = Scope(names)
    for dashboard in dashboards(thresholds, scope):
        name = dashboard.uid.removeprefix("otel-budget-")
        written[f"dashboards/grafana/{name}.json"] = grafana.render(dashboard, scope)
        written[f"dashboards/perses/{name}.json"] = perses.render(dashboard, scope)
    return written


def differing(files: Mapping[str, str], root: Path) -> list[str]:
    """The paths whose file is missing below `root` or has another text."""

    def same(path: Path, text: str) -> bool:
        return path.is_file() and path.read_text(encoding="utf-8") == text

    return [path for path, text in files.items() if not same(root / path, text)]


def write(files: Mapping[str, str], root: Path) -> list[str]:
    """Write the files below `root`; returns the paths that changed."""
    changed = differing(files, root)
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(files[path], encoding="utf-8")
    return changed
