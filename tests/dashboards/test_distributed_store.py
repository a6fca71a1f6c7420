"""A store of three replicas in place of Prometheus: the shipped overlay, rules and queries."""

from __future__ import annotations

import json
import math
import ssl
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import history
import scenario
import store_world
from collector.backends import missing
from collector.stack import PROGRAMS
from otel_budget import semconv as sc
from otel_budget.metric import prometheus_label
from otel_budget.verify import collector
from panel_queries import fill_in
from promtool import backend
from store_world import World
from support import remote_write
from support.applications import LoadApp
from support.distributed_store import CortexStore, Store, ThanosStore
from support.faults import COUNTERS, run_phase
from support.paths import ROOT
from support.probes import eventually, get_json
from test_dashboards import GRAFANA, panels
from test_other_pages import a_million

pytestmark = pytest.mark.timeout(300)

Get = Callable[[str, Mapping[str, str]], Any]
RULES = [
    rule
    for file in sorted((ROOT / "collector" / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]


@pytest.fixture(scope="module", params=["cortex", "thanos"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    for program in (*PROGRAMS, "cortex"):
        backend(program)
    if missing(request.param):
        pytest.skip("thanos is not built; run `make backends-thanos`")
    with store_world.running(
        {"cortex": CortexStore, "thanos": ThanosStore}[request.param]
    ) as world:
        yield world


@pytest.fixture(scope="module")
def end(world: World) -> int:
    """The end of six hours of history, before anything that the rules record themselves.

    Not on a minute: Cortex' PromQL is that of Prometheus 2, where a range also has the sample at
    its very start.
    """
    # A receiver of Thanos makes its database when it is first written to, and refuses meanwhile;
    # and it is asked only for what is younger than the first.
    first = [({"__name__": "first"}, [(time.time() - 8 * 3600, 1.0)])]
    eventually(lambda: push(world.store, first))
    end = int(time.time()) // 60 * 60 - 300 + 17
    recorded: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
    for payload in history.payloads(end):
        request = urllib.request.Request(
            f"{world.stack.otlp_http}/v1/metrics",
            json.dumps(payload).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()
        for labels, sample in records(payload):
            recorded[labels].append(sample)
    # Cortex makes an underscore of a colon in OTLP. Its rulers write these names as they are.
    push(world.store, [(dict(labels), samples) for labels, samples in recorded.items()])
    # Of each request the last: a histogram.
    buckets = sc.METRIC_GUARD_DURATION.prometheus_name() + "_bucket"
    stored = {"query": f'sum(count_over_time({buckets}{{instance="history"}}[7h]))'}

    def counts() -> set[str]:
        return {
            get("query", stored)["data"]["result"][0]["value"][1] for get in stores(world).values()
        }

    assert len(eventually(counts, lambda found: len(found) == 1, timeout=60)) == 1
    return end + 5


def records(
    payload: Mapping[str, Any],
) -> Iterator[tuple[tuple[tuple[str, str], ...], tuple[float, float]]]:
    """Labels and sample of what the history has as rules would record it."""
    (resource,) = payload["resourceMetrics"]
    for metric in resource["scopeMetrics"][0]["metrics"]:
        if ":" not in metric["name"]:
            continue
        for point in metric["gauge"]["dataPoints"]:
            labels = {
                prometheus_label(one["key"]): one["value"]["stringValue"]
                for one in point["attributes"]
            }
            labels |= {"__name__": metric["name"], "job": "agents", "instance": "history"}
            labels[prometheus_label("deployment.environment.name")] = "production"
            value = remote_write.STALE if "flags" in point else point["asDouble"]
            yield tuple(sorted(labels.items())), (int(point["timeUnixNano"]) / 1e9, value)


def push(store: Store, series: Iterable[remote_write.Series]) -> bool:
    """Write past the Collector, with a certificate."""
    request = urllib.request.Request(store.write_urls()[1], remote_write.request(series))
    with urllib.request.urlopen(request, timeout=30, context=store.client.context) as answer:
        return bool(answer.status < 300)


def stores(world: World) -> dict[str, Get]:
    """How Prometheus and each replica are asked."""
    base = world.stack.prometheus
    found: dict[str, Get] = {"prometheus": lambda path, p: get_json(f"{base}/api/v1/{path}", p)}
    for replica in world.store.asked:
        url = world.store.query_url(replica)
        found[f"replica {replica}"] = partial(_asked, world.store, url)
    return found


def _asked(store: Store, url: str, path: str, parameters: Mapping[str, str]) -> Any:
    return store.client.get_json(f"{url}/api/v1/{path}", parameters)


def questions(end: int) -> dict[str, tuple[str, dict[str, str]]]:
    """Every panel's and every rule's query, about the history."""
    found = {}
    at = {"time": str(end)}
    window = {"start": str(end - 7200), "end": str(end), "step": "60"}
    for name, board in GRAFANA.items():
        for panel in panels(board):
            for target in panel.get("targets", ()):
                expr = fill_in(target["expr"].replace("$__to", str(end * 1000)))
                path, when = ("query", at) if target["instant"] else ("query_range", window)
                key = f"{name}: {panel['title']} {target['refId']}"
                found[key] = (path, {"query": expr, **when})
    for rule in RULES:
        key = f"{rule.get('record') or rule['alert']} {len(found)}"
        found[key] = ("query", {"query": rule["expr"], **at})
    return found


def numbers(answer: Any) -> dict[str, list[tuple[float, float]]]:
    """Time and value of each sample by the labels of its series."""
    return {
        json.dumps(row["metric"], sort_keys=True): [
            (float(at), float(value)) for at, value in row.get("values", [row.get("value")])
        ]
        for row in answer["data"]["result"]
    }


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """To the last digits: a sum, of millions of tokens too, depends on the order of its parts."""
    return one.keys() == other.keys() and all(
        len(one[labels]) == len(other[labels])
        and all(
            at == when and math.isclose(value, number, rel_tol=1e-9, abs_tol=1e-6)
            for (at, value), (when, number) in zip(one[labels], other[labels], strict=True)
        )
        for labels in one
    )


def different(world: World, end: int, *, every: int = 1) -> tuple[list[str], int]:
    """Which questions the replicas answer otherwise than Prometheus, and how many have data.

    Of all of them, or of a share: those to a store that lacks a replica can take seconds each.
    """
    wrong, told = [], 0
    first, *others = stores(world).items()
    for name, (path, parameters) in list(questions(end).items())[::every]:
        truth = numbers(first[1](path, parameters))
        told += bool(truth)
        for replica, get in others:
            if not same(truth, numbers(get(path, parameters))):
                wrong.append(f"{name} on {replica}")
    return wrong, told


def test_every_panel_and_rule_gives_the_numbers_of_prometheus(world: World, end: int) -> None:
    # Within seconds: Thanos' querier asks its receivers now and then how far back they go.
    wrong, told = eventually(lambda: different(world, end), lambda found: not found[0])
    assert dropped(world) == 0
    assert wrong == []
    assert told > 100


def evaluated(world: World) -> list[list[tuple[str, str, str]]]:
    """Group, name and health of each rule, of Prometheus and of the rulers."""
    return [
        sorted(
            (group["name"], rule["name"], rule["health"])
            for group in get("rules", {})["data"]["groups"]
            for rule in group["rules"]
        )
        for get in list(stores(world).values())[:2]
    ]


def alerts(world: World) -> list[set[tuple[tuple[str, str], ...]]]:
    """The labels of what Alertmanager was told by Prometheus, and by the rulers."""
    return [
        {
            tuple(sorted(alert["labels"].items()))
            for alert in get_json(f"{url}/api/v2/alerts", {"active": "true"})
        }
        for url in (world.stack.alertmanager, world.behind.alertmanager)
    ]


def recorded(world: World) -> list[set[str]]:
    """The names of what Prometheus and the rulers have recorded themselves.

    But for what is only there for who looked while it grew.
    """
    mine = '__name__=~"llm_budget:.+",__name__!~".*:emptying",instance!="history"'
    asked = {"query": f"group by (__name__) ({{{mine}}})"}
    return [set(numbers(get("query", asked))) for get in list(stores(world).values())[:2]]


def untrue(get: Get) -> list[str]:
    """The records that are not what their expression says at their time.

    Of those of metrics: what is recorded of records is not the same a moment later.
    """
    return [
        rule["record"]
        for rule in RULES
        if "record" in rule and "llm_budget:" not in rule["expr"] and not _true(get, rule)
    ]


def _true(get: Get, rule: Mapping[str, Any]) -> bool:
    name = rule["record"]
    samples = numbers(get("query", {"query": f'{name}{{instance!="history"}}[15s]'}))
    times = sorted({at for series in samples.values() for at, _ in series})
    if len(times) < 2:
        return True
    # The youngest may have been made while another group was writing what it is made of.
    moment = times[-2]
    found = {
        labels: number
        for labels, series in samples.items()
        for at, number in series
        if at == moment
    }
    said = {
        json.dumps(
            {"__name__": name, **row["metric"], **rule.get("labels", {})}, sort_keys=True
        ): float(row["value"][1])
        for row in get("query", {"query": rule["expr"], "time": f"{moment:.3f}"})["data"]["result"]
    }
    return all(
        labels in found and math.isclose(found[labels], number, rel_tol=1e-9)
        for labels, number in said.items()
    )


def test_the_rulers_record_and_alert_as_prometheus_does(world: World, end: int) -> None:
    """The whole of the rules without an error, and alerts at an Alertmanager with a login."""
    _, process = scenario.run(world.stack.otlp_grpc, rounds=4, pause=0.5)
    with scenario.kept_alive(process):
        rules = eventually(lambda: evaluated(world), lambda both: both[0] == both[1], timeout=60)
        assert rules[0] == rules[1]
        assert {health for _, _, health in rules[1]} == {"ok"}
        assert len(rules[1]) == len(RULES)
        told = eventually(lambda: alerts(world), lambda both: both[0] == both[1], timeout=60)
        assert told[0] == told[1]
        fired = {dict(labels)["alertname"] for labels in told[1]}
        assert {"LLMBudgetExhausted", "LLMBudgetGuardFailing", "LLMBudgetWatchdog"} < fired
        names = eventually(lambda: recorded(world), lambda both: both[0] == both[1], timeout=60)
        assert names[0] == names[1]
        assert len(names[1]) > 35
        rulers = partial(untrue, list(stores(world).values())[1])
        assert eventually(rulers, lambda wrong: not wrong) == []


def counted(store: Store, replica: int) -> dict[str, float | None]:
    """What a replica answers for the counters of the load's books."""
    return {
        name: store.total(f'{metric.prometheus_name()}{{job="load"}}', replica)
        for name, metric in COUNTERS.items()
    }


def dropped(world: World) -> float:
    """How many points the Collector in front of the store has given up."""
    told = collector.metrics(world.behind.collector_metrics).values
    return sum(n for (name, _), n in told.items() if "send_failed_metric_points" in name)


def test_nothing_is_missing_when_replicas_are_killed_under_load(
    world: World, end: int, tmp_path: Path
) -> None:
    store = world.store
    app = LoadApp(world.behind.otlp_http, "load", tmp_path / "books.json")
    try:
        run_phase(app, "whole", 3)
        store.kill(2)
        run_phase(app, "one is gone", 5)
        store.launch(2)
        store.wait_ready()
        run_phase(app, "it is back", 2)
        assert dropped(world) == 0
        store.kill(0)  # the one that the Collector writes to: what comes meanwhile waits on disk
        run_phase(app, "the Collector's own is gone", 3)
        store.launch(0)
        # While it starts it answers by 500, which the Collector does not send again: the next
        # export makes up for it.
        store.wait_ready()
        run_phase(app, "all are back", 3)
        books = app.finish()
    finally:
        app.close()
    truth = {name: pytest.approx(books[name]) for name in COUNTERS}
    assert books["decisions"] > 300
    for replica in store.asked:
        found = eventually(partial(counted, store, replica), lambda found: found == truth)
        assert found == truth
    # Not at the end alone: what came while one was away, the others have.
    store.kill(1)
    assert counted(store, 0) == truth
    assert different(world, end, every=12)[0] == []
    store.launch(1)
    store.wait_ready()


def test_a_page_elsewhere_can_neither_read_nor_write(world: World) -> None:
    """Not even one whose browser trusts the store: it has no certificate of its own."""
    store, forged = world.store, a_million("forged")
    assert all(file.stat().st_mode & 0o077 == 0 for file in store.certificates.iterdir())
    trusting = ssl.create_default_context(cafile=store.certificates / "ca.crt")
    attempts = {
        store.write_urls()[1]: forged,
        f"{store.query_url(0)}/api/v1/query?query=up": None,
    }
    for url, body in attempts.items():
        # The type of a request that no browser asks about first.
        plain = urllib.request.Request(url, body, {"Content-Type": "text/plain"})
        with pytest.raises(OSError, match=r"certificate required|EOF|reset"):
            urllib.request.urlopen(plain, timeout=10, context=trusting)
        without = urllib.request.Request(url.replace("https", "http"), body)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(without, timeout=10)
    assert eventually(lambda: store.query("forged"), lambda found: found == []) == []
    # The same with a certificate is taken: it was not the request that was wrong.
    mine = urllib.request.Request(store.write_urls()[1], forged)
    urllib.request.urlopen(mine, timeout=10, context=store.client.context).close()
    assert eventually(lambda: store.query("forged"))
