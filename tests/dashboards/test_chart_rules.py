"""The chart's rules and dashboards: the shipped ones by default, and what its values change."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from dashboards.builder import thresholds
from dashboards.builder.chart import marks
from dashboards.builder.rules import alert_model
from otel_budget import semconv as sc
from promtool import promtool
from rule_cases.case import hit
from support import chart
from support.paths import ROOT

RULES = ROOT / "collector" / "prometheus" / "rules"
RUNBOOKS = ROOT / "docs" / "runbooks"
#: Of the release that helm keeps in a Secret.
LARGEST = 1024 * 1024


def shipped_groups() -> list[dict[str, Any]]:
    return [yaml.safe_load(file.read_text())["groups"][0] for file in sorted(RULES.glob("*.yml"))]


def comparable(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """The groups by name, their queries as the parser writes them."""
    return {
        group["name"]: group
        | {
            "rules": [
                rule | {"expr": promql_parser.parse(rule["expr"]).prettify()}
                for rule in group["rules"]
            ]
        }
        for group in groups
    }


def write(folder: Path, groups: list[dict[str, Any]]) -> Path:
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": groups}))
    return file


def alerts(*values: str, **options: Any) -> dict[str, dict[str, Any]]:
    return {
        rule["alert"]: rule | {"expr": " ".join(rule["expr"].split())}
        for group in chart.rule_groups(*values, **options)
        for rule in group["rules"]
        if "alert" in rule
    }


def test_by_default_the_rules_are_the_shipped_ones(tmp_path: Path) -> None:
    groups = list(chart.rule_groups())
    assert comparable(groups) == comparable(shipped_groups())
    answer = promtool("check", "rules", write(tmp_path, groups))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_by_default_the_dashboards_are_the_shipped_ones() -> None:
    objects = chart.render(*chart.OPERATORS)
    grafana = {
        name: json.loads(text)
        for config in chart.of_kind(objects, "ConfigMap")
        for name, text in config["data"].items()
        if name.endswith(".json")
    }
    assert grafana == {
        f"otel-budget-{file.name}": json.loads(file.read_text())
        for file in (ROOT / "dashboards" / "grafana").glob("*.json")
    }
    referred = {
        each["spec"]["configMapRef"]["key"] for each in chart.of_kind(objects, "GrafanaDashboard")
    }
    assert referred == set(grafana)
    perses = [
        json.loads(file.read_text()) for file in (ROOT / "dashboards" / "perses").glob("*.json")
    ]
    assert {
        each["metadata"]["name"]: each["spec"]["config"]
        for each in chart.of_kind(objects, "PersesDashboard")
    } == {each["metadata"]["name"]: each["spec"] for each in perses}


def test_every_threshold_that_is_a_value_stands_in_a_rule_or_a_dashboard() -> None:
    usual = thresholds.load()
    given: dict[str, Any] = {}
    for number, (name, where) in enumerate(marks.values().items(), 770_001):
        value: Any = f"{number}m" if isinstance(getattr(usual, name), str) else number
        table, entry = where.split(".")
        given.setdefault(table, {})[entry] = value
    answer = chart.template(*chart.OPERATORS, json={"thresholds": json.dumps(given)})
    assert answer.returncode == 0, answer.stderr
    absent = [
        f"{table}.{entry}"
        for table, entries in given.items()
        for entry, value in entries.items()
        if not re.search(rf"\b{value}\b", answer.stdout)
    ]
    assert absent == []


def test_a_value_changes_the_rules_number_and_its_text() -> None:
    found = alerts(
        "thresholds.burn_fast.gone_seconds=7200",
        "thresholds.burn_fast.share=0.07",
        "thresholds.ledger.refused_below=0.55",
        "thresholds.absent.after=20m",
        "thresholds.month_days.early_seconds=172800",
        "alerts.jobs.prometheus=main-prometheus",
        "alerts.jobs.jaeger=tempo",
    )
    down = 'up{job=~"main-prometheus|otelcol|alertmanager"} == 0'
    assert found["LLMBudgetMonitoringDown"]["expr"] == down
    assert found["LLMBudgetJaegerDown"]["expr"] == 'up{job="tempo"} == 0'
    fast = found["LLMBudgetBurnFast"]
    assert "< 7200" in fast["expr"]
    assert "> 0.07" in fast["expr"]
    assert "within 2 h" in fast["annotations"]["description"]
    far = found["LLMBudgetRefusedFarFromLimit"]
    assert "< 0.55" in far["expr"]
    assert "over 55%" in far["annotations"]["description"]
    absent = found["LLMBudgetTelemetryAbsent"]
    assert "[20m]" in absent["expr"]
    assert absent["annotations"]["summary"].endswith("for 20m")
    assert "more than 48 h before" in found["LLMBudgetMonthBurnDays"]["annotations"]["description"]
    spend = alerts("thresholds.ledger.floor_tokens=2500000", "thresholds.spike.factor=2.5")
    # Not written as 2.5e+06, which is right but unreadable.
    assert "> 2500000" in spend["LLMBudgetGuardNotCounting"]["expr"]
    assert "over 2.5 times" in spend["LLMBudgetSpendSpike"]["annotations"]["summary"]


def test_every_runbook_of_an_alert_is_a_file() -> None:
    base = "https://wiki.example/budgets/"
    pages = {
        alert["annotations"]["runbook_url"]
        for alert in alerts(f"alerts.runbookBase={base}").values()
    }
    assert len(pages) > 30
    assert [page for page in pages if not (RUNBOOKS / page.removeprefix(base)).is_file()] == []


def test_expected_services_and_labels_of_tenants(tmp_path: Path) -> None:
    """Played by promtool, as Prometheus would label them."""
    groups = list(
        chart.rule_groups(
            json={
                "alerts": json.dumps(
                    {
                        "expectedServices": ["checkout", "support/bot"],
                        "labels": {"cluster": "eu-1", "team": "platform"},
                        "tenantLabels": {
                            "acme": {"team": "payments"},
                            'Acme "EU"': {"team": "europe"},
                        },
                    }
                )
            }
        )
    )
    every = [rule for group in groups for rule in group["rules"]]
    expected = [rule for rule in every if rule.get("record") == alert_model.EXPECTED]
    assert [rule["labels"]["job"] for rule in expected] == ["checkout", "support/bot"]

    teams = {"acme": "payments", 'Acme "EU"': "europe", "other": "platform"}
    told = {
        "eval_time": "12m",
        "expr": "sum by (budget_tenant, team, cluster, severity) "
        '(ALERTS{alertname=~"LLMBudget(SoftLimitCrossed|Watchdog)"})',
        "exp_samples": [
            {"value": 1, "labels": '{cluster="eu-1",severity="none",team="platform"}'},
            *(
                {
                    "value": 1,
                    "labels": f'{{budget_tenant={json.dumps(tenant)},cluster="eu-1",'
                    f'severity="info",team="{team}"}}',
                }
                for tenant, team in teams.items()
            ),
        ],
    }
    hits = {
        hit(sc.KIND_SOFT, who={sc.TENANT: name.replace('"', '\\"')}): "0x9 1x30" for name in teams
    }
    test = {
        "rule_files": [str(write(tmp_path, groups))],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": v} for name, v in hits.items()],
                "promql_expr_test": [told],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test))
    answer = promtool("test", "rules", file)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_wrong_value_gives_one_clear_sentence() -> None:
    for value, sentence in {
        "gatway.replicas=3": "at '': additional properties 'gatway' not allowed",
        "gateway.replicas=two": "at '/gateway/replicas': got string, want integer",
        "thresholds.emptying.shre=0.3": "at '/thresholds/emptying': additional properties 'shre'",
        "thresholds.absent.after=15min": "at '/thresholds/absent/after': '15min' does not match",
        "gateway.overlays={scrape}": "at '/gateway/overlays/0': value must be one of 'redaction',",
        "gateway.overlays={redaction}": "name the Secret with its salt in redaction.existingSecret",
        "gateway.overlays={tail-sampling}": "set agent.enabled, so that all spans of a trace",
        "traces.endpoint=http://jaeger:4317": "write host:port, without http://",
        "alerts.runbookBase=our wiki": "at '/alerts/runbookBase': ",
        "thresholds.emptying.share=null": "thresholds.emptying.share has no value",
        "alerts.jobs.jaeger=null": "alerts.jobs.jaeger has no value",
        "networkPolicy.applications=null": "networkPolicy.applications names nobody",
        "alerts.tenantLabels.acme.team=a": "has team: give it a value in alerts.labels",
    }.items():
        answer = chart.template(*chart.RULES, value)
        assert answer.returncode != 0, value
        told = [line for line in answer.stderr.splitlines() if sentence in line]
        assert len(told) == 1, answer.stderr


def test_the_release_fits_into_its_secret() -> None:
    """Helm keeps chart and manifest, as JSON, gzip and base64, in one Secret."""
    manifest = chart.template(*chart.OPERATORS).stdout
    files = [
        base64.b64encode(f.read_bytes()).decode() for f in chart.CHART.rglob("*") if f.is_file()
    ]
    packed = gzip.compress(json.dumps([manifest, *files]).encode(), 9)
    assert len(base64.b64encode(packed)) < LARGEST / 2
