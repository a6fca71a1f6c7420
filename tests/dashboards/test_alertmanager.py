"""The shipped Alertmanager configuration: who is told, and what is not said twice."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.stack import free_addresses
from dashboards.builder import thresholds
from dashboards.builder.queries import Names
from dashboards.builder.rules import alert_model, pipeline_alerts, rule_groups
from otel_budget import semconv as sc
from otel_budget.metric import prometheus_label
from promtool import backend
from rule_cases import prom
from support.paths import ROOT
from support.probes import eventually, get_json

CONFIG = ROOT / "collector" / "alertmanager" / "alertmanager.yml"
GROUPS = rule_groups.groups(thresholds.load(), Names())
#: By severity; `none` has only the alert that always fires.
RECEIVERS = {"critical": "page", "warning": "team", "info": "info", "none": "watchdog"}
ALERTS = [rule for group in GROUPS for rule in group.rules if isinstance(rule, alert_model.Alert)]


def amtool(*arguments: str) -> str:
    done = subprocess.run(
        [backend("amtool"), *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def route(labels: Mapping[str, str]) -> list[str]:
    """The receivers that get an alert with these labels."""
    words = [f"{name}={value}" for name, value in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={CONFIG}", *words).split(",")


def test_amtool_accepts_the_configuration() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.alert)
def test_every_alert_reaches_the_receiver_of_its_severity(alert: alert_model.Alert) -> None:
    labels = {"alertname": alert.alert, "severity": alert.severity}
    told = RECEIVERS[alert.severity]
    assert route(labels) == [told]
    if alert.severity == alert_model.NO_SEVERITY:
        return  # it is about no tenant
    tenant = prom({sc.TENANT: "example"})
    assert route(labels | tenant) == ["tenant-example", told]
    assert route(labels | prom({sc.TENANT: "acme"})) == [told]


def test_other_peoples_alerts_stay_away() -> None:
    assert route({"alertname": "DiskFull", "severity": "critical"}) == ["nobody"]


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Alertmanager with the shipped configuration; its URL."""
    program = backend("alertmanager")
    directory = tmp_path_factory.mktemp("alertmanager")
    address = free_addresses()["ALERTMANAGER_ADDRESS"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={CONFIG}",
                f"--storage.path={directory / 'data'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://{address}"
            assert eventually(lambda: get_json(f"{url}/api/v2/status"))
            yield url
        finally:
            process.kill()
            process.wait()


def _budget(name: str, **who: str) -> dict[str, str]:
    attributes = {getattr(sc, key.upper()): value for key, value in who.items()}
    return {"alertname": name, **prom(attributes), "case": json.dumps([name, who])}


def _of(tenant: str, name: str, window: str = "", **more: str) -> dict[str, str]:
    who = {"tenant": tenant, "resource": "usd"} | ({"window": window} if window else {}) | more
    return _budget(f"LLMBudget{name}", **who)


def _post(alertmanager: str, alerts: list[dict[str, str]]) -> None:
    body = json.dumps([{"labels": labels} for labels in alerts]).encode()
    request = urllib.request.Request(
        f"{alertmanager}/api/v2/alerts", body, {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()


#: What fires for one tenant: name and window of what is heard, and of what is silent.
_TOLD: dict[str, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]] = {
    "a runaway": (
        [("Emptying", "day")],
        [
            ("BurnFast", "day"),
            ("BurnSlow", "day"),
            ("MonthBurnSlow", "month"),
            ("MonthBurnDays", "month"),
            ("WillRunOut", "month"),
            ("Denied", "day"),
            ("ThresholdReached", "day"),
            ("SpendSpike",),
        ],
    ),
    "a runaway that empties day and month": (
        [("Emptying", "day"), ("MonthBurnFast", "month"), ("Exhausted", "day")],
        [("BurnFast", "day"), ("MonthBurnSlow", "month"), ("ThresholdReached", "month")],
    ),
    "fast": (
        [("BurnFast", "day"), ("ThresholdReached", "day")],
        [("BurnSlow", "day"), ("MonthBurnSlow", "month"), ("SpendSpike",)],
    ),
    "slow": (
        [("BurnSlow", "day")],
        [("MonthBurnSlow", "month"), ("WillRunOut", "month"), ("SpendSpike",)],
    ),
    "a month's pace": (
        [("MonthBurnSlow", "month")],
        [("MonthBurnDays", "month"), ("WillRunOut", "month"), ("SpendSpike",)],
    ),
    "three days": ([("MonthBurnDays", "month"), ("SpendSpike",)], [("WillRunOut", "month")]),
    "an exhausted day says nothing of the month": (
        [("Exhausted", "day"), ("MonthBurnSlow", "month"), ("ThresholdReached", "month")],
        [("ThresholdReached", "day"), ("Denied", "day")],
    ),
    "exhausted after a fast hour": ([("Exhausted", "day")], [("BurnFast", "day")]),
    "exhausted, and another budget spends": ([("Exhausted", "day"), ("SpendSpike",)], []),
    "exhausted, of no known window": (
        [("Exhausted",)],
        [("ThresholdReached", "month"), ("SoftLimitCrossed",), ("Denied",)],
    ),
}


def test_one_runaway_is_one_page_and_the_rest_is_silent(alertmanager: str) -> None:
    heard = [_of(tenant, *each) for tenant, (told, _) in _TOLD.items() for each in told]
    silenced = [_of(tenant, *each) for tenant, (_, silent) in _TOLD.items() for each in silent]
    # Another tenant's, and another budget's.
    heard += [
        _of("calm", "BurnFast", "day"),
        _of("exhausted, of no known window", "ThresholdReached", "day", resource="tokens"),
    ]
    _expect(alertmanager, heard, silenced)


def _expect(alertmanager: str, heard: list[dict[str, str]], silenced: list[dict[str, str]]) -> None:
    """Post the alerts; of these, exactly those must be inhibited."""
    _post(alertmanager, [*silenced, *heard])
    cases = {labels["case"] for labels in (*silenced, *heard)}

    def found() -> list[dict[str, Any]]:
        alerts: list[dict[str, Any]] = get_json(f"{alertmanager}/api/v2/alerts")
        return [alert for alert in alerts if alert["labels"].get("case") in cases]

    def inhibited() -> set[str]:
        return {a["labels"]["case"] for a in found() if a["status"]["inhibitedBy"]}

    expected = {labels["case"] for labels in silenced}
    assert eventually(inhibited, lambda silent: silent == expected) == expected
    assert {alert["labels"]["case"] for alert in found()} == cases


def _health(name: str, **labels: str) -> dict[str, str]:
    """An alert about guard or pipeline, by Prometheus' labels."""
    return {"alertname": f"LLMBudget{name}", **labels, "case": json.dumps([name, labels])}


def _stand_in(name: str, job: str, tenant: str) -> dict[str, str]:
    return _health(name, job=job, **prom({sc.TENANT: tenant}))


def test_a_failing_guard_and_its_runaway_are_one_page(alertmanager: str) -> None:
    heard = [
        _health("GuardFailing", job="shop"),
        # Of another service, each with something that its own guard causes.
        _health("GuardLate", job="desk"),
        _stand_in("GuardFailOpen", "kiosk", "walk-in"),
        _health("GuardSlow", job="kiosk"),
        _health("GuardMalformed", job="lab"),
        # Another tenant, whom no gate stood in for.
        _of("not-shop", "Emptying", "day"),
        _of("", "Exhausted", "day"),
    ]
    silenced = [
        *(_health(name, job="shop") for name in ("GuardLate", "GuardMalformed", "GuardSlow")),
        *(_stand_in(f"GuardFail{how}", "shop", "shopper") for how in ("Open", "Closed")),
        _health("GuardFailClosed", job="shop"),  # of no known tenant
        *(_of("shopper", name, "day") for name in ("Emptying", "Exhausted", "GuardNotCounting")),
        _of("shopper", "MonthBurnFast", "month"),
        _budget("LLMBudgetSpendSpike", tenant="shopper"),
        _health("GuardSlow", job="desk"),
        _stand_in("GuardFailClosed", "desk", "clerk"),
        _of("walk-in", "Emptying", "day"),
        _stand_in("GuardFailOpen", "lab", "chemist"),
    ]
    _expect(alertmanager, heard, silenced)


def test_what_is_down_explains_what_is_silent(alertmanager: str) -> None:
    heard = [
        _health("MonitoringDown", job="otelcol"),
        _health("JaegerDown", job="jaeger"),
        _health("CollectorQueueFilling", exporter="otlp_http/prometheus"),
    ]
    silenced = [
        _health("TelemetrySilent"),
        _health("TelemetryAbsent", job="shop"),
        _health("CollectorQueueFilling", exporter="otlp_grpc/jaeger"),
    ]
    _expect(alertmanager, heard, silenced)


def test_the_pages_of_a_tenant_are_one_message_and_no_other_tenants(alertmanager: str) -> None:
    pages = ("Emptying", "MonthBurnFast", "Exhausted")
    _post(
        alertmanager,
        [
            _of(tenant, name) | {"severity": "critical"}
            for tenant in ("one", "two")
            for name in pages
        ],
    )

    def groups() -> dict[str, set[str]]:
        tenant = prometheus_label(sc.TENANT)
        return {
            group["labels"][tenant]: {a["labels"]["alertname"] for a in group["alerts"]}
            for group in get_json(f"{alertmanager}/api/v2/alerts/groups?receiver=page")
            if group["labels"].get(tenant) in ("one", "two")
        }

    names = {f"LLMBudget{name}" for name in pages}
    expected = {"one": names, "two": names}
    assert eventually(groups, lambda found: found == expected) == expected


def test_the_receivers_of_the_page_are_accepted(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "operating" / "alerts.md").read_text()
    (example,) = re.findall(r"```yaml\n(.+?)```", text, re.DOTALL)
    config = yaml.safe_load(example)
    shipped = yaml.safe_load(CONFIG.read_text())
    assert {r["name"] for r in config["receivers"]} <= {r["name"] for r in shipped["receivers"]}
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config | {"route": {"receiver": "page"}}))
    assert "SUCCESS" in amtool("check-config", str(file))


