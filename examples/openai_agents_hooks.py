"""The OpenAI Agents SDK: its run hooks ask and record, a tool guardrail refuses single tools.

`on_llm_start` may raise, which ends the run with `BudgetExhausted`. A refused tool does not end it:
the refusal is reported to the model, as in a3s-code.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from agents import (
    Agent,
    ModelResponse,
    RunConfig,
    RunContextWrapper,
    RunHooks,
    Runner,
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailData,
    Usage,
    function_tool,
    tool_input_guardrail,
)
from agents.models.interface import Model
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.guards import AsyncWindowGuard, Limit

INFO = SessionInfo(tenant="acme", agent="support", model="gpt-4o", provider="openai")
PRICES = FlatRates(2.5, 10)


@dataclass
class Session:
    """The run's context: the gate to ask, and the session's id."""

    gate: BudgetGate
    id: str


class BudgetHooks(RunHooks[Session]):
    async def on_llm_start(
        self,
        context: RunContextWrapper[Session],
        agent: Agent[Session],
        system_prompt: str | None,
        input_items: list[Any],
    ) -> None:
        session = context.context
        estimate = (len(system_prompt or "") + len(str(input_items))) // 4
        await session.gate.check_llm(session.id, estimate)

    async def on_llm_end(
        self, context: RunContextWrapper[Session], agent: Agent[Session], response: ModelResponse
    ) -> None:
        session = context.context
        await session.gate.record_llm(session.id, TokenUsage.from_openai(response.usage))


@tool_input_guardrail
async def within_budget(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
    session: Session = data.context.context
    try:
        await session.gate.check_tool(session.id, data.context.tool_name)
    except BudgetExhausted as refusal:
        return ToolGuardrailFunctionOutput.reject_content(str(refusal))
    return ToolGuardrailFunctionOutput.allow()


@function_tool(tool_input_guardrails=[within_budget])
def search(query: str) -> str:
    """Search the web."""
    return f"results for {query}"


@function_tool(tool_input_guardrails=[within_budget])
def shell(command: str) -> str:
    """Run a command."""
    raise AssertionError("refused, so never reached")


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(0.02), deny_tools=["shell"], session_info=INFO, prices=PRICES)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


async def main() -> list[str]:
    gate, answers = make_gate(), []
    agent = Agent[Session](name="support", model=ScriptedModel(), tools=[search, shell])
    for question in ("search", "shell", "chat", "chat"):
        try:
            result = await Runner.run(
                agent,
                question,
                context=Session(gate, "session-1"),
                hooks=BudgetHooks(),
                run_config=RunConfig(tracing_disabled=True),
            )
            answers.append(str(result.final_output))
        except BudgetExhausted as refusal:
            answers.append(f"refused: {refusal}")
        print(answers[-1])
    return answers


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
