"""A day in the life, through the adapter and the real stack, with books of its own.

Several tenants, agents, models and tools; soft limits, denials, a guard that fails in every way,
calls without a price, a gate that stands in for a guard, and a restart in the middle.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_budget import (
    BudgetLevel,
    Deny,
    FlatRates,
    SessionInfo,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
    instrument,
)
from otel_budget import semconv as sc
from otel_budget.telemetry.hubs import poll_levels

SERVICE, ENVIRONMENT = "agents", "production"
#: USD per million tokens; cached prompt tokens cost what others do.
INPUT, OUTPUT = 3.0, 15.0
RATES = FlatRates(input=INPUT, output=OUTPUT, cache_read=INPUT, cache_write=INPUT)
DAY = 86400.0
PROVIDERS = {"claude-sonnet-4-5": "anthropic", "gpt-4o-mini": "openai", "llama-local": "ollama"}


@dataclass
class Books:
    """What the scenario did, counted by itself."""

    cost: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[str] = field(default_factory=Counter)
    unpriced: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    estimated: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    denials: Counter[tuple[str, str]] = field(default_factory=Counter)
    soft: int = 0
    guard_errors: int = 0


class Capped(SyncBudgetGuard):
    """A guard with a daily and a monthly cap per tenant, which tells its levels."""

    def __init__(self, caps: dict[str, float], books: Books) -> None:
        self.caps, self.books = caps, books
        self.tools = {"shell"}

    def _used(self, session_id: str) -> tuple[str, float]:
        tenant = session_id.split("/", maxsplit=1)[0]
        return tenant, self.books.cost[tenant] / self.caps[tenant]

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        tenant, used = self._used(session_id)
        cap = self.caps[tenant]
        if used >= 1:
            return Deny(resource="llm_cost_usd", reason=f"daily cap of {cap} USD is spent")
        if used >= 0.8:
            return SoftLimit(resource="llm_cost_usd", consumed=used * cap, limit=0.8 * cap)
        return None

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        if tool_name in self.tools:
            return Deny(resource="tools", reason=f"{tool_name} is not allowed")
        return None

    def budget_levels(self) -> Iterable[BudgetLevel]:
        for tenant, cap in self.caps.items():
            used = self.books.cost[tenant]
            yield BudgetLevel(
                "llm_cost_usd", used, cap, window="day", window_length=DAY,
                window_remaining=DAY / 2, tenant=tenant.strip("-") or None,
                reserved=cap / 100, reserved_age=4.0, shared=True, uncounted_calls=0,
            )  # fmt: skip
            yield BudgetLevel(
                "llm_cost_usd", used, 30 * cap, window="month", window_length=30 * DAY,
                window_remaining=15 * DAY, tenant=tenant.strip("-") or None,
            )  # fmt: skip


class Scripted(SyncBudgetGuard):
    """Answers, or raises, what it is told to; tells no levels."""

    def __init__(self) -> None:
        self.answer: Any = None

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _who(session_id: str) -> SessionInfo:
    tenant, agent, model = session_id.split("/")[:3]
    return SessionInfo(
        tenant=tenant if tenant != "-" else None,
        agent=agent,
        model=model,
        provider=PROVIDERS[model],
    )


class Process:
    """One process of the service: providers of its own, hence an instance id of its own."""

    def __init__(self, endpoint: str, books: Books, caps: dict[str, float]) -> None:
        self.books = books
        resource = Resource.create(
            {
                "service.name": SERVICE,
                "deployment.environment.name": ENVIRONMENT,
                # The SDK makes one for each process of the system; ours are in one.
                "service.instance.id": str(uuid.uuid4()),
            }
        )
        options: Any = {"endpoint": endpoint, "insecure": True, "timeout": 5}
        self.tracers = TracerProvider(resource=resource)
        self.tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**options)))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(**options), export_interval_millis=3_600_000
        )
        self.meters = MeterProvider([reader], resource=resource)
        self.logs = LoggerProvider(resource=resource)
        self.logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**options)))
        providers: Any = {
            "session_info": _who,
            "tracer_provider": self.tracers,
            "meter_provider": self.meters,
            "logger_provider": self.logs,
        }
        self.capped = instrument(Capped(caps, books), name="redis", prices=RATES, **providers)
        self.unpriced = instrument(Scripted(), name="local", prices=None, **providers)
        self.script = Scripted()
        self.flaky = instrument(self.script, name="flaky", prices=RATES, **providers)
        self.late = instrument(Slow(), name="slow", prices=RATES, late_after=0.02, **providers)

    def call(self, session_id: str, usage: dict[str, int], *, estimate: int = 1000) -> None:
        """A check, and if it lets the call proceed the call and its record."""
        tenant, _, model = session_id.split("/")[:3]
        guard = self.unpriced if model == "llama-local" else self.capped
        answer = guard.check_before_llm(session_id, estimate)
        if isinstance(answer, Deny):
            self.books.decisions[sc.DENY] += 1
            self.books.denials[tenant, answer.resource] += 1
            return
        soft = isinstance(answer, SoftLimit)
        self.books.decisions[sc.SOFT_LIMIT if soft else sc.ALLOW] += 1
        self.books.soft += soft
        self.books.estimated += estimate
        read, write = usage.get("read", 0), usage.get("write", 0)
        guard.record_after_llm(
            session_id,
            TokenUsage(
                prompt_tokens=usage["input"],
                completion_tokens=usage["output"],
                total_tokens=usage["input"] + usage["output"] + read + write,
                cache_read_tokens=read,
                cache_write_tokens=write,
                prompt_includes_cache=False,
            ),
        )
        self.books.calls[model] += 1
        for kind, count in (
            (sc.TOKENS_INPUT, usage["input"]),
            (sc.TOKENS_OUTPUT, usage["output"]),
            (sc.TOKENS_CACHE_READ, read),
            (sc.TOKENS_CACHE_WRITE, write),
        ):
            self.books.tokens[kind] += count
        if model == "llama-local":
            self.books.unpriced += 1
        else:
            prompt = usage["input"] + read + write
            self.books.cost[tenant] += (prompt * INPUT + usage["output"] * OUTPUT) / 1e6

    def tool(self, session_id: str, name: str) -> None:
        """A tool's check."""
        answer = self.capped.check_before_tool(session_id, name)
        denied = isinstance(answer, Deny)
        self.books.decisions[sc.DENY if denied else sc.ALLOW] += 1
        if denied:
            self.books.denials[session_id.split("/", maxsplit=1)[0], answer.resource] += 1

    def trouble(self) -> None:
        """A guard that raises, answers nonsense, comes late; a gate that stands in for one."""
        who = "globex/support/gpt-4o-mini/s"
        for answer, outcome in (
            (ConnectionError("store is gone"), sc.ERROR),
            ({"decision": "perhaps"}, sc.MALFORMED),
            (SoftLimit(resource=sc.GUARD_UNAVAILABLE, consumed=0, limit=0), sc.SOFT_LIMIT),
            (SoftLimit(resource="llm_tokens", consumed=900.0, limit=800.0), sc.SOFT_LIMIT),
        ):
            self.script.answer = answer
            try:
                self.flaky.check_before_llm(who, 500)
            except ConnectionError:
                self.books.guard_errors += 1
            self.books.decisions[outcome] += 1
            if outcome == sc.SOFT_LIMIT:
                self.books.soft += 1
                self.books.estimated += 500
        self.late.check_before_llm(who, 100)
        self.books.decisions[sc.LATE] += 1

    def flush(self) -> None:
        """Send everything now."""
        poll_levels()
        self.tracers.force_flush()
        self.logs.force_flush()
        self.meters.force_flush()

    def close(self) -> None:
        """End the process."""
        self.tracers.shutdown()
        self.logs.shutdown()
        self.meters.shutdown()


