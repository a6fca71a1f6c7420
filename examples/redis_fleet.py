"""Several processes that share one tenant's daily budget: watch all of them on the dashboards.

    make stack                                     # Collector, Prometheus, Jaeger, Alertmanager
    redis-server --bind 127.0.0.1 --save '' &      # or your own Redis
    .venv-examples/bin/python examples/redis_fleet.py --redis redis://127.0.0.1:6379/0

It stops when the budget is spent, or after --seconds. Each process sends its own telemetry (to
OTEL_EXPORTER_OTLP_ENDPOINT, or a Collector on this machine). Spend, tokens and decisions are
counters, which the dashboards add up. Consumed, limit and utilization are the tenant's: each
process reports them, and the dashboards take the largest. The agent label shows who spent how much.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from typing import Any

import redis

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.guards import Limit, RedisGuard, Reservation
from otel_budget.sdk import configure

PRICES = FlatRates(3, 15)


def work(number: int, options: argparse.Namespace, results: Any) -> None:
    """Run one process: model calls until the budget is spent."""
    telemetry = configure("redis-fleet")
    info = SessionInfo(
        tenant=options.tenant,
        agent=f"worker-{number}",
        model="claude-sonnet-5",
        provider="anthropic",
    )
    guard = RedisGuard(
        Limit(options.usd_per_day, "USD", per="tenant", window="day"),
        url=options.redis,
        session_info=info,
        prices=PRICES,
        reservation=Reservation(output_tokens=300),  # the most that a call may generate
    )
    gate = BudgetGate(instrument(guard, session_info=info, prices=PRICES))
    random_, calls, end = random.Random(number), 0, time.monotonic() + options.seconds
    while time.monotonic() < end:
        prompt, answer = random_.randrange(500, 3_000), random_.randrange(50, 300)
        try:
            with gate.llm_call(f"session-{number}", prompt) as call:
                time.sleep(options.pause)  # stands in for the wait for the model's answer
                call.usage(
                    TokenUsage.from_anthropic({"input_tokens": prompt, "output_tokens": answer})
                )
        except BudgetExhausted as refusal:
            print(f"worker {number}: {refusal}", flush=True)
            break
        calls += 1
    guard.close()
    telemetry.shutdown()
    results.put(calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0", help="URL of Redis")
    parser.add_argument("--processes", type=int, default=4, help="number of processes (4)")
    parser.add_argument("--tenant", default="acme", help="the tenant that pays (acme)")
    parser.add_argument("--usd-per-day", type=float, default=2.0, help="the tenant's cap (2.0)")
    parser.add_argument("--seconds", type=float, default=120.0, help="latest end (120)")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds per call (0.2)")
    options = parser.parse_args()
    try:
        with redis.Redis.from_url(options.redis, socket_connect_timeout=2.0) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"No Redis answers at {options.redis} ({error}); start one, or pass --redis URL")
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    workers = [
        context.Process(target=work, args=(number, options, results))
        for number in range(options.processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit("A worker failed; its error is above.")
    print(f"{sum(results.get() for _ in workers)} calls by {options.processes} processes")


if __name__ == "__main__":
    main()
