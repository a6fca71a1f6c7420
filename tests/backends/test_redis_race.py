"""Many processes, threads and forks over one Redis pass no limit."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from otel_budget import BudgetLevel, Deny, for_a3s, instrument
from otel_budget.guards import Limit, RedisGuard, Reservation
from support.redis_cluster import RedisCluster
from support.redis_guards import KINDS, Driver, usage_of
from support.redis_racers import TOKENS, Account, Race, compete, racer
from support.redis_server import RedisServer, needed

PROCESSES, ROUNDS = 8, 10
#: Of the tenants in the cluster's first round.
TAGS = (':"race-0"', ':"race-0b"')


def dollars(driver: Driver, tenant: str) -> dict[str, int]:
    """The counts of a tenant's budget in USD, in 1e-9."""
    key = f'{{{driver.prefix}}}:tenant:USD:ever:"llm_cost_usd":"{tenant}":counts'
    return {name: int(value) for name, value in driver.stored()[key].items()}


def held(run: Race) -> dict[int, list[Account]]:
    """Hold a race; by round, what each process did."""
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(PROCESSES), context.Queue()
    racers = [
        context.Process(target=compete, args=(run, number, barrier, out))
        for number in range(PROCESSES)
    ]
    for one in racers:
        one.start()
    accounts: dict[int, list[Account]] = defaultdict(list)
    try:
        for _ in range(PROCESSES * run.rounds):
            number, account = out.get(timeout=120)
            accounts[number].append(account)
    finally:
        for one in racers:
            one.join(30)
            one.kill()

    return accounts


@pytest.mark.timeout(300)
def test_eight_processes_share_the_last_dollar_to_the_cent(redis_server: RedisServer) -> None:
    run, spent_before = Race(redis_server.url, 10.0, ROUNDS), 9_000_000
    for number in range(ROUNDS):
        with racer(RedisGuard, run, number) as driver:
            driver.record(spent_before, "before")
    accounts = held(run)
    for number in range(ROUNDS):
        ours, redis_says = accounts[number], dollars(driver, f"race-{number}")
        tokens = spent_before + sum(account.tokens for account in ours)
        assert redis_says["used"] == tokens * 1000, "exact"
        assert redis_says["reserved"] == 0
        if number % 2 == 0:  # every call cost what had been reserved for it
            assert redis_says["used"] == run.cap * 10**9
            assert sum(account.allowed for account in ours) == 1_000_000 // TOKENS
        else:  # over the cap by no more than what calls in progress used beyond their reservations
            assert redis_says["used"] <= run.cap * 10**9 + PROCESSES * (TOKENS // 2) * 1000
        # The dashboards' numbers, summed over the processes, equal the guard's.
        assert sum(account.telemetry_usd for account in ours) * 1e6 == pytest.approx(
            tokens - spent_before
        )
        assert sum(account.telemetry_decisions for account in ours) == sum(
            account.allowed + len(account.denied) for account in ours
        )


@pytest.mark.timeout(300)
def test_two_tenants_on_two_masters_of_a_cluster_pass_neither_limit() -> None:
    """Half a limit of `all` is missing to the two tenants: the last calls are let go again."""
    needed()
    rounds = 2
    with RedisCluster() as cluster:
        run = Race(cluster.urls, 1.0, rounds, "tenant")
        accounts = held(run)
        for number in range(rounds):
            ours, told = accounts[number], dict[str | None, BudgetLevel]()
            for team in (0, 1):
                with racer(RedisGuard, run, number, team) as driver:
                    driver.record(0)  # levels are of the budgets that a process served
                    levels = driver.guard.budget_levels()
                    told |= {one.tenant: one for one in levels if one.unit == "USD"}
            used = {tenant: round(one.consumed * 1e9) for tenant, one in told.items()}
            together, tokens = used.pop(None), sum(account.tokens for account in ours)
            assert together == sum(used.values()) == tokens * 1000, "exact"
            assert {one.reserved for one in told.values()} == {0}
            beyond = PROCESSES * (TOKENS // 2) * 1000 if number % 2 else 0
            assert max(used.values()) <= 10**9 + beyond
            assert together <= 1.5 * 10**9 + beyond
            refused = [resource for account in ours for resource in account.denied]
            assert f"all-{number}" in refused
        ports = {cluster.port_of(f"{{race{tag}}}") for tag in ("", *TAGS)}
    assert len(ports) > 1, "the limits are on several masters"


@pytest.mark.parametrize("kind", KINDS)
def test_through_the_a3s_bridge_from_many_threads_at_once(
    redis_server: RedisServer, kind: Any
) -> None:
    driver = Driver(
        kind, redis_server, Limit(600, "tokens"), reservation=Reservation(10), timeout=20.0
    )
    usage = {"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 20}

    def call(number: int) -> str:
        answer: str = bridge.check_before_llm(f"s-{number % 3}", 10)["decision"]
        if answer != "deny":
            bridge.record_after_llm(f"s-{number % 3}", dict(usage))
        return answer

    guard = instrument(driver.guard)
    with for_a3s(guard) as bridge, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(call, range(50)))
        for loop in list(getattr(driver.guard, "_of_loop", ())):  # the bridge's own
            asyncio.run_coroutine_threadsafe(driver.guard.aclose(), loop).result(10)
    # A call uses what was reserved for it: 30 fit.
    assert answers.count("deny") == 20
    assert (driver.level().consumed, driver.level().reserved) == (600, 0)
    driver.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # from Python 3.12
def test_a_forked_child_has_connections_of_its_own(redis_server: RedisServer) -> None:
    driver = Driver(RedisGuard, redis_server, Limit(10_000, "tokens"))
    driver.record(1)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(25):
                    driver.guard.record_after_llm("s", usage_of(1))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    driver.record(1)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert driver.level().consumed == 102
    assert not isinstance(driver.check(), Deny)
    driver.close()
