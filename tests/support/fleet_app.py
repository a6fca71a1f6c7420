"""One process of the fleet: ``python fleet_app.py NAME BOOKS SEED``, with a Redis guard of its own.

It writes what its guard was asked and answered, line by line, into the file BOOKS, around the guard
and without using the telemetry; a line is whole even if the process is killed. On standard input
``spend`` lets it spend what is left of the limit of all, and ``finish`` ends it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

from otel_budget import (
    BudgetDecision,
    BudgetExhausted,
    BudgetGate,
    Deny,
    FlatRates,
    SessionInfo,
    SoftLimit,
    TokenUsage,
    call_info,
    instrument,
)
from otel_budget.guards import Limit, RedisGuard, Reservation
from otel_budget.sdk import configure
from otel_budget.semconv import GUARD_UNAVAILABLE

SERVICE = "fleet"
PRICES = FlatRates(input=3.0, output=15.0)
#: What a check reserves besides its estimate; a call may use more.
OUTPUT = 300
LIFE = 60.0
LIMITS = (
    Limit(0.1, "USD", "tenant", "ever"),
    Limit(12_000, "tokens", "principal", "ever"),
    Limit(9_000, "tokens", "session", "ever"),
    Limit(5.5, "USD", "all", "ever"),
)
TENANTS = ("acme", "bolt", "core")
#: Seconds after which other tenants come, and other users.
_TENANTS_FOR, _USERS_FOR = 8, 3
_CALLS_OF_A_SESSION = 14


class Books:
    """The lines of one process."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.written = 0

    def write(self, what: str, **more: Any) -> None:
        line = json.dumps({"what": what, "at": time.time(), **more}) + "\n"
        self.written += 1
        os.write(self._file, line.encode())  # in one piece


class NotingGuard(RedisGuard):
    """Notes what it answers, and what is told it."""

    books: Books

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        started = time.time()
        noted = {"session": session_id, "began": started, "estimate": estimated_prompt_tokens}
        try:
            answer = super().check_before_llm(session_id, estimated_prompt_tokens)
        except Exception as error:
            self.books.write("check", **noted, decision="error", error=type(error).__name__)
            raise
        self.books.write("check", **noted, **_told(answer))
        return answer

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        used = {"input": usage.prompt_tokens, "output": usage.completion_tokens}
        self.books.write("recording", session=session_id, **used)
        try:
            super().record_after_llm(session_id, usage)
        except Exception as error:
            self.books.write("record failed", session=session_id, error=type(error).__name__)
            raise
        self.books.write("recorded", session=session_id)

    def release_llm(self, session_id: str) -> None:
        super().release_llm(session_id)
        self.books.write("released", session=session_id)

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        answer = super().check_before_tool(session_id, tool_name)
        self.books.write("tool", session=session_id, **_told(answer))
        return answer


def _told(answer: BudgetDecision) -> dict[str, Any]:
    if isinstance(answer, Deny):
        return {"decision": "deny", "resource": answer.resource, "message": answer.reason}
    return {"decision": "soft_limit" if isinstance(answer, SoftLimit) else "allow"}


class ExportFailures(logging.Handler):
    """Notes what the SDK's exporters log: what was not sent, and what they try again."""

    def __init__(self, books: Books) -> None:
        super().__init__(logging.WARNING)
        self._books = books

    def emit(self, record: logging.LogRecord) -> None:
        self._books.write("export failed", said=record.getMessage()[:200])


class Load:
    """Calls of changing tenants and users, one after the other."""

    def __init__(self, name: str, gate: BudgetGate, books: Books, seed: int) -> None:
        self._name, self._gate, self._books = name, gate, books
        self._random = random.Random(seed)
        self.stop, self.spends = threading.Event(), threading.Event()
        self._calls = 0
        self._tenant = self._user = ""
        #: Lines of calls whose telemetry is complete.
        self.complete = 0

    def run(self) -> None:
        while not self.stop.wait(0.02):
            self._call()
            self.complete = self._books.written

    def _call(self) -> None:
        numbers = self._random
        if self._calls % _CALLS_OF_A_SESSION == 0:
            now = int(time.time())
            self._tenant = f"{numbers.choice(TENANTS)}-{now // _TENANTS_FOR % 1000}"
            self._user = f"user-{now // _USERS_FOR % 1000}"
        tenant, user = self._tenant, self._user
        session = f"{self._name}-{self._calls // _CALLS_OF_A_SESSION}"
        self._calls += 1
        estimate, output = numbers.randrange(300, 1_500), numbers.randrange(20, OUTPUT)
        if self.spends.is_set():
            tenant, user = f"rich-{self._name}-{self._calls // 4}", f"user-{self._calls}"
            session, estimate = f"{self._name}-rich-{self._calls}", 8_000
        used = estimate + numbers.choice([0] * 9 + [500])  # one in ten needs more than it said
        with call_info(tenant=tenant, principal=user, model="m", provider="openai"):
            self._books.write("call", session=session, tenant=tenant, user=user)
            try:
                with self._gate.llm_call(session, estimate) as call:
                    time.sleep(0.03)  # stands in for the model
                    if numbers.random() < 0.03:
                        raise ConnectionError("the model did not answer")
                    call.usage(
                        TokenUsage(
                            prompt_tokens=used,
                            completion_tokens=output,
                            total_tokens=used + output,
                        )
                    )
                tool = numbers.choice(["search", "search", "search", "shell"])
                with self._gate.tool_call(session, tool):
                    pass
            except BudgetExhausted as refused:
                if refused.resource == GUARD_UNAVAILABLE:
                    what = {"resource": refused.resource, "message": refused.reason}
                    self._books.write("refused as unavailable", session=session, **what)
                time.sleep(0.05)
            except ConnectionError:
                pass


def main() -> None:
    name, books = sys.argv[1], Books(Path(sys.argv[2]))
    exports = logging.getLogger("opentelemetry")
    exports.addHandler(ExportFailures(books))
    exports.propagate = False
    telemetry = configure(SERVICE)
    guard = NotingGuard(
        *LIMITS,
        url=json.loads(os.environ["FLEET_REDIS"]),
        shard="tenant",
        prefix="fleet",
        prices=PRICES,
        reservation=Reservation(OUTPUT, LIFE),
        deny_tools=["shell"],
        session_info=SessionInfo(),
    )
    guard.books = books
    gate = BudgetGate(instrument(guard, prices=PRICES, name="redis"), timeout=60.0)
    load = Load(name, gate, books, int(sys.argv[3]))

    def tell() -> None:
        """How many lines are surely in the hands of a Collector."""
        while not load.stop.wait(2.0):
            complete = load.complete
            if telemetry.force_flush(3.0):
                books.write("told", lines=complete)

    workers = [threading.Thread(target=work) for work in (load.run, tell)]
    print("started", flush=True)
    try:
        for line in sys.stdin:
            match line.strip():
                case "go":
                    for worker in workers:
                        worker.start()
                case "spend":
                    load.spends.set()
                case "finish":
                    break
    finally:
        load.stop.set()
        for worker in workers:
            worker.join()
        books.write("end", lost=str(telemetry.shutdown(30.0)))


if __name__ == "__main__":
    main()
