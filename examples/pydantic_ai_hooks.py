"""pydantic-ai: a capability whose hooks wrap each model request and each tool.

The hook surrounds the request, so it can use the gate's context manager: a request that fails
records nothing, and streamed requests pass through it, too.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent, ModelResponse, RunContext, SkipToolExecution, TextPart, ToolCallPart
from pydantic_ai.capabilities import Hooks
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.guards import AsyncWindowGuard, Limit

INFO = SessionInfo(tenant="acme", agent="support", provider="anthropic")
PRICES = FlatRates(3, 15, cache_read=0.3)


def budget_hooks(gate: BudgetGate) -> Hooks[str]:
    """Hooks for an agent whose dependency is the session's id."""
    hooks = Hooks[str]()

    @hooks.on.model_request
    async def ask_and_record(
        ctx: RunContext[str], *, request_context: Any, handler: Any
    ) -> ModelResponse:
        estimate = len(str(request_context.messages)) // 4
        model = request_context.model.model_name
        async with gate.llm_call(ctx.deps, estimate, model=model) as call:
            response: ModelResponse = await handler(request_context)
            call.usage(token_usage(response.usage))
        return response

    @hooks.on.tool_execute
    async def ask(
        ctx: RunContext[str], *, call: ToolCallPart, tool_def: Any, args: Any, handler: Any
    ) -> Any:
        try:
            async with gate.tool_call(ctx.deps, call.tool_name):
                return await handler(args)
        except BudgetExhausted as refusal:
            raise SkipToolExecution(
                str(refusal)
            ) from None  # reported to the model; the run goes on

    return hooks


def token_usage(usage: RequestUsage) -> TokenUsage:
    """Convert it: its `input_tokens` include the cached ones, whatever the provider."""
    return TokenUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        prompt_includes_cache=True,
    )


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(0.02), deny_tools=["shell"], session_info=INFO, prices=PRICES)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


def make_agent(gate: BudgetGate) -> Agent[str, str]:
    model = FunctionModel(scripted, model_name="claude-sonnet-5")
    agent = Agent(model, deps_type=str, capabilities=[budget_hooks(gate)])

    @agent.tool_plain
    def search() -> str:
        return "results for otters"

    @agent.tool_plain
    def shell() -> str:
        raise AssertionError("refused, so never reached")

    return agent


async def main() -> list[str]:
    answers = []
    agent = make_agent(make_gate())
    for question in ("search", "shell", "chat", "chat"):
        try:
            answers.append((await agent.run(question, deps="session-1")).output)
        except BudgetExhausted as refusal:
            answers.append(f"refused: {refusal}")
        print(answers[-1])
    return answers


def scripted(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Stands in for a real model: calls the tool it is asked for, then repeats its result."""
    last = messages[-1].parts[-1]
    part: Any
    if isinstance(last, ToolReturnPart):
        part = TextPart(str(last.content))
    elif last.content in ("search", "shell"):
        part = ToolCallPart(str(last.content))
    else:
        part = TextPart("Hello.")
    usage = RequestUsage(input_tokens=2_000, cache_read_tokens=1_000, output_tokens=50)
    return ModelResponse(parts=[part], usage=usage)


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("pydantic-ai-example")
    asyncio.run(main())
