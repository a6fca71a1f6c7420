"""Each example against the real library: what it prints, and what its telemetry shows."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from otel_budget.testing import CapturedTelemetry, capture_telemetry
from support.paths import ROOT

NAMES = (
    "plain_loop",
    "litellm_gate",
    "openai_agents_hooks",
    "pydantic_ai_hooks",
    "langchain_middleware",
    "anthropic_streaming",
    "a3s_guard",
    "worker_pool",
)


@pytest.fixture
def telemetry() -> Iterator[CapturedTelemetry]:
    with capture_telemetry() as captured:
        yield captured


def example(name: str) -> Any:
    return importlib.import_module(f"examples.{name}")


def decisions(telemetry: CapturedTelemetry, point: str) -> dict[str, float]:
    counted = {
        word: telemetry.value("budget.decisions", decision_point=point, decision=word)
        for word in (
            "allow",
            "soft_limit",
            "deny",
            "malformed",
            "error",
            "late",
            "cancelled",
        )
    }
    return {word: value for word, value in counted.items() if value}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", NAMES)
def test_each_example_runs_as_a_person_runs_it(name: str) -> None:
    done = subprocess.run(
        [sys.executable, f"examples/{name}.py"],
        cwd=ROOT,
        env={**os.environ, "OTEL_SDK_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout


def test_every_example_is_in_the_table_and_tested() -> None:
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    files = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert files == {*NAMES, "fastapi_service", "postgres_guard", "redis_fleet"}
    for name in files:
        assert f"[{name}.py]({name}.py)" in table


async def test_plain_loop_switches_to_a_cheaper_model_and_stops(
    telemetry: CapturedTelemetry,
) -> None:
    answers = await example("plain_loop").main()
    assert answers[0] == "gpt-4o: Certainly."
    assert answers[1].startswith("refused: Budget exhausted on 'tools'")
    assert answers[2] == "gpt-4o-mini ran search"
    assert [answer[:8] for answer in answers[3:]] == ["refused:", "refused:"]
    assert decisions(telemetry, "llm") == {"allow": 2, "soft_limit": 1, "deny": 2}
    assert decisions(telemetry, "tool") == {"allow": 1, "deny": 1}
    # 3,000 and 100 tokens twice at gpt-4o's rates, 20,000 and 100 at gpt-4o-mini's.
    assert telemetry.value("budget.cost", model="gpt-4o") == pytest.approx(0.017)
    assert telemetry.value("budget.cost", model="gpt-4o-mini") == pytest.approx(0.00306)


async def test_litellm_whole_and_streamed(telemetry: CapturedTelemetry) -> None:
    answers = await example("litellm_gate").main()
    assert answers[:3] == ["Hello from a mock: no key, no network."] * 3
    assert answers[3].startswith("refused: Budget exhausted on 'llm_tokens'")
    assert decisions(telemetry, "llm") == {"allow": 2, "soft_limit": 1, "deny": 1}
    assert telemetry.value("budget.calls", model="gpt-4o-mini", provider="openai") == 3
    assert (telemetry.value("budget.tokens") or 0) >= 60
    assert telemetry.value("budget.unpriced_calls") == 0


async def test_litellm_that_fails_records_nothing(telemetry: CapturedTelemetry) -> None:
    import litellm

    module = example("litellm_gate")
    request = {"model": module.MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    with pytest.raises(litellm.RateLimitError):
        llm = module.gated(litellm, module.make_gate(), "s")
        await module.complete(llm, **request, mock_response="litellm.RateLimitError")
    assert decisions(telemetry, "llm") == {"allow": 1}
    assert telemetry.value("budget.calls") == 0


async def test_openai_agents_hooks(telemetry: CapturedTelemetry) -> None:
    answers = await example("openai_agents_hooks").main()
    assert answers[:3] == [
        "results for otters",
        "Budget exhausted on 'tools': Tool 'shell' is on this guard's deny-list.",
        "Hello.",
    ]
    assert answers[3].startswith("refused: Budget exhausted on 'llm_cost_usd'")
    assert decisions(telemetry, "llm") == {"allow": 4, "soft_limit": 1, "deny": 1}
    assert decisions(telemetry, "tool") == {"allow": 1, "deny": 1}
    assert telemetry.value("budget.cost", tenant="acme") == pytest.approx(5 * 0.00425)


async def test_pydantic_ai_hooks(telemetry: CapturedTelemetry) -> None:
    answers = await example("pydantic_ai_hooks").main()
    assert answers[:3] == [
        "results for otters",
        "Budget exhausted on 'tools': Tool 'shell' is on this guard's deny-list.",
        "Hello.",
    ]
    assert answers[3].startswith("refused: Budget exhausted on 'llm_cost_usd'")
    assert decisions(telemetry, "llm") == {"allow": 4, "soft_limit": 1, "deny": 1}
    assert decisions(telemetry, "tool") == {"allow": 1, "deny": 1}
    assert telemetry.value("budget.cost", model="claude-sonnet-5") == pytest.approx(5 * 0.00405)
    assert telemetry.value("budget.tokens", token_type="cache_read") == 5_000
    assert telemetry.value("budget.tokens", token_type="input") == 5_000


async def test_pydantic_ai_streamed(telemetry: CapturedTelemetry) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.function import FunctionModel

    module = example("pydantic_ai_hooks")

    async def streamed(messages: Any, info: Any) -> Any:
        for word in ("Hello ", "there."):
            yield word

    agent = Agent(
        FunctionModel(stream_function=streamed),
        deps_type=str,
        capabilities=[module.budget(module.make_gate())],
    )
    async with agent.run_stream("chat", deps="session-1") as result:
        assert await result.get_output() == "Hello there."
    assert decisions(telemetry, "llm") == {"allow": 1}
    assert telemetry.value("budget.calls") == 1
    assert (telemetry.value("budget.tokens", token_type="output") or 0) > 0


def test_langchain_middleware(telemetry: CapturedTelemetry) -> None:
    answers = example("langchain_middleware").main()
    assert answers[1:6] == [
        "results for otters",
        "Otters.",
        "Run a command",
        "Budget exhausted on 'tools': Tool 'shell' is on this guard's deny-list.",
        "I may not.",
    ]
    assert answers[6].startswith("refused: Budget exhausted on 'llm_cost_usd'")
    assert decisions(telemetry, "llm")["deny"] == 1
    assert decisions(telemetry, "tool") == {"allow": 2, "deny": 1}
    calls = telemetry.value("budget.calls", model="claude-sonnet-5") or 0
    assert calls == 5
    assert telemetry.value("budget.cost") == pytest.approx(calls * 0.00405)
    assert telemetry.value("budget.tokens", token_type="cache_read") == calls * 1_000
    assert {span.attributes["session.id"] for span in telemetry.spans} == {"session-1"}  # type: ignore[index]


async def test_langchain_async(telemetry: CapturedTelemetry) -> None:
    agent = example("langchain_middleware").make_agent()
    for question in ("Search for otters", "Run a command"):
        result = await agent.ainvoke(
            {"messages": [("user", question)]}, {"configurable": {"thread_id": "session-2"}}
        )
    assert "Budget exhausted on 'tools'" in result["messages"][-2].text
    assert decisions(telemetry, "llm") == {"allow": 4}
    assert decisions(telemetry, "tool") == {"allow": 1, "deny": 1}
    assert telemetry.value("budget.calls") == 4
    assert {span.attributes["session.id"] for span in telemetry.spans} == {"session-2"}  # type: ignore[index]


async def test_anthropic_streaming_records_at_the_end_and_reports_an_abandoned_stream(
    telemetry: CapturedTelemetry,
) -> None:
    answers = await example("anthropic_streaming").main()
    assert answers[:3] == ["abandoned after 'Hello '", "Hello there.", "Hello there."]
    assert answers[3].startswith("refused: Budget exhausted on 'llm_cost_usd'")
    assert decisions(telemetry, "llm") == {"allow": 3, "deny": 1}
    assert telemetry.value("budget.calls") == 2
    assert telemetry.value("budget.calls_without_usage", reason="abandoned") == 1
    # 1,000 and 100 tokens, and 4,000 read from the cache.
    assert telemetry.value("budget.cost") == pytest.approx(2 * (0.003 + 0.0015 + 0.0012))


def test_a3s_guards_of_both_kinds(telemetry: CapturedTelemetry) -> None:
    dicts, bridged = example("a3s_guard").main()
    assert dicts == [
        *("llm allow", "search allow", "llm allow", "shell deny", "llm soft", "llm deny")
    ]
    assert bridged == [
        *("llm allow", "search allow", "llm allow", "shell allow", "llm soft", "llm deny")
    ]
    assert decisions(telemetry, "llm") == {"allow": 4, "soft_limit": 2, "deny": 2}
    assert decisions(telemetry, "tool") == {"allow": 3, "deny": 1}
    # A guard that does not record is still observed, if its runtime reports the usage.
    assert telemetry.value("budget.calls") == 6


def test_every_example_prices_and_labels_all_its_calls(telemetry: CapturedTelemetry) -> None:
    """No call of an example is unpriced or unlabelled: people copy it."""
    for name in NAMES:
        main = example(name).main
        if not inspect.iscoroutinefunction(main) and name != "worker_pool":
            main()
    assert telemetry.value("budget.unpriced_calls") == 0
    assert telemetry.value("budget.decisions") == telemetry.value("budget.decisions", tenant="acme")
    assert telemetry.value("budget.telemetry.errors") == 0
