"""Each integration as its users call it, under one signature: ask a model something, in a session.

``ask`` returns the answer; ``abandon`` reads the beginning of a streamed answer and leaves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import litellm
from agents import Agent as OpenAIAgent
from agents import OpenAIProvider, RunConfig, Runner, function_tool
from anthropic import Anthropic, AsyncAnthropic
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from litellm.router import Router
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider as PydanticProvider

from otel_budget import BudgetGate
from otel_budget.integrations import anthropic as gated_anthropic
from otel_budget.integrations import langchain as gated_langchain
from otel_budget.integrations import litellm as gated_litellm
from otel_budget.integrations import openai as gated_openai
from otel_budget.integrations import openai_agents, pydantic_ai

MODEL, CHEAPER = "gpt-5", "gpt-5-mini"
CLAUDE, CHEAPER_CLAUDE = "claude-sonnet-5", "claude-haiku-4-5"


@dataclass(frozen=True)
class Call:
    """A question to a model.

    Attributes:
        gate: The gate to go through.
        url: Where the model server is.
        prompt: What is asked.
        session: The session that asks.
        cheaper: What to use once a soft limit is crossed.
        left: Whether a streamed answer is left after its beginning.
    """

    gate: BudgetGate
    url: str
    prompt: str = "Hello"
    session: str = "s1"
    cheaper: str | None = None
    left: bool = False

    @property
    def openai(self) -> dict[str, Any]:
        """How a client of OpenAI reaches the server."""
        return {"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0}

    @property
    def chat(self) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": self.prompt}]}

    @property
    def message(self) -> dict[str, Any]:
        return {**self.chat, "model": CLAUDE, "max_tokens": 99}


Ask = Callable[[Call], Any]


@dataclass(frozen=True)
class Adapter:
    """One way to use an integration.

    Attributes:
        name: For the test's id.
        ask: Asks; a coroutine function for async ways.
        is_stream: Whether the answer is streamed.
        runs_tools: Whether the framework runs the tools ``search`` and ``shell``.
        models: The model that is asked, and the cheaper one.
        may_lack_usage: Whether a server can leave the usage out. LiteLLM counts that of a stream
            itself, and Anthropic's helper does not read a stream without.
        has_spans: Whether an OpenTelemetry instrumentation of the client is at hand.
    """

    name: str
    ask: Ask
    is_stream: bool = False
    runs_tools: bool = False
    models: tuple[str, str] = (MODEL, CHEAPER)
    may_lack_usage: bool = True
    has_spans: bool = True

    def __str__(self) -> str:
        return self.name

    async def __call__(self, call: Call) -> str:
        """Ask; a sync way in a thread, as a sync host would."""
        if asyncio.iscoroutinefunction(self.ask):
            answer: str = await self.ask(call)
            return answer
        return await asyncio.to_thread(self.ask, call)


def _joined(call: Call, parts: Any) -> str:
    read = []
    for part in parts:
        read.append(part or "")
        if call.left:
            return "left"
    return "".join(read)


async def _joined_async(call: Call, parts: AsyncIterator[Any]) -> str:
    read = []
    async for part in parts:
        read.append(part or "")
        if call.left:
            return "left"
    return "".join(read)


# -- OpenAI --------------------------------------------------------------------------------
def _openai(call: Call) -> OpenAI:
    client = OpenAI(**call.openai)
    return gated_openai.gated(
        client, call.gate, call.session, cheaper_model=call.cheaper, provider="openai"
    )


def _async_openai(call: Call) -> AsyncOpenAI:
    client = AsyncOpenAI(**call.openai)
    return gated_openai.gated(
        client, call.gate, lambda: call.session, cheaper_model=call.cheaper, provider="openai"
    )


def openai_chat(call: Call) -> str:
    with _openai(call) as client:
        return str(client.chat.completions.create(**call.chat).choices[0].message.content)


async def openai_chat_async(call: Call) -> str:
    async with _async_openai(call) as client:
        answer = await client.chat.completions.create(**call.chat)
        return str(answer.choices[0].message.content)


def openai_chat_stream(call: Call) -> str:
    with _openai(call) as client, client.chat.completions.create(**call.chat, stream=True) as parts:
        # As any host does: the chunk with the usage has no choices, and is not shown.
        return _joined(call, (chunk.choices[0].delta.content for chunk in parts))


async def openai_chat_stream_async(call: Call) -> str:
    async with (
        _async_openai(call) as client,
        await client.chat.completions.create(**call.chat, stream=True) as parts,
    ):
        return await _joined_async(call, (chunk.choices[0].delta.content async for chunk in parts))


def openai_chat_helper(call: Call) -> str:
    with _openai(call) as client, client.chat.completions.stream(**call.chat) as events:
        return _joined(call, (e.delta for e in events if e.type == "content.delta"))


async def openai_chat_helper_async(call: Call) -> str:
    async with (
        _async_openai(call) as client,
        client.chat.completions.stream(**call.chat) as events,
    ):
        return await _joined_async(
            call, (e.delta async for e in events if e.type == "content.delta")
        )


def openai_responses(call: Call) -> str:
    with _openai(call) as client:
        return client.responses.create(model=MODEL, input=call.prompt).output_text


async def openai_responses_stream_async(call: Call) -> str:
    async with (
        _async_openai(call) as client,
        await client.responses.create(model=MODEL, input=call.prompt, stream=True) as events,
    ):
        deltas = (e.delta async for e in events if e.type == "response.output_text.delta")
        return await _joined_async(call, deltas)


def openai_responses_helper(call: Call) -> str:
    with _openai(call) as client, client.responses.stream(model=MODEL, input=call.prompt) as events:
        return _joined(call, (e.delta for e in events if e.type == "response.output_text.delta"))


# -- Anthropic -----------------------------------------------------------------------------
def _anthropic(call: Call) -> Anthropic:
    client = Anthropic(base_url=call.url, api_key="none", max_retries=0)
    return gated_anthropic.gated(
        client, call.gate, call.session, cheaper_model=call.cheaper, provider="anthropic"
    )


def _async_anthropic(call: Call) -> AsyncAnthropic:
    client = AsyncAnthropic(base_url=call.url, api_key="none", max_retries=0)
    return gated_anthropic.gated(
        client, call.gate, call.session, cheaper_model=call.cheaper, provider="anthropic"
    )


def anthropic_messages(call: Call) -> str:
    with _anthropic(call) as client:
        return str(client.messages.create(**call.message).content[0].text)


async def anthropic_messages_async(call: Call) -> str:
    async with _async_anthropic(call) as client:
        answer = await client.beta.messages.create(**call.message)
        return str(answer.content[0].text)


def anthropic_stream(call: Call) -> str:
    with _anthropic(call) as client, client.messages.create(**call.message, stream=True) as events:
        return _joined(call, (e.delta.text for e in events if e.type == "content_block_delta"))


def anthropic_helper(call: Call) -> str:
    with _anthropic(call) as client, client.messages.stream(**call.message) as events:
        return _joined(call, events.text_stream)


async def anthropic_helper_async(call: Call) -> str:
    async with (
        _async_anthropic(call) as client,
        client.messages.stream(**call.message) as events,
    ):
        return await _joined_async(call, events.text_stream)


# -- LiteLLM -------------------------------------------------------------------------------
def _litellm(call: Call) -> tuple[gated_litellm.GatedLiteLLM, dict[str, Any]]:
    llm = gated_litellm.gated(litellm, call.gate, cheaper_model=call.cheaper)
    return llm, {
        **call.chat,
        "litellm_session_id": call.session,
        "api_base": f"{call.url}/v1",
        "custom_llm_provider": "openai",
        "api_key": "none",
        "max_retries": 0,
    }


def litellm_completion(call: Call) -> str:
    llm, request = _litellm(call)
    return str(llm.completion(**request).choices[0].message.content)


async def litellm_async(call: Call) -> str:
    llm, request = _litellm(call)
    answer = await llm.acompletion(request.pop("model"), request.pop("messages"), **request)
    return str(answer.choices[0].message.content)


def litellm_stream(call: Call) -> str:
    llm, request = _litellm(call)
    parts = llm.completion(**request, stream=True)
    return _joined(call, (chunk.choices[0].delta.content for chunk in parts))


async def litellm_stream_async(call: Call) -> str:
    llm, request = _litellm(call)
    async with await llm.acompletion(**request, stream=True) as parts:
        return await _joined_async(call, (chunk.choices[0].delta.content async for chunk in parts))


async def litellm_router(call: Call) -> str:
    _, request = _litellm(call)
    shared = {name: request[name] for name in ("api_base", "api_key", "max_retries")}
    router = Router(
        model_list=[
            {"model_name": alias, "litellm_params": {"model": f"openai/{model}", **shared}}
            for alias, model in (("fast", MODEL), ("small", CHEAPER))
        ],
        num_retries=0,
    )
    llm = gated_litellm.gated(
        router, call.gate, call.session, cheaper_model="small" if call.cheaper else None
    )
    answer = await llm.acompletion(model="fast", messages=request["messages"])
    return str(answer.choices[0].message.content)


# -- LangChain -------------------------------------------------------------------------------
@tool("search")
def langchain_search() -> str:
    """Search the web."""
    return "results"


@tool("shell")
def langchain_shell() -> str:
    """Run a command."""
    raise AssertionError("refused, so never reached")


def _langchain(call: Call) -> tuple[Any, Any, Any]:
    def model(name: str) -> ChatOpenAI:
        return ChatOpenAI(
            model=name,
            base_url=call.openai["base_url"],
            api_key=SecretStr("none"),
            max_retries=0,
            stream_usage=True,
        )

    middleware = gated_langchain.BudgetMiddleware(
        call.gate, cheaper_model=model(call.cheaper) if call.cheaper else None
    )
    tools = [langchain_search, langchain_shell]
    agent = create_agent(model(MODEL), tools, middleware=[middleware])
    return (
        agent,
        {"messages": [("user", call.prompt)]},
        {"configurable": {"thread_id": call.session}},
    )


def langchain(call: Call) -> str:
    agent, messages, config = _langchain(call)
    return str(agent.invoke(messages, config)["messages"][-1].text)


async def langchain_async(call: Call) -> str:
    agent, messages, config = _langchain(call)
    return str((await agent.ainvoke(messages, config))["messages"][-1].text)


async def langchain_stream_async(call: Call) -> str:
    agent, messages, config = _langchain(call)
    async with aclosing(agent.astream(messages, config, stream_mode="messages")) as parts:
        return await _joined_async(call, (part.text async for part, _ in parts))


# -- OpenAI Agents -------------------------------------------------------------------------
def _agents(call: Call, *, responses: bool) -> tuple[Any, Any]:
    within_budget = openai_agents.tool_guardrail(call.gate)

    @function_tool(tool_input_guardrails=[within_budget])
    def search() -> str:
        return "results"

    @function_tool(tool_input_guardrails=[within_budget])
    def shell() -> str:
        raise AssertionError("refused, so never reached")

    provider = OpenAIProvider(openai_client=AsyncOpenAI(**call.openai), use_responses=responses)
    config = RunConfig(
        model_provider=openai_agents.BudgetModelProvider(
            call.gate, provider, cheaper_model=call.cheaper
        ),
        group_id=call.session,
    )
    return OpenAIAgent(name="support", model=MODEL, tools=[search, shell]), config


async def agents_responses(call: Call) -> str:
    agent, config = _agents(call, responses=True)
    return str((await Runner.run(agent, call.prompt, run_config=config)).final_output)


async def agents_chat(call: Call) -> str:
    agent, config = _agents(call, responses=False)
    return str((await Runner.run(agent, call.prompt, run_config=config)).final_output)


async def agents_stream(call: Call) -> str:
    agent, config = _agents(call, responses=True)
    result = Runner.run_streamed(agent, call.prompt, run_config=config)
    async for event in result.stream_events():
        if call.left and event.type == "raw_response_event":
            result.cancel()
    return "left" if call.left else str(result.final_output)


# -- pydantic-ai -----------------------------------------------------------------------------
def _pydantic_ai(call: Call) -> Agent[None, str]:
    def model(name: str) -> OpenAIChatModel:
        client = AsyncOpenAI(**call.openai)
        return OpenAIChatModel(name, provider=PydanticProvider(openai_client=client))

    budget = pydantic_ai.Budget[None](
        call.gate, cheaper_model=model(call.cheaper) if call.cheaper else None
    )
    agent = Agent(model(MODEL), capabilities=[budget])

    @agent.tool_plain
    def search() -> str:
        return "results"

    @agent.tool_plain
    def shell() -> str:
        raise AssertionError("refused, so never reached")

    return agent


async def pydantic_ai_run(call: Call) -> str:
    return (await _pydantic_ai(call).run(call.prompt, conversation_id=call.session)).output


async def pydantic_ai_stream(call: Call) -> str:
    agent = _pydantic_ai(call)
    async with agent.run_stream(call.prompt, conversation_id=call.session) as result:
        return await _joined_async(call, result.stream_text(delta=True, debounce_by=None))


_CLAUDES: Any = {"models": (CLAUDE, CHEAPER_CLAUDE), "has_spans": False}
_TOLD: Any = {"is_stream": True, "may_lack_usage": False}
ADAPTERS = (
    Adapter("openai-chat", openai_chat),
    Adapter("openai-chat-async", openai_chat_async),
    Adapter("openai-chat-stream", openai_chat_stream, is_stream=True),
    Adapter("openai-chat-stream-async", openai_chat_stream_async, is_stream=True),
    Adapter("openai-chat-helper", openai_chat_helper, is_stream=True),
    Adapter("openai-chat-helper-async", openai_chat_helper_async, is_stream=True),
    Adapter("openai-responses", openai_responses),
    Adapter("openai-responses-stream-async", openai_responses_stream_async, is_stream=True),
    Adapter("openai-responses-helper", openai_responses_helper, is_stream=True),
    Adapter("anthropic", anthropic_messages, **_CLAUDES),
    Adapter("anthropic-async", anthropic_messages_async, **_CLAUDES),
    Adapter("anthropic-stream", anthropic_stream, is_stream=True, **_CLAUDES),
    Adapter("anthropic-helper", anthropic_helper, **_TOLD, **_CLAUDES),
    Adapter("anthropic-helper-async", anthropic_helper_async, **_TOLD, **_CLAUDES),
    Adapter("litellm", litellm_completion),
    Adapter("litellm-async", litellm_async),
    Adapter("litellm-stream", litellm_stream, **_TOLD),
    Adapter("litellm-stream-async", litellm_stream_async, **_TOLD),
    Adapter("litellm-router", litellm_router),
    Adapter("langchain", langchain, runs_tools=True),
    Adapter("langchain-async", langchain_async, runs_tools=True),
    Adapter("langchain-stream", langchain_stream_async, is_stream=True, runs_tools=True),
    Adapter("agents", agents_responses, runs_tools=True),
    Adapter("agents-chat", agents_chat, runs_tools=True),
    Adapter("agents-stream", agents_stream, is_stream=True, runs_tools=True),
    Adapter("pydantic-ai", pydantic_ai_run, runs_tools=True),
    Adapter("pydantic-ai-stream", pydantic_ai_stream, is_stream=True, runs_tools=True),
)
