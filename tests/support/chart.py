"""The Helm chart, rendered by the real helm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from collector.backends import BIN, missing
from support.missing import skip_or_fail
from support.paths import ROOT

CHART = ROOT / "collector" / "kubernetes"
NAMESPACE = "observability"
#: helm's own default, where it is built from its module, is a version that nothing supports.
KUBERNETES = "1.34.2"
RULES = ("prometheusOperator.rules=true",)
OPERATORS = (
    *RULES,
    "prometheusOperator.podMonitor=true",
    "grafana.operator=true",
    "perses.operator=true",
)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm; skips without it, or fails with CI=true."""
    if missing("helm"):
        skip_or_fail("helm is not built; run `make backends`")
    return subprocess.run(
        [BIN / "helm", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def template(
    *values: str, json: dict[str, str] | None = None, chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """What `helm template` says for these values (``gateway.replicas=3``)."""
    options = [option for value in values for option in ("--set", value)]
    for name, value in (json or {}).items():
        options += ["--set-json", f"{name}={value}"]
    where = ("--namespace", NAMESPACE, "--kube-version", KUBERNETES)
    return helm("template", "test", chart, *where, *options)


def render(*values: str, json: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The objects that the chart makes of these values."""
    answer = template(*values, json=json)
    assert answer.returncode == 0, answer.stderr
    return [each for each in yaml.load_all(answer.stdout, yaml.CSafeLoader) if each]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [each for each in objects if each["kind"] == kind]


def rule_groups(*values: str, json: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """The groups of all rules of the chart."""
    for rule in of_kind(render(*RULES, *values, json=json), "PrometheusRule"):
        yield from rule["spec"]["groups"]
