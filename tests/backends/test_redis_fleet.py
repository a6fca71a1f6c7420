"""Several processes over one Redis, as the shipped stack sees them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from collector.backends import missing
from collector.stack import Stack
from dashboards.builder import queries
from otel_budget import SoftLimit
from otel_budget.guards import Limit, RedisGuard
from support import probes
from support.applications import Application
from support.missing import skip_or_fail
from support.paths import ROOT
from support.ports import free_port
from support.redis_server import RedisServer

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    absent = missing()
    if absent:
        skip_or_fail(f"{', '.join(absent)} is not built; run `make backends`")
    with (
        tempfile.TemporaryDirectory(prefix="otel-budget-", ignore_cleanup_errors=True) as name,
        Stack(Path(name)) as running,
    ):
        yield running


def test_the_dashboards_add_up_what_the_processes_spent(
    stack: Stack, redis_server: RedisServer
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "examples/redis_fleet.py", "--redis", redis_server.url),
            *("--tenant", "fleet", "--usd-per-day", "0.2", "--pause", "0.02"),
        ],
        cwd=ROOT,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Budget exhausted on 'llm_cost_usd': Tenant fleet used") == 4
    with redis.Redis.from_url(redis_server.url) as client:
        raw: Any = client.hgetall('{budget}:tenant:USD:day:"llm_cost_usd":"fleet":counts')
    spent = int(raw[b"used"]) / 1e9
    assert 0.18 < spent <= 0.2
    [made] = re.findall(r"(\d+) calls by 4 processes", done.stdout)

    def value_of(expression: str) -> list[float]:
        return [value for _, value in probes.query(stack.prometheus, expression)]

    tenant = queries.equals("budget.tenant", "fleet")
    cost = f"sum({queries.total(queries.selector('budget_cost_USD_total', tenant), '1h')})"
    assert probes.eventually(
        lambda: value_of(cost) == pytest.approx([spent])  # to the fraction of a cent
    ), (value_of(cost), spent)
    calls = f"sum({queries.total(queries.selector('budget_calls_total', tenant), '1h')})"
    assert value_of(calls) == [int(made)]
    # Each of the four reports the tenant's level; the largest is that of Redis.
    level = queries.selector("budget_consumed", tenant)
    assert value_of(f"count({level})") == [4]
    assert value_of(f"max({level})") == pytest.approx([spent])
    assert value_of(f"max({queries.selector('budget_limit', tenant)})") == [0.2]


def test_the_alerts_for_a_failing_guard_have_what_they_need(stack: Stack) -> None:
    rules = probes.get_json(f"{stack.prometheus}/api/v1/rules")["data"]["groups"]
    expressions = {rule["name"]: rule["query"] for group in rules for rule in group["rules"]}
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with Application(stack.otlp_grpc, "redis-down") as app:
        closed = app.instrument(RedisGuard(Limit(10, "tokens"), url=nowhere), name="closed")
        opened = app.instrument(RedisGuard(Limit(10, "tokens"), url=nowhere, when_down="open"))
        with pytest.raises(redis.RedisError):
            closed.check_before_llm("s", 1)
        assert isinstance(opened.check_before_llm("s", 1), SoftLimit)
        app.flush()
        for alert in ("LLMBudgetGuardFailing", "LLMBudgetGuardFailOpen"):
            rows = probes.eventually(
                lambda alert=alert: [
                    labels
                    for labels, _ in probes.query(stack.prometheus, expressions[alert])
                    if labels.get("job") == "redis-down"
                ]
            )
            assert rows, alert
