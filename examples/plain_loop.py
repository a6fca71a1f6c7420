"""A plain async agent loop: ask, call, record. It needs only the gate, whatever makes the calls.

On a soft limit, it switches to a cheaper model; a refusal ends the turn, not the session.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.guards import AsyncWindowGuard, Limit

INFO = SessionInfo(tenant="acme", agent="support", provider="openai")
# Your rates, in USD per million tokens. Guard and telemetry share them, so their numbers agree.
PRICES = FlatRates.by_model({"gpt-4o": FlatRates(2.5, 10), "gpt-4o-mini": FlatRates(0.15, 0.6)})


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(0.02), deny_tools=["shell*"], session_info=INFO, prices=PRICES)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


async def turn(gate: BudgetGate, session: str, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    estimate = len(question) // 4
    async with gate.llm_call(session, estimate, model="gpt-4o", provider="openai") as call:
        model = "gpt-4o-mini" if call.soft_limit else "gpt-4o"
        response = await completions_create(model=model, messages=messages)
        call.usage(TokenUsage.from_openai(response.usage), model=model)
    if response.tool is not None:
        async with gate.tool_call(session, response.tool):
            return f"{model} ran {response.tool}"
    return f"{model}: {response.text}"


async def main() -> list[str]:
    gate, answers = make_gate(), []
    for question in ("Hello", "List the files", "Look it up", "And again", "Once more"):
        try:
            answers.append(await turn(gate, "session-1", question))
        except BudgetExhausted as refusal:
            answers.append(f"refused: {refusal}")
        print(answers[-1])
    return answers


async def completions_create(*, model: str, messages: list[dict[str, str]]) -> Any:
    """Stands in for `AsyncOpenAI().chat.completions.create`: the same usage, no network."""
    tool = {"List the files": "shell_ls", "Look it up": "search"}.get(messages[0]["content"])
    tokens = 3_000 if model == "gpt-4o" else 20_000
    usage = {"prompt_tokens": tokens, "completion_tokens": 100, "total_tokens": tokens + 100}
    return SimpleNamespace(usage=usage, tool=tool, text="Certainly.")


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("plain-loop-example")
    asyncio.run(main())
