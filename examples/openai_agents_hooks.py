"""The OpenAI Agents SDK: `BudgetModelProvider` for a run's models, a guardrail for its tools.

A refused model call ends the run with `BudgetExhausted`. A refused tool does not end it: the
refusal is reported to the model, as in a3s-code. Without ``session_id``, the session would be the
``group_id`` of the run.
"""

from __future__ import annotations

import asyncio
from typing import Any

from agents import Agent, ModelProvider, ModelResponse, RunConfig, Runner, Usage, function_tool
from agents.models.interface import Model
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from otel_budget import BudgetExhausted, BudgetGate, FlatRates, SessionInfo, instrument
from otel_budget.guards import AsyncWindowGuard, Limit
from otel_budget.integrations.openai_agents import BudgetModelProvider, tool_guardrail

INFO = SessionInfo(tenant="acme", agent="support", model="gpt-4o", provider="openai")
PRICES = FlatRates(2.5, 10)


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(0.02), deny_tools=["shell"], session_info=INFO, prices=PRICES)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


def make_agent(gate: BudgetGate) -> Agent[None]:
    within_budget = tool_guardrail(gate, session_id="session-1")

    @function_tool(tool_input_guardrails=[within_budget])
    def search(query: str) -> str:
        """Search the web."""
        return f"results for {query}"

    @function_tool(tool_input_guardrails=[within_budget])
    def shell(command: str) -> str:
        """Run a command."""
        raise AssertionError("refused, so never reached")

    return Agent(name="support", model="gpt-4o", tools=[search, shell])


async def main() -> list[str]:
    gate, answers = make_gate(), []
    agent = make_agent(gate)
    # Without the second argument, the models are OpenAI's own.
    models = BudgetModelProvider(gate, ScriptedModels(), session_id="session-1")
    for question in ("search", "shell", "chat", "chat"):
        try:
            result = await Runner.run(
                agent,
                question,
                run_config=RunConfig(model_provider=models, tracing_disabled=True),
            )
            answers.append(str(result.final_output))
        except BudgetExhausted as refusal:
            answers.append(f"refused: {refusal}")
        print(answers[-1])
    return answers


class ScriptedModels(ModelProvider):
    def get_model(self, model_name: str | None) -> Model:
        return ScriptedModel()


class ScriptedModel(Model):
    """Stands in for a real model: calls the tool it is asked for, then repeats its result."""

    async def get_response(self, system_instructions: Any, input: Any, *_: Any, **__: Any) -> Any:
        last = input[-1]
        output: Any
        if last.get("type") == "function_call_output":
            output = _message(str(last["output"]))
        elif last["content"] in ("search", "shell"):
            output = ResponseFunctionToolCall(
                type="function_call",
                call_id=f"call-{last['content']}",
                name=last["content"],
                arguments='{"query": "otters"}'
                if last["content"] == "search"
                else '{"command": "ls"}',
            )
        else:
            output = _message("Hello.")
        usage = Usage(requests=1, input_tokens=1_500, output_tokens=50, total_tokens=1_550)
        return ModelResponse(output=[output], usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def _message(text: str) -> ResponseOutputMessage:
    part = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id="m", type="message", role="assistant", status="completed", content=[part]
    )


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("openai-agents-example")
    asyncio.run(main())
