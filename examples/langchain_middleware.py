"""LangChain: `BudgetMiddleware` around each model call and each tool call of an agent.

The session is LangGraph's own ``thread_id``. A refused model call ends the run with
`BudgetExhausted`; the refusal of a tool is reported to the model.
"""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from otel_budget import BudgetExhausted, BudgetGate, FlatRates, SessionInfo, instrument
from otel_budget.guards import Limit, WindowGuard
from otel_budget.integrations.langchain import BudgetMiddleware

INFO = SessionInfo(tenant="acme", agent="support", model="claude-sonnet-5", provider="anthropic")
PRICES = FlatRates(3, 15, cache_read=0.3)


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

    model: str = "claude-sonnet-5"

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
