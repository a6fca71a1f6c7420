"""What a failover to a replica that lags behind its master costs a Redis guard."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from otel_budget.guards import Limit, RedisGuard
from support.redis_guards import Driver
from support.redis_server import LaggingLink, RedisServer, needed

LAG = 0.9
LIMIT = Limit(1e9, "tokens", "tenant", "ever")


def offset(client: Any) -> int:
    """How much a server has written or followed of the master's history, in bytes."""
    return int(client.info("replication")["master_repl_offset"])


def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come true")


def test_what_was_acknowledged_within_the_lag_is_lost_and_nothing_more() -> None:
    needed()
    acknowledged: list[tuple[int, int]] = []  # the master's offset afterwards, and tokens
    with (
        RedisServer({"repl-diskless-sync-delay": "0"}) as master,
        LaggingLink(master.port, LAG) as link,
        RedisServer({"replicaof": f"127.0.0.1 {link.port}"}) as replica,
        redis.Redis.from_url(replica.url, decode_responses=True) as of_replica,
    ):
        with redis.Redis.from_url(master.url, decode_responses=True) as of_master:
            driver = Driver(RedisGuard, master, LIMIT, clock=None, prefix="failover")
            until(lambda: of_replica.info("replication")["master_link_status"] == "up")

            def record() -> None:
                tokens = 100 + len(acknowledged)
                driver.record(tokens)
                acknowledged.append((offset(of_master), tokens))

            # Until the replica follows, at its distance.
            while len(acknowledged) <= 50 or offset(of_replica) < acknowledged[50][0]:
                record()
            for _ in range(50):
                record()
            driver.close()
        master.kill()
        link.__exit__()
        of_replica.replicaof("NO", "ONE")
        until(lambda: of_replica.info("replication")["role"] == "master")
        followed = offset(of_replica)
        with Driver(RedisGuard, replica, LIMIT, clock=None, prefix="failover") as promoted:
            promoted.check("s", 0)
            told = promoted.level().consumed
        of_replica.config_set("min-replicas-to-write", 1)
        with Driver(RedisGuard, replica, LIMIT, clock=None, prefix="failover") as refused:
            # A master without enough replicas writes nothing, so the guard fails.
            with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
                refused.record(1)
            with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
                refused.check("s", 1)
            assert refused.guard.budget_levels() == [], "it served nobody"
    arrived = sum(tokens for at, tokens in acknowledged if at <= followed)
    within = [tokens for at, tokens in acknowledged if at > followed]
    assert within, "the replica was behind"
    assert arrived <= told <= arrived + sum(within)
    assert told < arrived + sum(within), "what was in the lag is lost"
    print(f"\n  {LAG} s behind: {len(within)} of {len(acknowledged)} acknowledged records lost")