def test_every_severity_has_its_receiver() -> None:
    assert set(RECEIVERS) == set(alert_model.SEVERITIES) >= {alert.severity for alert in ALERTS}
    for severity, told in RECEIVERS.items():
        if severity != alert_model.NO_SEVERITY:
            assert route({"alertname": "LLMBudgetAny", "severity": severity}) == [told]


def test_as_shipped_nobody_is_notified() -> None:
    for receiver in yaml.safe_load(CONFIG.read_text())["receivers"]:
        assert set(receiver) == {"name"}


def test_the_configuration_names_only_labels_that_alerts_have() -> None:
    text = Path(CONFIG).read_text()
    for inhibition in yaml.safe_load(text)["inhibit_rules"]:
        for label in inhibition.get("equal", ()):
            assert any(label in alert.expr for alert in ALERTS), label


def test_the_programs_that_may_be_down_are_those_that_are_scraped() -> None:
    text = (ROOT / "collector" / "prometheus" / "prometheus.yml").read_text()
    jobs = {entry["job_name"] for entry in yaml.safe_load(text)["scrape_configs"]}
    named = {*pipeline_alerts.NEEDED_JOBS, pipeline_alerts.JAEGER_JOB}
    # Of what an application is scraped for, the Collector is the target.
    assert named == jobs - {"otel-budget-scrape"}
