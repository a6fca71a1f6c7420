"""LiteLLM, whole and streamed, behind the gate.

Why not use a LiteLLM callback: success callbacks run later, in the background, and their exceptions
are swallowed, so the next check may come before the record. The gate has recorded the call before
the next line runs, and a stream once it has been read.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else importing it downloads one
import litellm

from otel_budget import BudgetExhausted, BudgetGate, FlatRates, SessionInfo, instrument
from otel_budget.guards import AsyncWindowGuard, Limit
from otel_budget.integrations.litellm import GatedLiteLLM, gated

MODEL = "gpt-4o-mini"
INFO = SessionInfo(tenant="acme", provider="openai")
PRICES = FlatRates(input=0.15, output=0.6)


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(60, unit="tokens"), session_info=INFO)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


async def complete(llm: GatedLiteLLM, **request: Any) -> str:
    response = await llm.acompletion(**request)
    return str(response.choices[0].message.content)


async def stream(llm: GatedLiteLLM, **request: Any) -> str:
    chunks = await llm.acompletion(**request, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


async def main() -> list[str]:
    llm, answers = gated(litellm, make_gate(), "session-1"), []
    request = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "mock_response": "Hello from a mock: no key, no network.",
    }
    answers.append(await complete(llm, **request))
    answers.append(await stream(llm, **request))
    for _ in range(2):
        try:
            answers.append(await complete(llm, **request))
        except BudgetExhausted as refusal:
            answers.append(f"refused: {refusal}")
    print("\n".join(answers))
    return answers


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("litellm-example")
    asyncio.run(main())
