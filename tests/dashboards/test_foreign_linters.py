"""What others say of the written files: pint of the rules, Grafana's SDK of the boards."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from promtool import backend
from support.missing import skip_or_fail
from support.paths import ROOT
from test_dashboards import GRAFANA, NAMES

RULES = ROOT / "collector" / "prometheus" / "rules"


def pint(rules: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Everything that pint can say without a Prometheus."""
    options = ["--offline", "--no-color", f"--config={Path(__file__).parent / 'pint.hcl'}"]
    return subprocess.run(
        [backend("pint"), *options, "lint", "--min-severity=info", "--fail-on=info", str(rules)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_pint_has_nothing_to_say_of_the_rules(tmp_path: Path) -> None:
    done = pint(RULES, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pint_finds_a_comparison_that_never_holds(tmp_path: Path) -> None:
    """The check itself: a join on a label that one side has aggregated away."""
    rules = tmp_path / "rules.yml"
    rules.write_text(
        "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: sum by (a) (x) * on (b) y > 0\n"
    )
    done = pint(rules, tmp_path)
    assert done.returncode != 0
    assert "promql/impossible" in done.stdout + done.stderr


#: What Grafana 11 knows and the SDK's schema (10.1) does not.
LATER = {
    ".templating.list[].definition": "what Grafana shows of the query in its list of variables",
    **dict.fromkeys(
        (f".annotations.list[].{name}" for name in ("step", "textFormat", "titleFormat")),
        "what the Prometheus data source adds to an annotation",
    ),
}


@pytest.fixture(scope="module")
def written_back() -> dict[str, tuple[Any, Any]]:
    """Each board as the SDK's types, and as the JSON that the SDK makes of them."""
    if importlib.util.find_spec("grafana_foundation_sdk") is None:
        skip_or_fail("grafana-foundation-sdk is missing: run `make test`, which installs it")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    typed = {name: Dashboard.from_json(board) for name, board in GRAFANA.items()}
    return {
        n: (board, json.loads(json.dumps(board, cls=JSONEncoder))) for n, board in typed.items()
    }


def lost(ours: Any, theirs: Any, where: str = "") -> Iterator[str]:
    """What of ours the SDK dropped or changed; positions in lists are left out."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from lost(value, theirs[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for mine, other in zip(ours, theirs, strict=True):
            yield from lost(mine, other, f"{where}[]")
    elif ours != theirs:
        yield where


def not_allowed(typed: Any, where: str = "") -> Iterator[str]:
    """Values that are none of those that the SDK's types list."""
    if isinstance(typed, list):
        for entry in typed:
            yield from not_allowed(entry, f"{where}[]")
    elif type(typed).__module__.startswith("grafana_foundation_sdk.models"):
        known = typing.get_type_hints(type(typed))
        for name, value in vars(typed).items():
            kinds = [k for k in _parts(known.get(name)) if isinstance(k, type)]
            allowed = {e.value for kind in kinds if issubclass(kind, Enum) for e in kind}
            if allowed and isinstance(value, str | int) and value not in allowed:
                yield f"{where}.{name}: {value!r}"
            yield from not_allowed(value, f"{where}.{name}")


def _parts(kind: Any) -> tuple[Any, ...]:
    return (kind, *(part for inner in typing.get_args(kind) for part in _parts(inner)))


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_sdk_reads_every_part_of_a_board(
    written_back: dict[str, tuple[Any, Any]], name: str
) -> None:
    typed, back = written_back[name]
    assert set(lost(GRAFANA[name], back)) <= set(LATER)
    assert list(not_allowed(typed)) == []


def test_the_sdk_notices_what_grafana_would_not_know(
    written_back: dict[str, tuple[Any, Any]],
) -> None:
    """The check itself: a key that does not exist, and a value that is none of its kind."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    board = json.loads(json.dumps(GRAFANA["overview"]))
    lines = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    lines["fieldConfig"]["defaults"]["custom"] |= {"drawStyle": "zigzag", "lineWith": 2}
    typed = Dashboard.from_json(board)
    back = json.loads(json.dumps(typed, cls=JSONEncoder))
    assert ".panels[].fieldConfig.defaults.custom.lineWith" in set(lost(board, back))
    assert any("zigzag" in complaint for complaint in not_allowed(typed))
