"""The canaries of `otel-budget verify` set off no alert, whatever they tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from dashboards.builder import collector_metrics
from dashboards.builder.rules import alert_model
from otel_budget import semconv as sc
from otel_budget.metric import Metric
from otel_budget.verify import expected
from otel_budget.verify.run import Pipeline
from promtool import promtool
from rule_cases.case import budget, series
from test_rules import GROUPS, RULES

#: Groups whose alerts look at tenants and services.
WATCHED = ("llm-budget-guard", "llm-budget-telemetry", "llm-budget-ledgers")
WATCHED_ALERTS = {
    rule.alert
    for group in GROUPS
    for rule in group.rules
    if group.name in WATCHED and isinstance(rule, alert_model.Alert)
}
#: What no history of decisions can set off: it takes days, an expected service, or many levels.
NOT_HERE = {
    "LLMBudgetTelemetryAbsent",
    "LLMBudgetTelemetrySilent",
    "LLMBudgetGuardUndercounts",
    "LLMBudgetGuardCountsMore",
}


def trouble(tenant: str, job: str) -> dict[str, str]:
    """Everything that may go wrong, of one tenant and service, for two hours."""
    point = {sc.DECISION_POINT: sc.POINT_LLM}
    whose = {sc.TENANT: tenant}
    call = {sc.METRIC_MODEL: expected.MODEL, sc.METRIC_PROVIDER: expected.PROVIDER}
    named = {**point, sc.GUARD_NAME: "guard"}
    level = budget(who=whose)
    counters: tuple[tuple[Metric, Mapping[str, str]], ...] = (
        (sc.METRIC_COST, {**whose, **call}),
        (sc.METRIC_UNPRICED_CALLS, {**whose, **call, sc.REASON: sc.NO_PRICES}),
        (sc.METRIC_CALLS_WITHOUT_USAGE, {**whose, **call, sc.REASON: sc.NOT_REPORTED}),
        *(
            (sc.METRIC_DECISIONS, {**whose, **point, sc.DECISION: outcome})
            for outcome in (sc.DENY, sc.LATE, sc.MALFORMED)
        ),
        *(
            (
                sc.METRIC_THRESHOLD_HITS,
                {**whose, **point, sc.KIND: kind, sc.RESOURCE: resource, sc.WINDOW: "day"},
            )
            for kind in (sc.KIND_HARD, sc.KIND_SOFT)
            for resource in ("llm_cost_usd", sc.GUARD_UNAVAILABLE)
        ),
        (sc.METRIC_GUARD_ERRORS, {**named, sc.ERROR_TYPE: "ConnectionError"}),
        (sc.METRIC_TELEMETRY_ERRORS, {sc.COMPONENT: sc.COMPONENT_PRICES}),
        (sc.METRIC_LABEL_OVERFLOWS, {sc.LABEL: sc.TENANT}),
    )
    told = {series(metric, labels, job=job): "0+5x130" for metric, labels in counters}
    # Two processes write this one in turn.
    told[series(sc.METRIC_DECISIONS, {**whose, **point, sc.DECISION: sc.ALLOW}, job=job)] = (
        "140 5 " * 65
    )
    told[f'{collector_metrics.CLOCK_AHEAD}{{job="{job}",instance="a"}}'] = "7200x130"
    for le, values in (("0.25", "0x130"), ("1", "0+10x130"), ("+Inf", "0+10x130")):
        told[series(sc.METRIC_GUARD_DURATION, named, part="_bucket", le=le, job=job)] = values
    levels = {
        sc.METRIC_CONSUMED: "5x130",
        sc.METRIC_LIMIT: "100x130",
        sc.METRIC_UTILIZATION: "0.05x130",
        sc.METRIC_RESERVED: "1x130",
        sc.METRIC_RESERVATION_AGE: "5000x130",
        sc.METRIC_WINDOW_LENGTH: "86400x130",
        sc.METRIC_WINDOW_REMAINING: "80000-60x130",
    }
    return told | {series(metric, level, job=job): values for metric, values in levels.items()}


def complaint(history: Mapping[str, str], asked: str, found: set[str], directory: Path) -> str:
    """What promtool says if a query for alerts and records finds others, after two hours."""
    rows = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(found)]
    group = {
        "interval": "1m",
        "input_series": [{"series": name, "values": v} for name, v in history.items()],
        "promql_expr_test": [{"expr": asked, "eval_time": "2h", "exp_samples": rows}],
    }
    names = [group.name for group in GROUPS if "-fleet-" not in group.name]
    rules = [str(RULES / f"{name}.yml") for name in names]
    every = {"rule_files": rules, "group_eval_order": names, "evaluation_interval": "1m"}
    file = directory / "test.yml"
    file.write_text(yaml.safe_dump(every | {"tests": [group]}))
    done = promtool("test", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def ever(alerts: str) -> str:
    """Which alerts fired in the last hours."""
    return f'group by (alertname) (count_over_time(ALERTS{{alertstate="firing",{alerts}}}[3h]))'


@pytest.mark.parametrize("job", [expected.NAME, f"shop/{expected.NAME}"])
def test_a_canary_sets_off_no_alert_and_has_no_budget(job: str, tmp_path: Path) -> None:
    others = 'severity!="none"'
    records = '{__name__=~"llm_budget:.+",__name__!~"llm_budget:recorded_by_job:.+"}'
    asked = f"{ever(others)} or {records}"
    assert complaint(trouble(Pipeline().tenant, job), asked, set(), tmp_path) == ""


def test_the_same_trouble_of_a_tenant_sets_off_every_alert(tmp_path: Path) -> None:
    """The check itself: this history is what the alerts look for."""
    names = WATCHED_ALERTS - NOT_HERE | {"LLMBudgetExhausted"}
    asked = ever(f'alertname=~"{"|".join(sorted(names))}"')
    assert complaint(trouble("acme", "agents"), asked, names, tmp_path) == ""
