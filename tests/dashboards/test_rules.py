"""Every rule fires when it should and is silent when it should be, by promtool."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import rule_cases as cases
from dashboards.builder import output, thresholds
from dashboards.builder.queries import Names
from dashboards.builder.rules import alert_model, rule_groups
from dashboards.builder.rules.pipeline_alerts import WATCHDOG
from otel_budget import semconv as sc
from promtool import promtool
from rule_cases.case import ACME, DAY, decision, hit, series, window
from support.paths import ROOT

RULES = ROOT / "collector" / "prometheus" / "rules"
THRESHOLDS = thresholds.load()
GROUPS = rule_groups.groups(THRESHOLDS, Names())
ALERTS = {
    rule.alert: rule
    for group in GROUPS
    for rule in group.rules
    if isinstance(rule, alert_model.Alert)
}
RECORDS = {
    rule.record: rule
    for group in GROUPS
    for rule in group.rules
    if isinstance(rule, alert_model.Record)
}
#: Those that may be silent.
OTHERS = [alert for alert in ALERTS if alert != WATCHDOG]
INTERVAL = {"interval": "1m"}
#: Played together, because a day takes a while.
OF_DAYS = [case for case in cases.RECORDS if case.every != cases.Case.every]
GROUP_NAMES = [group.name for group in GROUPS]
FILE = {
    "rule_files": [str(RULES / f"{name}.yml") for name in GROUP_NAMES],
    "evaluation_interval": "50s",
    "group_eval_order": GROUP_NAMES,
}


def _needed(rule: str) -> tuple[str, ...]:
    """The groups of the rule and of all records that these read, in their order."""
    texts = {group.name: " ".join(each.expr for each in group.rules) for group in GROUPS}
    homes = {
        each.record if isinstance(each, alert_model.Record) else each.alert: group.name
        for group in GROUPS
        for each in group.rules
    }
    found, new = set[str](), {homes[rule]}
    while new:
        found |= new
        new = {homes[name] for name in RECORDS if any(name in texts[group] for group in new)}
        new -= found
    return tuple(name for name in GROUP_NAMES if name in found)


def _input(series: Any) -> list[dict[str, str]]:
    return [{"series": name, "values": values.strip()} for name, values in series.items()]


def _expected(alert: alert_model.Alert, fired: cases.Fired) -> dict[str, Any]:
    description = alert.description
    for template in ("{{ $value | humanize }}", "{{ $value }}"):
        description = description.replace(template, f"{fired.value:.4g}")
    share = "{{ $value | humanizePercentage }}"
    description = description.replace(share, f"{100 * fired.value:.4g}%")
    return {
        "exp_labels": {"severity": alert.severity, **fired.labels},
        "exp_annotations": {
            "summary": fired.summary,
            "description": description,
            "runbook_url": f"{THRESHOLDS.runbook_base}/{alert.alert}.md",
        },
    }


def _alert_group(case: cases.Case) -> dict[str, Any]:
    alert = ALERTS[case.alert]
    test = {
        "alertname": case.alert,
        "eval_time": case.at,
        "exp_alerts": [_expected(alert, fired) for fired in case.fires],
    }
    return {
        "interval": case.step,
        "name": case.name,
        "input_series": _input(case.series),
        "alert_rule_test": [test],
    }


def _record_groups(every: Sequence[cases.RecordCase]) -> list[dict[str, Any]]:
    """The cases; those of the same series are played once."""
    alike: dict[tuple[tuple[str, str], ...], list[cases.RecordCase]] = {}
    for case in every:
        alike.setdefault(tuple(case.series.items()), []).append(case)
    return [
        INTERVAL
        | {
            "name": same[0].name,
            "input_series": _input(same[0].series),
            "promql_expr_test": [
                {
                    "expr": case.record,
                    "eval_time": case.at,
                    "exp_samples": [
                        {"labels": case.record + _labels(labels), "value": value}
                        for labels, value in case.values
                    ],
                }
                for case in same
            ],
        }
        for same in alike.values()
    ]


def _labels(labels: cases.Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _run(groups: list[dict[str, Any]], tmp_path: Path, **more: Any) -> str:
    """Run the groups; returns promtool's complaint, empty if all passed."""
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(FILE | more | {"fuzzy_compare": True, "tests": groups}))
    done = promtool("test", "rules", file)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _complaints(every: Sequence[cases.Case | cases.RecordCase], tmp_path: Path) -> str:
    """Run the cases, those together that need the same rules as often; returns the complaints."""
    alike: dict[tuple[tuple[str, ...], str], list[cases.Case | cases.RecordCase]] = {}
    for case in every:
        rule = case.alert if isinstance(case, cases.Case) else case.record
        alike.setdefault((case.groups or _needed(rule), case.every), []).append(case)
    return "".join(
        _run(
            [
                *(_alert_group(case) for case in same if isinstance(case, cases.Case)),
                *_record_groups([case for case in same if isinstance(case, cases.RecordCase)]),
            ],
            tmp_path,
            evaluation_interval=interval,
            rule_files=[str(RULES / f"{name}.yml") for name in names],
        )
        for (names, interval), same in alike.items()
    )


def test_generated_files_are_committed() -> None:
    assert output.differing(output.files(THRESHOLDS), ROOT) == []


