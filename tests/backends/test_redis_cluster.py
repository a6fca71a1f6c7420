"""Redis guards over a Redis Cluster, also when a master dies."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
import redis

from otel_budget import Allow, Deny
from otel_budget.guards import Limit
from support.ports import free_port
from support.redis_cluster import RedisCluster
from support.redis_guards import KINDS, Driver
from support.redis_server import needed

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    needed()
    with RedisCluster() as running:
        yield running


def driver_of(cluster: RedisCluster, kind: type, prefix: str) -> Driver:
    nodes = [f"redis://127.0.0.1:{free_port()}", *cluster.urls]  # the first is not there any more
    limits = Limit(1e9, "tokens"), Limit(100, "tokens", "session"), Limit(1e9, "tokens", "all")
    return Driver(kind, nodes, *limits, clock=None, timeout=0.5, prefix=prefix)


def test_every_limit_of_a_call_is_in_one_slot(cluster: RedisCluster) -> None:
    for kind in KINDS:
        for prefix in ("one", "another", "a third"):
            with driver_of(cluster, kind, f"{kind.__name__} {prefix}") as driver:
                assert driver.check("s", 60) == Allow()
                assert isinstance(driver.check("s", 60), Deny)
                driver.record(50)
                told = {(v.resource, v.consumed, v.reserved) for v in driver.guard.budget_levels()}
                assert told == {
                    ("llm_tokens", 50, 0), ("session_tokens", 50, 0), ("total_tokens", 50, 0)
                }  # fmt: skip


def test_a_failover_loses_no_record_that_the_replica_had_heard(cluster: RedisCluster) -> None:
    """Both guards go on by themselves once the replica has taken over."""
    master = cluster.port_of("{failover}")
    drivers = [driver_of(cluster, kind, "failover") for kind in KINDS]
    acknowledged: list[float] = []
    failures: list[float] = []

    def record_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for number, driver in enumerate(drivers):
                try:
                    driver.record(1, f"s{number}-{len(acknowledged)}")
                    acknowledged.append(time.monotonic())
                except (redis.RedisError, redis.cluster.RedisClusterException):
                    failures.append(time.monotonic())
            time.sleep(0.01)

    record_for(1.0)
    killed = time.monotonic()
    cluster.signal(master, signal.SIGKILL)
    for _ in range(20):
        record_for(1.0)
        if failures and acknowledged[-1] > failures[-1] + 1.0:
            break
    counted = [v for v in drivers[0].guard.budget_levels() if v.resource == "total_tokens"]
    told = counted[0].consumed
    for driver in drivers:
        driver.close()
    # Redis acknowledges before the replica has heard.
    in_doubt = sum(killed - 0.3 < at < killed for at in acknowledged)
    assert len(acknowledged) - in_doubt <= told <= len(acknowledged) + len(failures)
    assert acknowledged[-1] > failures[-1], "they go on"