@contextmanager
def kept_alive(process: Process) -> Iterator[None]:
    """Let the process go on sending what it counted, however slow the machine; then end it."""
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(10):
            process.flush()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        process.close()


class Slow(SyncBudgetGuard):
    """Answers after its caller has given up."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> None:
        time.sleep(0.05)


#: The day's cap of each tenant, chosen so that one is spent, one is past its soft limit, and one
#: has used two thirds after half of its day: it will run out.
CAPS = {"acme": 0.5, "globex": 0.9, "initech": 1.2, "-": 5.0}


def run(endpoint: str, *, rounds: int = 10, pause: float = 1.0) -> tuple[Books, Process]:
    """Run the scenario; the returned process is still alive.

    Args:
        endpoint: OTLP over gRPC.
        rounds: How often each tenant works; half-way the process is restarted.
        pause: Seconds between rounds, so that rates have something to read.
    """
    books = Books()
    process = Process(endpoint, books, CAPS)
    share = 10 / rounds
    for number in range(rounds):
        if number == rounds // 2:
            process.flush()
            process.close()
            process = Process(endpoint, books, CAPS)
        big = {"input": int(8000 * share), "output": int(2000 * share)}
        cached = big | {"read": int(6000 * share), "write": int(1000 * share)}
        process.call("acme/researcher/claude-sonnet-4-5/s1", cached, estimate=int(12000 * share))
        process.call("globex/coder/claude-sonnet-4-5/s2", cached, estimate=int(16000 * share))
        process.call("initech/support/gpt-4o-mini/s3", big | {"read": int(5000 * share)})
        process.call("initech/coder/gpt-4o-mini/s3", {"input": int(9000 * share), "output": 100})
        process.call("-/batch/gpt-4o-mini/s4", {"input": 2000, "output": 100})
        process.call("globex/local/llama-local/s5", {"input": 3000, "output": 500})
        process.tool("acme/researcher/claude-sonnet-4-5/s1", "search")
        if number % 3 == 0:
            process.tool("globex/coder/claude-sonnet-4-5/s2", "shell")
            process.trouble()
        process.flush()
        time.sleep(pause)
    return books, process
