"""pydantic-ai: the capability `Budget` around each model request and each tool.

A request that fails records nothing, and streamed requests pass through it, too. The session is the
``conversation_id`` of the runs, or what ``session_id`` makes of their dependencies.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.messages import ModelMessage, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from otel_budget import BudgetExhausted, BudgetGate, FlatRates, SessionInfo, instrument
from otel_budget.guards import AsyncWindowGuard, Limit
from otel_budget.integrations.pydantic_ai import Budget

INFO = SessionInfo(tenant="acme", agent="support", provider="anthropic")
PRICES = FlatRates(3, 15, cache_read=0.3)


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(0.02), deny_tools=["shell"], session_info=INFO, prices=PRICES)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


def budget(gate: BudgetGate) -> Budget[str]:
    """The budget of an agent whose dependency is the session's id."""
    return Budget[str](gate, session_id=lambda ctx: ctx.deps)


def make_agent(gate: BudgetGate) -> Agent[str, str]:
    model = FunctionModel(scripted, model_name="claude-sonnet-5")
    agent = Agent(model, deps_type=str, capabilities=[budget(gate)])

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
