"""LangChain: a middleware around each model call and each tool call of an agent.

The session is LangGraph's own ``thread_id``. A refused model call ends the run with
`BudgetExhausted`; the refusal of a tool is reported to the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import tool
from langgraph.config import get_config

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.guards import Limit, WindowGuard

INFO = SessionInfo(tenant="acme", agent="support", model="claude-sonnet-5", provider="anthropic")
PRICES = FlatRates(3, 15, cache_read=0.3)


class BudgetMiddleware(AgentMiddleware):
    """The sync methods serve `invoke` and `stream`, the async twins `ainvoke` and `astream`."""

    def __init__(self, gate: BudgetGate) -> None:
        super().__init__()
        self.gate = gate

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        estimate = len(str(request.messages)) // 4
        with self.gate.llm_call(session_id(), estimate) as call:
            response = handler(request)
            report_usage(call, response)
        return response

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        estimate = len(str(request.messages)) // 4
        async with self.gate.llm_call(session_id(), estimate) as call:
            response = await handler(request)
            report_usage(call, response)
        return response

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]
    ) -> Any:
        try:
            with self.gate.tool_call(session_id(), request.tool_call["name"]):
                return handler(request)
        except BudgetExhausted as refusal:
            return refusal_message(refusal, request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        try:
            async with self.gate.tool_call(session_id(), request.tool_call["name"]):
                return await handler(request)
        except BudgetExhausted as refusal:
            return refusal_message(refusal, request)


def report_usage(call: Any, response: ModelResponse[Any]) -> None:
    usage = response.result[-1].usage_metadata
    if usage is not None:  # if it is None, the gate reports a call without usage
        call.usage(token_usage(usage))


def refusal_message(refusal: BudgetExhausted, request: ToolCallRequest) -> ToolMessage:
    return ToolMessage(str(refusal), tool_call_id=request.tool_call["id"] or "", status="error")


def session_id() -> str:
    return str(get_config()["configurable"]["thread_id"])


def token_usage(usage: UsageMetadata) -> TokenUsage:
    """Convert it: LangChain's `input_tokens` include the cached ones, whatever the provider."""
    details = usage.get("input_token_details", {})
    return TokenUsage(
        prompt_tokens=usage["input_tokens"],
        completion_tokens=usage["output_tokens"],
        total_tokens=usage["total_tokens"],
        cache_read_tokens=details.get("cache_read"),
        cache_write_tokens=details.get("cache_creation"),
        prompt_includes_cache=True,
    )


def make_gate() -> BudgetGate:
    guard = WindowGuard(Limit(0.02), deny_tools=["shell"], session_info=INFO, prices=PRICES)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


@tool
def search() -> str:
    """Search the web."""
    return "results for otters"


@tool
def shell() -> str:
    """Run a command."""
    raise AssertionError("refused, so never reached")


class ScriptedModel(FakeMessagesListChatModel):
    """LangChain's fake model, which returns the given messages in turn."""

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self


def message(text: str, tool: str | None = None) -> AIMessage:
    return AIMessage(
        text,
        tool_calls=[{"name": tool, "args": {}, "id": f"call-{tool}"}] if tool else [],
        usage_metadata={
            "input_tokens": 2_000,
            "output_tokens": 50,
            "total_tokens": 2_050,
            "input_token_details": {"cache_read": 1_000},
        },
    )


def make_agent() -> Any:
    model = ScriptedModel(
        responses=[
            message("", "search"),
            message("Otters."),
            message("", "shell"),
            message("I may not."),
        ]
    )
    return create_agent(model, [search, shell], middleware=[BudgetMiddleware(make_gate())])


def main() -> list[str]:
    agent = make_agent()
    answers = []
    for question in ("Search for otters", "Run a command", "Search again"):
        try:
            result = agent.invoke(
                {"messages": [("user", question)]}, {"configurable": {"thread_id": "session-1"}}
            )
            answers += [part.text for part in result["messages"] if part.text]
        except BudgetExhausted as refusal:
            answers.append(f"refused: {refusal}")
    print("\n".join(answers))
    return answers


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("langchain-example")
    main()
