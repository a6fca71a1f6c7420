"""What the integrations of frameworks do beyond the table: sessions, and how a run ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents import Agent as OpenAIAgent
from agents import OpenAIProvider, RunConfig, Runner
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import SecretStr
from pydantic_ai import Agent
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider as PydanticProvider

from otel_budget import Allow, BudgetExhausted, BudgetGate, Deny, SyncBudgetGuard
from otel_budget.integrations.langchain import BudgetMiddleware
from otel_budget.integrations.openai_agents import BudgetModel, BudgetModelProvider
from otel_budget.integrations.pydantic_ai import Budget
from support.backend import Backend
from support.model_server import ANSWER, ModelServer


class Sessions(SyncBudgetGuard):
    """Keeps the session of each question; refuses model calls once it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuses = False

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        self.asked.append(session_id)
        return Deny(resource="r", reason="spent") if self.refuses else Allow()

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        self.asked.append(session_id)
        return Allow()


@tool
def search() -> str:
    """Search the web."""
    return "results"


@pytest.fixture
def guard() -> Sessions:
    return Sessions()


@pytest.fixture
def gate(guard: Sessions, backend: Backend) -> BudgetGate:
    return BudgetGate(backend.instrument(guard))


def chat_model(server: ModelServer, **options: Any) -> ChatOpenAI:
    url = f"{server.url}/v1"
    return ChatOpenAI(model="gpt-5", base_url=url, api_key=SecretStr("none"), **options)


# -- LangChain -----------------------------------------------------------------------------
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_of_langchain_without_a_thread_is_a_session(
    server: ModelServer, guard: Sessions, gate: BudgetGate, asynchronous: bool
) -> None:
    agent = create_agent(chat_model(server), [search], middleware=[BudgetMiddleware(gate)])
    for _ in range(2):
        question: Any = {"messages": [("user", "search")]}
        done = asyncio.run(agent.ainvoke(question)) if asynchronous else agent.invoke(question)
        assert done["messages"][-1].text == ANSWER
        assert "budget_run" not in done
    assert len(guard.asked) == 6
    first, second = guard.asked[:3], guard.asked[3:]
    assert [len(set(run)) for run in (first, second)] == [1, 1]
    assert first[0] != second[0]


@pytest.mark.parametrize("session", ["mine", lambda: "mine"], ids=["text", "function"])
def test_a_session_of_ones_own_goes_before_the_thread(
    server: ModelServer, guard: Sessions, gate: BudgetGate, session: Any
) -> None:
    middleware = BudgetMiddleware(gate, session_id=session)
    agent = create_agent(chat_model(server), [search], middleware=[middleware])
    agent.invoke({"messages": [("user", "search")]}, {"configurable": {"thread_id": "t"}})
    assert guard.asked == ["mine"] * 3


def test_a_refusal_can_be_the_last_message_of_an_agent(
    server: ModelServer, guard: Sessions, gate: BudgetGate
) -> None:
    guard.refuses = True
    middleware = BudgetMiddleware(gate, exit_behavior="end")
    agent = create_agent(chat_model(server), [search], middleware=[middleware])
    done = agent.invoke({"messages": [("user", "Hello")]})
    assert done["messages"][-1].text == "Budget exhausted on 'r': spent"
    assert server.requests == []
    with pytest.raises(ValueError, match="exit_behavior"):
        BudgetMiddleware(gate, exit_behavior="stop")  # type: ignore[arg-type]


# -- OpenAI Agents -------------------------------------------------------------------------
def openai_provider(server: ModelServer) -> OpenAIProvider:
    client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    return OpenAIProvider(openai_client=client, use_responses=False)


async def test_the_session_of_an_agents_run_is_its_group_or_its_trace(
    server: ModelServer, guard: Sessions, gate: BudgetGate
) -> None:
    models = BudgetModelProvider(gate, openai_provider(server))
    agent = OpenAIAgent(name="support", model="gpt-5")
    trace_id = "trace_" + "a" * 32
    for options in ({"group_id": "g1"}, {"trace_id": trace_id}):
        await Runner.run(agent, "Hello", run_config=RunConfig(model_provider=models, **options))
    assert guard.asked == ["g1", trace_id]
    with pytest.raises(ValueError, match="pass session_id"):
        config = RunConfig(model_provider=models, group_id="g1", tracing_disabled=True)
        await Runner.run(agent, "Hello", run_config=config)


async def test_an_agent_that_holds_its_model(
    server: ModelServer, guard: Sessions, gate: BudgetGate, backend: Backend
) -> None:
    held = openai_provider(server).get_model("gpt-5")
    model = BudgetModel(held, gate, session_id=lambda: "mine")
    assert model._supports_default_prompt_cache_key() == held._supports_default_prompt_cache_key()
    answer = await Runner.run(OpenAIAgent(name="support", model=model), "Hello")
    assert answer.final_output == ANSWER
    assert guard.asked == ["mine"]
    assert backend.value("budget.calls", gen_ai__request__model="gpt-5") == 1
    await model.close()


# -- pydantic-ai -----------------------------------------------------------------------------
def openai_model(server: ModelServer, name: str) -> OpenAIChatModel:
    client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    return OpenAIChatModel(name, provider=PydanticProvider(openai_client=client))


async def test_the_session_of_a_pydantic_ai_run_can_come_from_its_dependencies(
    server: ModelServer, guard: Sessions, gate: BudgetGate
) -> None:
    budget = Budget[str](gate, session_id=lambda ctx: ctx.deps)
    agent = Agent(openai_model(server, "gpt-5"), deps_type=str, capabilities=[budget])
    await agent.run("Hello", deps="mine")
    first = await Agent(openai_model(server, "gpt-5"), capabilities=[Budget(gate)]).run("Hello")
    assert guard.asked[0] == "mine"
    assert guard.asked[1] == first.all_messages()[-1].conversation_id


async def test_a_fallback_is_recorded_for_the_model_that_answered(
    server: ModelServer, gate: BudgetGate, backend: Backend
) -> None:
    first, second = (openai_model(server, name) for name in ("gpt-5", "gpt-5-mini"))
    model = FallbackModel(first, second)
    await Agent(model, capabilities=[Budget(gate)]).run("Hello")
    assert backend.value("budget.calls", gen_ai__request__model="gpt-5") == 1


async def test_a_refusal_of_a_sub_agent_is_not_the_tools_own(
    server: ModelServer, gate: BudgetGate
) -> None:
    """A tool that is allowed and whose own agent is refused has failed: the run ends."""
    inner_guard = Sessions()
    inner_guard.refuses = True
    inner = Agent(openai_model(server, "gpt-5"), capabilities=[Budget(BudgetGate(inner_guard))])
    outer = Agent(openai_model(server, "gpt-5"), capabilities=[Budget(gate)])

    @outer.tool_plain
    async def search() -> str:
        return (await inner.run("Hello")).output

    with pytest.raises(BudgetExhausted):
        await outer.run("search")
