"""The packages: which call of each is timed, and what it needs before.

Each is set up as its own documentation does, with OpenTelemetry on and a budget that is never
reached. What a call would wait for (a provider, a tokenizer's download) is left out: the providers'
clients are stubs that answer at once.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from benchmarks.adapter import INFO, RATES, USAGE
from otel_budget import instrument
from otel_budget.guards import Limit, WindowGuard

#: Makes everything that is made once, and returns the call.
SetUp = Callable[[], Callable[[], object]]

#: Models that the packages' own price lists know.
GPT, CLAUDE = "gpt-4o", "claude-opus-4-1-20250805"

#: More than any run spends, in USD.
LIMIT = 1e9

PROMPT = [{"role": "user", "content": "What is left of the budget?"}]


@dataclass(frozen=True)
class Package:
    """A package and the call of it that is timed."""

    name: str
    call: str
    set_up: SetUp


def otel_budget() -> Callable[[], object]:
    """With the package's own guard: the others have one each, and its time is in theirs."""
    budget = WindowGuard(Limit(LIMIT, per="tenant"), session_info=INFO, prices=RATES)
    guard = instrument(budget, session_info=INFO, prices=RATES)

    def call() -> None:
        guard.check_before_llm("s", USAGE.prompt_tokens)
        guard.record_after_llm("s", USAGE)

    return call


def agent_sre() -> Callable[[], object]:
    """Guard and metrics know nothing of each other: a host calls both."""
    limits = {"per_agent_daily_limit": LIMIT, "org_monthly_budget": LIMIT}
    guard = import_module("agent_sre.cost.guard").CostGuard(**limits)
    exporter = import_module("agent_sre.integrations.otel").MetricsExporter()
    agent, spent = INFO.agent, 0.0122
    budget = guard.get_budget(agent)

    def call() -> None:
        guard.check_and_charge(agent, "task", spent)
        exporter.record_cost(
            agent, spent, budget.avg_cost_per_task, budget.utilization_percent / 100
        )

    # Its search for anomalies reads as many costs again on every call.
    for _ in range(1_000):
        guard.record_cost(agent, "task", spent)
    return call


def genai_otel_instrument() -> Callable[[], object]:
    """It asks no guard: the run that the call belongs to counts the tokens for its budget."""
    instrumentor = import_module(
        "genai_otel.instrumentors.openai_instrumentor"
    ).OpenAIInstrumentor()
    instrumentor.instrument(import_module("genai_otel.config").OTelConfig())
    answer = SimpleNamespace(
        id="chatcmpl-1",
        model=GPT,
        choices=[SimpleNamespace(finish_reason="stop", message=SimpleNamespace(content="All."))],
        usage=SimpleNamespace(
            prompt_tokens=USAGE.prompt_tokens,
            completion_tokens=USAGE.completion_tokens,
            total_tokens=USAGE.total_tokens,
        ),
    )
    completions = SimpleNamespace(create=lambda **_: answer)
    client = SimpleNamespace(chat=SimpleNamespace(completions=completions))
    # What it does to every client that openai.OpenAI() makes.
    instrumentor._instrument_client(client)
    import_module("genai_otel.agent_budget").push_frame()
    return lambda: completions.create(model=GPT, messages=PROMPT, max_tokens=100)


def guardloop() -> Callable[[], object]:
    """Its client for Anthropic: the one for OpenAI loads a tokenizer from the network."""
    package = import_module("guardloop")
    usage = SimpleNamespace(input_tokens=USAGE.prompt_tokens, output_tokens=USAGE.completion_tokens)
    answer = SimpleNamespace(usage=usage)
    client = SimpleNamespace(messages=SimpleNamespace(create=lambda **_: answer))
    loop = package.GuardLoop(
        budget=package.BudgetConfig(cost_limit_usd=LIMIT), anthropic_client=client
    )
    contexts: list[Any] = []
    asyncio.run(loop.run(contexts.append))
    messages = contexts[0].anthropic.messages

    def call() -> None:
        # Nothing in it waits, so it needs no event loop.
        try:
            messages.create(model=CLAUDE, max_tokens=100, messages=PROMPT).send(None)
        except StopIteration:
            return
        raise RuntimeError("its client waited")

    return call


def shekel() -> Callable[[], object]:
    """What its patched clients call when a provider has answered; it decides then, too."""
    import_module("shekel.otel").ShekelMeter()
    import_module("shekel").budget(max_usd=LIMIT, name="turn").__enter__()
    patch = import_module("shekel._patch")
    return lambda: patch._record(USAGE.prompt_tokens, USAGE.completion_tokens, GPT)


def strands_costguard() -> Callable[[], object]:
    """Its two hooks around a model call, in a run that was admitted."""
    os.environ["COST_GUARD_MAX_COST"] = str(LIMIT)
    package = import_module("strands_costguard")
    source = import_module("strands_costguard.policies.store").EnvPolicySource()
    guard = package.CostGuard(config=package.CostGuardConfig(policy_source=source))
    guard.on_run_start(INFO.tenant, INFO.agent, "workflow", "run")
    tokens = (USAGE.prompt_tokens, USAGE.completion_tokens, USAGE.total_tokens)

    def call() -> None:
        guard.before_model_call("run", GPT, prompt_tokens_estimate=USAGE.prompt_tokens)
        guard.after_model_call("run", package.ModelUsage(GPT, *tokens))

    return call


def tokenwarden() -> Callable[[], object]:
    """Its transport for HTTPX, which reads model and usage out of the bodies."""
    httpx, package = import_module("httpx"), import_module("tokenwarden")
    usage = {
        "prompt_tokens": USAGE.prompt_tokens,
        "completion_tokens": USAGE.completion_tokens,
        "total_tokens": USAGE.total_tokens,
    }
    answer = httpx.Response(200, json={"id": "chatcmpl-1", "model": GPT, "usage": usage})
    transport = package.TokenWardenTransport(
        httpx.MockTransport(lambda _: answer),
        budgets=[package.BudgetConfig("tenant", LIMIT, 86_400, dimension="tenant")],
    )
    package.set_attribution(tenant_id=INFO.tenant)
    request = httpx.Request(
        "POST",
        "https://api.openai.com/v1/chat/completions",
        content=json.dumps({"model": GPT, "messages": PROMPT}),
    )
    return lambda: transport.handle_request(request)


OWN = Package("otel-budget", "check_before_llm(), record_after_llm() of a WindowGuard", otel_budget)

PEERS = (
    Package("agent-sre", "CostGuard.check_and_charge(), MetricsExporter.record_cost()", agent_sre),
    Package(
        "genai-otel-instrument",
        "instrumented chat.completions.create() in an agent's run; asks no guard",
        genai_otel_instrument,
    ),
    Package("guardloop", "wrapped Anthropic messages.create()", guardloop),
    Package("shekel", "_patch._record() in `with budget(…)`; decides after the call", shekel),
    Package(
        "strands-costguard",
        "CostGuard.before_model_call(), after_model_call()",
        strands_costguard,
    ),
    Package("tokenwarden", "TokenWardenTransport.handle_request()", tokenwarden),
)
