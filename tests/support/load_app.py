"""An application under load, as a process of its own: ``python load_app.py SERVICE BOOKS``.

It keeps its own books, in the guard and around it, without using the telemetry, and writes them as
JSON into the file BOOKS after each cycle and at its end. On standard input ``mark NAME`` begins a
phase, ``clock SECONDS`` sets the clock so far ahead of the true one (see `another_time`) and
``finish`` ends the process; SIGTERM ends it, too.
"""

from __future__ import annotations

import json
import signal
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

from otel_budget import FlatRates, SessionInfo, instrument
from otel_budget.sdk import configure

RATES = FlatRates(input=3.0, output=15.0)
SESSION = 10  # cycles


class Guard:
    """Refuses one call in ten and warns at another; each message has the call's number."""

    def __init__(self) -> None:
        self.calls = 0
        self.denials: list[str] = []
        self.soft: list[str] = []

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        self.calls += 1
        if self.calls % SESSION == 0:
            self.denials.append(f"refusal {self.calls}")
            return {"decision": "deny", "resource": "usd", "reason": self.denials[-1]}
        if self.calls % SESSION == 5:
            self.soft.append(f"warning {self.calls}")
            return {
                "decision": "soft", "resource": "usd", "consumed": 8.0, "limit": 10.0,
                "message": self.soft[-1],
            }  # fmt: skip
        return None

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return None

    def record_after_llm(self, session_id: str, usage: Any) -> None:
        return None


class Books:
    """The application's own counts."""

    def __init__(self, guard: Guard, file: Path) -> None:
        self.guard, self.file = guard, file
        self.decisions = self.tokens = self.recorded = 0
        self.cost = 0.0
        self.phases: dict[str, list[float]] = {"start": []}
        self.phase = "start"

    def timed(self, call: Any, *arguments: Any) -> Any:
        started = time.perf_counter()
        answer = call(*arguments)
        self.phases[self.phase].append(time.perf_counter() - started)
        return answer

    def write(self, **more: Any) -> None:
        """Write them whole: the process may be killed at any time."""
        report = {
            "decisions": self.decisions, "tokens": self.tokens, "cost": self.cost,
            "calls": self.recorded, "denials": self.guard.denials, "soft": self.guard.soft, **more,
        }  # fmt: skip
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(json.dumps(report))
        unfinished.replace(self.file)


def work(guard: Any, books: Books, stop: threading.Event) -> None:
    cycle = 0
    while True:
        books.write()
        if stop.wait(0.02):
            return
        session = f"session-{cycle // SESSION}"
        cycle += 1
        answer = books.timed(guard.check_before_llm, session, 100)
        books.decisions += 1
        if answer is not None and answer["decision"] == "deny":
            continue
        usage = {"prompt_tokens": 100 + cycle % 7, "completion_tokens": cycle % 11}
        usage["total_tokens"] = sum(usage.values())
        guard.record_after_llm(session, usage)
        books.recorded += 1
        books.tokens += usage["total_tokens"]
        books.cost += 3e-6 * usage["prompt_tokens"] + 15e-6 * usage["completion_tokens"]
        guard.check_before_tool(session, "search")
        books.decisions += 1


def main() -> None:
    # A signal arrives on the main thread, which only waits: the load runs beside it.
    telemetry = configure(sys.argv[1], shutdown_timeout=10)
    inner, stop = Guard(), threading.Event()
    books = Books(inner, Path(sys.argv[2]))
    guard = instrument(
        inner,
        name="load",
        session_info=SessionInfo(tenant="acme", model="test-model", provider="openai"),
        prices=RATES,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    worker = threading.Thread(target=work, args=(guard, books, stop))
    try:
        worker.start()
        print("started", flush=True)
        for line in sys.stdin:
            command, _, name = line.strip().partition(" ")
            if command == "finish":
                break
            if command == "clock":
                sys.modules["sitecustomize"].ahead = int(name)
                continue
            books.phases[name] = []
            books.phase = name
    finally:
        stop.set()
        worker.join()
        losses = telemetry.shutdown()
        medians = {n: statistics.median(v) for n, v in books.phases.items() if len(v) > 10}
        books.write(medians=medians, losses=str(losses), lost_spans=losses.spans)


if __name__ == "__main__":
    main()
