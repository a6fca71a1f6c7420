"""LiteLLM, whole and streamed, behind the gate.

Why not use a LiteLLM callback: success callbacks run later, in the background, and their exceptions
are swallowed, so the next check may come before the record. The gate has recorded the call before
the next line runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else importing it downloads one
import litellm

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    FlatRates,
    SessionInfo,
    TokenUsage,
    instrument,
)
from otel_budget.guards import AsyncWindowGuard, Limit

MODEL = "gpt-4o-mini"
INFO = SessionInfo(tenant="acme", provider="openai")
PRICES = FlatRates(input=0.15, output=0.6)


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(60, unit="tokens"), session_info=INFO)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


async def complete(gate: BudgetGate, session: str, **request: Any) -> str:
    estimate = litellm.token_counter(model=request["model"], messages=request["messages"])
    async with gate.llm_call(session, estimate, model=request["model"]) as call:
        response = await litellm.acompletion(**request)
        call.usage(TokenUsage.from_litellm(response.usage))
    return str(response.choices[0].message.content)


async def stream(gate: BudgetGate, session: str, **request: Any) -> AsyncIterator[str]:
    """Stream the answer; the usage comes with the last chunk, if it is requested."""
    estimate = litellm.token_counter(model=request["model"], messages=request["messages"])
    async with gate.llm_call(session, estimate, model=request["model"]) as call:
        chunks = await litellm.acompletion(
            **request, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in chunks:
            if getattr(chunk, "usage", None) is not None:
                call.usage(TokenUsage.from_litellm(chunk.usage))
            elif chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


async def main() -> list[str]:
    gate, answers = make_gate(), []
    request = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "mock_response": "Hello from a mock: no key, no network.",
    }
    answers.append(await complete(gate, "session-1", **request))
    answers.append("".join([part async for part in stream(gate, "session-1", **request)]))
    for _ in range(2):
        try:
            answers.append(await complete(gate, "session-1", **request))
        except BudgetExhausted as refusal:
            answers.append(f"refused: {refusal}")
    print("\n".join(answers))
    return answers


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("litellm-example")
    asyncio.run(main())
