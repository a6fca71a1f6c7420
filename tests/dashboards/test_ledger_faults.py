"""Guards with a fault each, for hours, on a real Prometheus: each fires exactly its alert."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.stack import Stack
from dashboards.builder import thresholds
from dashboards.builder.labels import TENANT
from dashboards.builder.rules.alert_model import ENDED, TOLD, WINDOW_END
from dashboards.builder.rules.pipeline_alerts import pipeline
from guard_model import Fault, Process, Store, run
from ledger_scenarios import LEAK, MORE, STILL, UNDER, steady
from otel_budget import semconv as sc
from otel_budget.metric import Metric
from promtool import backend, promtool
from rule_cases.case import series
from support import redis_faults
from support.probes import eventually, get_json, query
from support.redis_server import RedisServer, needed

HOURS = 3
DATA = "prometheus-data"
#: Here Prometheus runs alone.
OF_THE_STACK = {alert.alert for alert in pipeline(thresholds.load())}
LEDGERS = "llm-budget-ledgers.yml"
#: Recorded in this order, because each is made of those before it.
PASSES = ((TOLD, WINDOW_END), (ENDED,))


def guards(now: int) -> dict[str, Fault]:
    """Tenants, and what is wrong with their guard in the last hours (times in minutes)."""
    return {
        "healthy": Fault(),
        "leaked reservation": Fault(leaks_at=now - 60),
        "lost settles": Fault(settles=2),
        "double charge": Fault(charges=2),
        "never accrues": Fault(settles=None),
    }


FIRES = {
    "leaked reservation": {LEAK},
    "lost settles": {UNDER},
    "double charge": {MORE},
    "never accrues": {STILL},
}


def processes(now: int) -> list[Process]:
    """Two of each tenant, with one store."""
    found = []
    for seed, (tenant, fault) in enumerate(guards(now).items()):
        store = Store(fault)
        found += [
            Process(
                instance=f"{tenant} {name}", store=store, calls=steady(2 * seed + number),
                owner={sc.TENANT: tenant}, shared=True,
            )
            for number, name in enumerate("ab")
        ]  # fmt: skip
    return found


#: Minute, instance, metric, attributes, value.
Row = tuple[int, str, Metric, dict[str, str], float]


def of_the_model(first: int, last: int) -> Iterator[Row]:
    """What the processes of the guard model exported in these minutes."""
    for minute, process, points in run(processes(last), range(first, last + 1)):
        for (metric, pairs), value in points.items():
            yield minute, process.instance, metric, dict(pairs), value


def of_the_redis_guard(first: int, last: int) -> Iterator[Row]:
    """The same of the Redis guard with the same faults, on a real Redis."""
    needed()
    with RedisServer() as server:
        for minute, process, points in redis_faults.run(server.url, range(first, last + 1)):
            for (metric, pairs), value in points.items():
                yield minute, process.instance, metric, dict(pairs), value


def write(directory: Path, rows: Iterator[Row]) -> None:
    """What was exported, into Prometheus' data.

    As blocks: samples of the past that arrive while it runs are lost when blocks for the same time
    are added afterwards, as those of the recorded series are.
    """
    lines = [
        f"{series(metric, attributes, instance=instance)} {value} {minute * 60}\n"
        for minute, instance, metric, attributes, value in rows
    ]
    file = directory / "history.txt"
    file.write_text("".join(lines) + "# EOF\n")
    done = promtool("tsdb", "create-blocks-from", "openmetrics", file, directory / DATA)
    assert done.returncode == 0, done.stdout + done.stderr


def impatient(stack: Stack) -> list[dict[str, Any]]:
    """The ledgers' rules as the stack has them, without `for`; nobody waits here."""
    file = stack.directory / "prometheus" / "rules" / LEDGERS
    rules = yaml.safe_load(file.read_text())
    for rule in rules["groups"][0]["rules"]:
        if "alert" in rule:
            rule["for"] = "0s"
    file.write_text(yaml.safe_dump(rules))
    found: list[dict[str, Any]] = rules["groups"][0]["rules"]
    return found


def backfill(stack: Stack, rules: list[dict[str, Any]], now: int) -> None:
    """Evaluate the recorded series for the hours past, as if Prometheus had been there."""
    for number, names in enumerate(PASSES):
        file = stack.directory / f"pass{number}.yml"
        chosen = [rule for rule in rules if rule.get("record") in names]
        file.write_text(yaml.safe_dump({"groups": [{"name": "past", "rules": chosen}]}))
        done = promtool(
            "tsdb", "create-blocks-from", "rules", f"--url={stack.prometheus}",
            f"--start={(now - HOURS * 60) * 60}", f"--end={now * 60}", "--eval-interval=60s",
            f"--output-dir={stack.directory / DATA}", file,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        stack.terminate("prometheus")
        stack.launch("prometheus")


@pytest.fixture(scope="module", params=[of_the_model, of_the_redis_guard])
def prometheus(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Prometheus that has seen the guards for hours, and goes on evaluating."""
    for program in ("prometheus", "promtool"):
        backend(program)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        now = int(time.time() // 60)
        write(Path(directory), request.param(now - HOURS * 60, now))
        with Stack(Path(directory), interval=1, programs=["prometheus"]) as stack:
            backfill(stack, impatient(stack), now)
            yield stack.prometheus


def firing(prometheus: str) -> dict[str, set[str]]:
    """Tenant -> names of the alerts that fire, of every rule but those on the stack itself."""
    found: dict[str, set[str]] = {}
    for alert in get_json(f"{prometheus}/api/v1/alerts")["data"]["alerts"]:
        labels = alert["labels"]
        if alert["state"] == "firing" and labels["alertname"] not in OF_THE_STACK:
            found.setdefault(labels.get(TENANT, ""), set()).add(labels["alertname"])
    return found


@pytest.mark.timeout(400)
def test_each_fault_fires_its_alert_and_nothing_else(prometheus: str) -> None:
    found = eventually(lambda: firing(prometheus), lambda fired: fired == FIRES)
    assert found == FIRES
    time.sleep(3)  # every rule again, and again
    assert firing(prometheus) == FIRES


def test_every_rule_saw_the_hours_behind(prometheus: str) -> None:
    """The check itself: the alerts above compare an hour, not what was seen since the start."""
    rows = query(prometheus, f"count_over_time({TOLD}{{{TENANT}='healthy'}}[{HOURS}h])")
    assert rows
    assert all(count > HOURS * 50 for _, count in rows)

    def health() -> set[str]:
        groups = get_json(f"{prometheus}/api/v1/rules")["data"]["groups"]
        # The records of all processes are made once in one or five minutes: see test_fleet.py.
        soon = [group for group in groups if "-fleet-" not in group["name"]]
        return {rule["health"] for group in soon for rule in group["rules"]}

    assert eventually(health, lambda found: found == {"ok"}) == {"ok"}
