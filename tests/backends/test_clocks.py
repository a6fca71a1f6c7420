"""The Collector measures how far the clock of each application is from its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.stack import Stack
from dashboards.builder import collector_metrics
from otel_budget.metric import prometheus_label
from otel_budget.verify import collector, processes
from support import probes
from support.verify_runs import another_time

pytestmark = [pytest.mark.backend, pytest.mark.timeout(180)]

Clock = tuple[dict[str, str], float]

PLACE = "deployment.environment.name=test,service.namespace=shop,team=budgets"


def measured(collector: Stack, stack: Stack, directory: Path, seconds: int) -> list[Clock]:
    """What Prometheus knows of the clocks of two processes in front of `collector`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    reports = processes.run_canaries(
        f"clock-{seconds}",
        "",
        kept
        | another_time(directory, seconds)
        | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http,
            "OTEL_RESOURCE_ATTRIBUTES": PLACE,
        },
    )
    ids = "|".join(str(instance) for instance in processes.instances(reports))
    found = f'{collector_metrics.CLOCK_AHEAD}{{instance=~"{ids}"}}'

    return probes.eventually(
        lambda: probes.query(stack.prometheus, found), lambda rows: len(rows) == 2
    )


def names(rows: list[Clock]) -> list[str]:
    return [labels["instance"] for labels, _ in rows]


def check(rows: list[Clock], seconds: int) -> None:
    assert len(set(names(rows))) == 2
    for labels, ahead in rows:
        assert ahead == pytest.approx(seconds, abs=15)  # on a busy machine
        assert {name: value for name, value in labels.items() if name != "instance"} == {
            "__name__": collector_metrics.CLOCK_AHEAD,
            "job": "shop/otel-budget-verify",
            prometheus_label("deployment.environment.name"): "test",
        }


@pytest.mark.parametrize("seconds", [0, 7200, -1800])
def test_a_clock_is_measured_whatever_prometheus_makes_of_its_metrics(
    stack: Stack, directory: Path, seconds: int
) -> None:
    rows = measured(stack, stack, directory, seconds)
    check(rows, seconds)
    # The resource has come with the other metrics alone, under their time: were it told now, too, a
    # Prometheus without a window for late samples would refuse those.
    told = [
        probes.query(stack.prometheus, f'target_info{{instance="{name}"}}') for name in names(rows)
    ]
    assert [bool(series) for series in told] == [not seconds] * 2


def test_a_clock_is_measured_by_the_gateway_alone(stack: Stack, directory: Path) -> None:
    gateway = stack.addresses["OTELCOL_OTLP_GRPC"]
    addresses = {"OTELCOL_GATEWAYS": f'["{gateway}"]', "OTELCOL_GATEWAY": gateway}
    inner = stack.add_collector("agent", overlays=["gateway"], environment=addresses)
    check(measured(inner, stack, directory, -3600), -3600)
    values = collector.metrics(inner.collector_metrics).values

    def points(name: str) -> float:
        return sum(value for (found, _), value in values.items() if found == f"otelcol_{name}")

    assert points("exporter_sent_metric_points") == points("receiver_accepted_metric_points") > 0
    stack.kill("agent")


def test_a_clock_is_measured_where_prometheus_scrapes(
    start_stack: Callable[..., Stack], directory: Path
) -> None:
    stack = start_stack(overlays=["scrape"], interval=1)
    rows = measured(stack, stack, directory, -1800)
    check(rows, -1800)
    for instance in names(rows):
        found = f'count_over_time(target_info{{instance="{instance}"}}[1h])'
        (info,) = probes.eventually(lambda found=found: probes.query(stack.prometheus, found))
        assert info[0]["team"] == "budgets"
