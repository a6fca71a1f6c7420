"""A forked worker pool: one guard made before the fork, one budget in shared memory, exact totals.

The guard counts in memory that all workers share. The telemetry counts from zero in each process
and the backend adds it up; nothing of the parent's is counted twice. You have to do two things: let
workers end by themselves (`close` and `join`; leaving ``with Pool()`` kills them), and export what
a worker still holds at its end (`shutdown`), because forked workers skip `atexit`.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.util import Finalize

from otel_budget import (
    Allow,
    BudgetDecision,
    BudgetExhausted,
    BudgetGate,
    BudgetLevel,
    Deny,
    FlatRates,
    SessionInfo,
    SyncBudgetGuard,
    TokenUsage,
    instrument,
)
from otel_budget.sdk import configure

INFO = SessionInfo(tenant="acme", model="gpt-4o-mini", provider="openai")
CAP = 90_000
WORKERS, TASKS = 4, 100
CALL = TokenUsage(prompt_tokens=900, completion_tokens=100, total_tokens=1_000)


class SharedTokens(SyncBudgetGuard):
    """Your own guard in a few lines: a token cap for all workers together."""

    def __init__(self, cap: int, context: multiprocessing.context.ForkContext) -> None:
        self.cap = cap
        # What calls in progress may still use counts as used, so workers cannot exceed the cap.
        self.used: Synchronized[int] = context.Value("q", 0)

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        with self.used:
            if self.used.value + CALL.total_tokens > self.cap:
                reason = f"{self.used.value} of {self.cap} tokens"
                return Deny(resource="llm_tokens", reason=reason)
            self.used.value += CALL.total_tokens
        return Allow()

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        with self.used:
            self.used.value += usage.total_tokens - CALL.total_tokens

    def budget_levels(self) -> list[BudgetLevel]:
        return [BudgetLevel("llm_tokens", self.used.value, self.cap, unit="tokens", tenant="acme")]


FORK = multiprocessing.get_context("fork")
GUARD = SharedTokens(CAP, FORK)
GATE = BudgetGate(instrument(GUARD, session_info=INFO, prices=FlatRates(0.15, 0.6)))


def call_model(session: str) -> bool:
    """Run one task: True if the budget let it proceed."""
    try:
        with GATE.llm_call(session, CALL.prompt_tokens) as call:
            call.usage(CALL)  # in your program, from the model's response
    except BudgetExhausted:
        return False
    return True


def export_at_exit() -> None:
    """Runs once in each worker: calling `configure` again returns this process's handle."""
    Finalize(None, configure("worker-pool-example").shutdown, exitpriority=10)


def main() -> int:
    done = int(call_model("parent"))
    pool = FORK.Pool(WORKERS, initializer=export_at_exit)
    done += sum(pool.map(call_model, [f"session-{n}" for n in range(TASKS)], chunksize=5))
    pool.close()
    pool.join()
    print(f"{done} of {TASKS + 1} calls made, {GUARD.used.value:,} of {CAP:,} tokens used")
    return done


if __name__ == "__main__":
    configure("worker-pool-example")
    main()
