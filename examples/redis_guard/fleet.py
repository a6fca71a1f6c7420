"""Several processes that share one tenant's day: watch the dashboards fill from all of them.

    .venv-examples/bin/python examples/redis_guard/fleet.py --redis redis://127.0.0.1:6379/0

It stops when the budget is spent, or after --seconds. Each process sends its own telemetry (to
OTEL_EXPORTER_OTLP_ENDPOINT, or a Collector on this machine); totals are sums over them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from pathlib import Path
from typing import Any

import redis

sys.path.insert(0, str(Path(__file__).parent))
from redis_guard import RedisGuard

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.sdk import configure

PRICES = FlatRates(3, 15)


def work(number: int, options: argparse.Namespace, results: Any) -> None:
    """One process: model calls until the budget is spent."""
    telemetry = configure("redis-fleet")
    info = SessionInfo(
        tenant=options.tenant,
        agent=f"worker-{number}",
        model="claude-sonnet-5",
        provider="anthropic",
    )
    guard = RedisGuard(
        options.redis,
        session_info=info,
        prices=PRICES,
        usd_per_day=options.usd_per_day,
        output_tokens=300,
    )
    gate = BudgetGate(instrument(guard, session_info=info, prices=PRICES))
    random_, calls, ended = random.Random(number), 0, time.monotonic() + options.seconds
    while time.monotonic() < ended:
        prompt, answer = random_.randrange(500, 3_000), random_.randrange(50, 300)
        try:
            with gate.llm_call(f"session-{number}", prompt) as call:
                time.sleep(options.pause)  # stands where the model's answer is waited for
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
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0", help="where Redis is")
    parser.add_argument("--processes", type=int, default=4, help="how many (4)")
    parser.add_argument("--tenant", default="acme", help="whose budget (acme)")
    parser.add_argument("--usd-per-day", type=float, default=2.0, help="the tenant's cap (2.0)")
    parser.add_argument("--seconds", type=float, default=120.0, help="when to stop at the latest")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds a call takes (0.2)")
    options = parser.parse_args()
    try:
        with redis.Redis.from_url(options.redis, socket_connect_timeout=2.0) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        sys.exit(
            f"No Redis answers at {options.redis} ({error}); start one, or name it: --redis URL"
        )
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
