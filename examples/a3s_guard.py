"""Guards for a3s-code's Python SDK, called as that SDK calls them.

It calls synchronously and positionally, from pool threads with an empty context, with dicts; an
exception, or an answer after five seconds, is a denial. A guard written for it is instrumented
unchanged. A typed or async guard becomes one with `for_a3s`.
"""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from otel_budget import FlatRates, SessionInfo, for_a3s, instrument
from otel_budget.guards import AsyncWindowGuard, Limit

INFO = SessionInfo(tenant="acme", agent="coder", model="claude-sonnet-5", provider="anthropic")
PRICES = FlatRates(3, 15, cache_read=0.3, cache_write=3.75)


class TurnLimit:
    """In the SDK's own dialect: at most `cap` model calls per session, no shell."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.calls: dict[str, int] = {}
        self.lock = threading.Lock()

    def check_before_llm(self, session_id: str, estimated_tokens: int) -> dict[str, Any] | None:
        with self.lock:
            used = self.calls[session_id] = self.calls.get(session_id, 0) + 1
        if used > self.cap:
            return {"decision": "deny", "resource": "calls", "reason": f"{self.cap} calls made"}
        if used == self.cap:
            return {"decision": "soft", "resource": "calls", "consumed": used, "limit": self.cap}
        return None

    def check_before_tool(self, session_id: str, tool_name: str) -> dict[str, Any] | None:
        if tool_name == "shell":
            return {"decision": "deny", "resource": "tools", "reason": "no shell here"}
        return {"decision": "allow"}


def make_dict_guard() -> Any:
    return instrument(TurnLimit(cap=3), session_info=INFO, prices=PRICES)


def make_bridged_guard() -> Any:
    """Instrument the guard, not the bridge: then a late or failing guard shows as such."""
    guard = AsyncWindowGuard(Limit(0.016), session_info=INFO, prices=PRICES)
    return for_a3s(instrument(guard, session_info=INFO, prices=PRICES))


def run_like_the_sdk(guard: Any) -> list[str]:
    """In your program this is `session.set_budget_guard(guard)` and `session.send(...)`."""
    decisions = []
    usage = {
        "prompt_tokens": 2_000, "completion_tokens": 50, "total_tokens": 2_050,
        "cache_read_tokens": None, "cache_write_tokens": None,
    }  # fmt: skip
    with ThreadPoolExecutor(2) as pool:

        def call(method: Any, *args: Any) -> Any:
            return pool.submit(contextvars.Context().run, method, *args).result(5)

        for tool in ("search", "shell", None, None):
            answer = call(guard.check_before_llm, "session-1", 10_600) or {"decision": "allow"}
            decisions.append(f"llm {answer['decision']}")
            if answer["decision"] == "deny":
                continue
            if hasattr(guard, "record_after_llm"):
                call(guard.record_after_llm, "session-1", dict(usage))
            if tool is not None:
                answer = call(guard.check_before_tool, "session-1", tool) or {"decision": "allow"}
                decisions.append(f"{tool} {answer['decision']}")
    return decisions


def main() -> tuple[list[str], list[str]]:
    with make_bridged_guard() as bridged:
        answers = run_like_the_sdk(make_dict_guard()), run_like_the_sdk(bridged)
    for kind, decisions in zip(("dict guard", "bridged guard"), answers, strict=True):
        print(f"{kind}: {', '.join(decisions)}")
    return answers


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("a3s-example")
    main()