def test_promtool_accepts_the_files() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(RULES.glob("*.yml")))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_and_stays_silent_as_its_cases_say(alert: str, tmp_path: Path) -> None:
    mine = [case for case in cases.CASES if case.alert == alert]
    assert _complaints(mine, tmp_path) == ""


@pytest.mark.parametrize("record", RECORDS)
def test_a_recorded_series_has_the_values_of_its_cases(record: str, tmp_path: Path) -> None:
    mine = [case for case in cases.RECORDS if case.record == record and case not in OF_DAYS]
    assert _complaints(mine, tmp_path) == ""


@pytest.mark.timeout(300)
def test_what_takes_days_has_the_values_of_its_cases(tmp_path: Path) -> None:
    assert _complaints(OF_DAYS, tmp_path) == ""


def test_every_rule_has_a_firing_and_a_silent_case() -> None:
    for alert in ALERTS:
        mine = [case for case in cases.CASES if case.alert == alert]
        assert any(case.fires for case in mine), f"{alert} never fires in the table"
        assert alert == WATCHDOG or any(not case.fires for case in mine), (
            f"{alert} is never silent in the table"
        )
    for record in RECORDS:
        found = [case for case in cases.RECORDS if case.record == record]
        assert any(case.values for case in found), f"{record} has never a value in the table"
        assert any(not case.values for case in found), f"{record} is never absent in the table"
    assert {case.alert for case in cases.CASES} == set(ALERTS)
    assert {case.record for case in cases.RECORDS} == set(RECORDS)


def test_an_alert_on_events_goes_on_for_an_hour() -> None:
    """A cause that comes back within it is one page; stand-ins are silenced by the guard's."""
    events = [a for a in ALERTS.values() if "when it last happened" in a.description]
    stand_ins = {"LLMBudgetGuardFailOpen", "LLMBudgetGuardFailClosed"}
    assert {alert.alert for alert in events if not alert.keep_firing_for} == stand_ins
    assert {alert.keep_firing_for for alert in events} == {alert_model.KEPT, ""}
    for alert in events:
        mine = {case.name for case in cases.CASES if case.alert == alert.alert}
        assert "stops when it is over" in mine


def test_a_firing_case_that_does_not_fire_fails(tmp_path: Path) -> None:
    """The check itself: a case turned round must be refused, or the table proves nothing."""
    firing = next(case for case in cases.CASES if case.fires)
    silent = cases.Case(alert=firing.alert, name="turned", series=firing.series, at=firing.at)
    assert "turned" in _complaints([silent], tmp_path)


def test_after_a_quiet_day_nothing_fires(tmp_path: Path) -> None:
    day = 26 * 60
    quiet = {
        decision("allow"): f"0+3x{day}",
        decision("deny"): f"0x{day}",
        hit("soft"): f"0x{day}",
        hit("hard"): f"0x{day}",
        series(sc.METRIC_COST, ACME): f"0+0.0625x{day}",
        series(sc.METRIC_UTILIZATION, DAY): f"0.3x{day}",
        **window(DAY, f"0+0.0625x{day}", f"86400-60x{day}", limit=300),
    }
    tests = [
        {"alertname": alert, "eval_time": at, "exp_alerts": []}
        for at in ("10m", "1h10m", "7h", "20h", "25h")
        for alert in OTHERS
    ]
    group = INTERVAL | {
        "name": "a quiet day",
        "input_series": _input(quiet),
        "alert_rule_test": tests,
    }
    assert _run([group], tmp_path, evaluation_interval="2m") == ""


def test_with_no_data_nothing_fires_but_telemetry_absent(tmp_path: Path) -> None:
    expected = {f'{alert_model.EXPECTED}{{job="shop"}}': "1x120"}
    absent = next(c for c in cases.CASES if c.name == "an expected service never came")
    tests = [
        {
            "alertname": alert,
            "eval_time": "1h",
            "exp_alerts": [_expected(ALERTS[alert], fired) for fired in absent.fires]
            if alert == absent.alert
            else [],
        }
        for alert in OTHERS
    ]
    group = INTERVAL | {
        "name": "no data",
        "input_series": _input(expected),
        "alert_rule_test": tests,
    }
    assert _run([group], tmp_path) == ""


def test_the_list_of_expected_services_reaches_the_rules(tmp_path: Path) -> None:
    """With no data at all, a service on the list is missed, and nothing else is said."""
    listed = dataclasses.replace(THRESHOLDS, expected_services=("shop", "team/support bot"))
    files = output.files(listed)
    written = {
        path: text for path, text in files.items() if path.startswith("collector/prometheus/")
    }
    output.write(written, tmp_path)
    file = tmp_path / "test.yml"
    alert = ALERTS["LLMBudgetTelemetryAbsent"]
    missed = [
        cases.Fired(
            labels={"job": service},
            value=1,
            summary=f"{service} has sent no budget telemetry for 15m",
        )
        for service in listed.expected_services
    ]
    tests = [
        {
            "alertname": name,
            "eval_time": "20m",
            "exp_alerts": [_expected(alert, row) for row in missed] if name == alert.alert else [],
        }
        for name in OTHERS
    ]
    group = INTERVAL | {"name": "nothing", "input_series": [], "alert_rule_test": tests}
    rule_files = {"rule_files": [str(tmp_path / path) for path in written]}
    file.write_text(yaml.safe_dump(FILE | rule_files | {"tests": [group]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
