"""Calls to the a3s bridge as its SDK makes them: from bare threads."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import Any

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
}
ALLOW = {"decision": "allow"}


def on_bare_threads(*calls: Callable[[], Any]) -> list[Any]:
    """Make the calls at once, each on a thread without a `threading.Thread`, and wait for all."""
    results: dict[int, Any] = {}
    done = threading.Semaphore(0)

    def work(index: int, call: Callable[[], Any]) -> None:
        try:
            results[index] = call()
        except BaseException as error:
            results[index] = error
        done.release()

    for index, call in enumerate(calls):
        _thread.start_new_thread(work, (index, call))
    for _ in calls:
        assert done.acquire(timeout=30)
    return [results[index] for index in range(len(calls))]


def ask(bridge: Any, tokens: int = 1_000) -> Any:
    (answer,) = on_bare_threads(lambda: bridge.check_before_llm("s1", tokens))
    return answer


def denied(why: str) -> dict[str, str]:
    return {"decision": "deny", "resource": "guard_unavailable", "reason": f"the budget guard{why}"}
