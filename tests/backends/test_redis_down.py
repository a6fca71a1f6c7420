"""Redis guards whose Redis is dead, hung, killed, unreachable for a reply, or behind TLS."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import RedisClusterException

from otel_budget import Allow, Deny, SoftLimit, instrument
from otel_budget.guards import AsyncRedisGuard, Limit, RedisGuard
from otel_budget.testing import capture_telemetry
from support.ports import free_port
from support.redis_guards import INFO, KINDS, Driver, usage_of
from support.redis_server import LosingProxy, RedisServer


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("trouble", ["dead", "hung"])
@pytest.mark.parametrize("when_down", ["closed", "open"])
def test_with_redis_down_the_guard_fails_as_configured_and_telemetry_shows_it(
    own_redis_server: RedisServer, kind: Any, trouble: str, when_down: str
) -> None:
    driver = Driver(
        kind, own_redis_server, Limit(1000, "tokens"), when_down=when_down, timeout=0.3, clock=None
    )
    with capture_telemetry() as telemetry:
        driver.guard = instrument(made := driver.guard, session_info=INFO)
        assert driver.check("s", 10) == Allow()
        if trouble == "dead":
            own_redis_server.kill()
        else:
            own_redis_server.signal(signal.SIGSTOP)
        began = time.monotonic()
        if when_down == "closed":
            with pytest.raises(redis.RedisError):
                driver.check("s", 10)
        else:
            answer = driver.check("s", 10)
            assert isinstance(answer, SoftLimit)
            assert answer.resource == "guard_unavailable"
        with pytest.raises(redis.RedisError):
            driver.record(10)
        with pytest.raises(redis.RedisError):
            made.budget_levels()  # no number is known
        assert time.monotonic() - began < 20, "bounded"
        if trouble == "dead":
            own_redis_server.start()
        else:
            own_redis_server.signal(signal.SIGCONT)
        # It recovers by itself, even if Redis has lost the script.
        assert driver.check("s", 10) == Allow()
    driver.guard = made
    driver.close()
    # What LLMBudgetGuardFailing and LLMBudgetGuardFailOpen look at.
    errors = telemetry.value("budget.guard.errors", decision_point="llm")
    unavailable = telemetry.value("budget.threshold_hits", resource="guard_unavailable")
    assert (errors, unavailable) == ((1, 0) if when_down == "closed" else (0, 1))
    assert telemetry.value("budget.guard.errors", decision_point="usage") == 1
    assert telemetry.value("budget.calls", tenant="acme") == 1, "the usage is counted all the same"


def test_a_guard_can_be_made_while_no_redis_answers(kind: Any) -> None:
    for url in (f"redis://127.0.0.1:{free_port()}", [f"redis://127.0.0.1:{free_port()}"] * 2):
        guard = kind(Limit(1, "tokens"), url=url, when_down="open", timeout=0.3)
        assert isinstance(asyncio.run(_checked(guard)), SoftLimit)


def test_a_script_that_redis_forgot_is_sent_again(redis_server: RedisServer, kind: Any) -> None:
    with Driver(kind, redis_server, Limit(100, "tokens")) as driver:
        driver.record(10)
        with redis.Redis.from_url(redis_server.url) as client:
            client.script_flush()
        driver.record(10)
        assert driver.level().consumed == 20


def test_a_record_whose_reply_was_lost_is_not_counted_twice(
    redis_server: RedisServer, kind: Any
) -> None:
    with (
        LosingProxy(redis_server.port) as proxy,
        Driver(kind, proxy.url, Limit(1000, "tokens"), timeout=1.0) as driver,
    ):
        driver.record(10)
        proxy.losing = True
        with pytest.raises(redis.RedisError):
            driver.record(10)
        assert driver.level().consumed == 20


async def test_a_cancelled_check_gives_its_reservation_back(
    own_redis_server: RedisServer,
) -> None:
    driver = Driver(AsyncRedisGuard, own_redis_server, Limit(100, "tokens"), clock=None)
    guard = driver.guard
    assert await guard.check_before_llm("warm", 1) == Allow()
    for _ in range(5):
        own_redis_server.signal(signal.SIGSTOP)
        check = asyncio.ensure_future(guard.check_before_llm("s", 40))
        await asyncio.sleep(0.05)  # it is sent, or on its way
        check.cancel()
        with pytest.raises(asyncio.CancelledError):
            await check
        await asyncio.sleep(0.05)
        own_redis_server.signal(signal.SIGCONT)
        await asyncio.gather(*guard._unfinished)
    level = (await asyncio.to_thread(guard.budget_levels))[0]
    assert (level.reserved, level.consumed) == (1, 0)
    assert await guard.check_before_llm("s", 99) == Allow()
    await guard.aclose()


def test_a_reserve_that_arrives_after_its_cancellation_reserves_nothing(
    redis_server: RedisServer,
) -> None:
    with Driver(RedisGuard, redis_server, Limit(100, "tokens")) as driver:
        guard = driver.guard
        guard._wait(guard._releasing("s", "call"))
        guard._wait(guard._checking("call", "s", 50))
        assert driver.level().reserved == 0
        guard._wait(guard._checking("other", "s", 50))
        assert guard._wait(guard._checking("other", "s", 50)) == Allow(), "asked again, held once"
        assert driver.level().reserved == 50
        guard._wait(guard._releasing("s", "other"))
        assert driver.level().reserved == 0


@pytest.mark.parametrize("when_down", ["closed", "open"])
@pytest.mark.parametrize("lost", [1, 2])
def test_of_two_slots_one_does_not_answer(
    redis_server: RedisServer, when_down: str, lost: int
) -> None:
    spent = lost == 2  # the limit of `all`, so that what the first has reserved is let go
    limits = Limit(100, "tokens"), Limit(50 if spent else 100, "tokens", "all")
    options: dict[str, Any] = {"shard": "tenant", "when_down": when_down}
    with Driver(RedisGuard, redis_server, *limits, **options) as driver:
        driver.record(50)
        steps, guard = list[str](), driver.guard
        send = guard._send

        def losing(request: Any) -> Any:
            """Redis did it, and the reply is lost."""
            reply = send(request)
            steps.append(request.arguments[0])
            if len(steps) - 1 == lost:
                raise redis.TimeoutError("lost")
            return reply

        guard._send = losing
        if spent:
            answer = driver.check("s", 10)
            assert isinstance(answer, Deny)
            assert answer.resource == "total_tokens"
            assert "held for up to 60 s" in answer.reason
        elif when_down == "open":
            assert isinstance(driver.check("s", 10), SoftLimit)
        else:
            with pytest.raises(redis.TimeoutError):
                driver.check("s", 10)
        proceeds = not spent and when_down == "open"
        assert steps == ["reserve", "reserve"] + ["release"] * (not proceeds)
        guard._send = send
        held = {level.resource for level in guard.budget_levels() if level.reserved}
        # Redis had reserved before the reply was lost; a call that proceeds needs the other, too.
        assert held == ({"total_tokens"} if not spent else set()) | (
            {"llm_tokens"} if proceeds else set()
        )
        # A record that fails in one slot counts in the other.
        steps.clear()
        lost = 0
        guard._send = losing
        with pytest.raises(redis.TimeoutError):
            driver.record(10)
        assert steps == ["settle", "settle"]
        guard._send = send
        assert {level.consumed for level in guard.budget_levels()} == {60}


async def test_a_record_that_is_cancelled_is_counted_in_both_slots(
    redis_server: RedisServer,
) -> None:
    limits = Limit(100, "tokens"), Limit(100, "tokens", "all")
    driver = Driver(AsyncRedisGuard, redis_server, *limits, shard="tenant")
    guard = driver.guard
    await guard.check_before_llm("s", 10)
    record = asyncio.ensure_future(guard.record_after_llm("s", usage_of(10)))
    await asyncio.sleep(0)
    record.cancel()
    with pytest.raises(asyncio.CancelledError):
        await record
    await guard.aclose()
    levels = await asyncio.to_thread(guard.budget_levels)
    assert [(level.consumed, level.reserved) for level in levels] == [(10, 0), (10, 0)]
    guard._close()


def test_killing_redis_loses_no_record_that_it_acknowledged(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    acknowledged, unacknowledged = [0] * 4, [0] * 4
    stop = threading.Event()
    driver = Driver(RedisGuard, server, Limit(1e6), timeout=5.0, clock=None)

    def work(number: int) -> None:
        while not stop.is_set():
            try:
                driver.guard.record_after_llm(f"s-{number}", usage_of(1))
                acknowledged[number] += 1
            except redis.RedisError:
                unacknowledged[number] += 1
                stop.wait(0.02)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(3):
            before, failed = list(acknowledged), sum(unacknowledged)
            _until(lambda b=before: all(n > t + 5 for n, t in zip(acknowledged, b, strict=True)))
            server.kill()
            _until(lambda f=failed: sum(unacknowledged) > f)
            server.start()
    finally:
        stop.set()
        for worker in workers:
            worker.join(30)
    told = round(driver.level().consumed * 1e6)
    driver.close()
    assert sum(acknowledged) <= told <= sum(acknowledged) + sum(unacknowledged)


@pytest.mark.parametrize("is_cluster", [False, True])
def test_over_tls_with_a_password(
    tmp_path: Path, redis_server: RedisServer, kind: Any, is_cluster: bool
) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    files = ["-keyout", key, "-out", certificate]
    subprocess.run(
        [*request.split(), "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True
    )
    port = free_port()
    options = {
        "port": "0", "tls-port": str(port), "tls-cert-file": certificate, "tls-key-file": key,
        "tls-auth-clients": "no", "requirepass": "p@ss", "save": "", "dir": str(tmp_path),
    }  # fmt: skip
    if is_cluster:  # of one node
        options |= {
            "cluster-enabled": "yes", "tls-cluster": "yes", "cluster-port": str(free_port()),
            "cluster-announce-ip": "127.0.0.1", "tls-ca-cert-file": certificate,
        }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    url = f"rediss://:p%40ss@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
    with subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL) as server:
        try:
            with redis.Redis.from_url(url) as client:
                _until(lambda: _answers(client))
                if is_cluster:
                    client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                    _until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
            with Driver(kind, [url] if is_cluster else url, Limit(100, "tokens")) as driver:
                driver.record(1)
                assert isinstance(driver.check("s", 100), Deny)
            wrong = url.replace("p%40ss", "wrong")
            guard = kind(Limit(1, "tokens"), url=[wrong] if is_cluster else wrong)
            with pytest.raises((redis.AuthenticationError, RedisClusterException)):
                asyncio.run(_checked(guard))
        finally:
            server.kill()


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


async def _checked(guard: Any) -> Any:
    try:
        answer = guard.check_before_llm("s", 1)
        return await answer if asyncio.iscoroutine(answer) else answer
    finally:
        await guard.aclose() if isinstance(guard, AsyncRedisGuard) else guard.close()


def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come true")
