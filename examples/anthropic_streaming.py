"""The Anthropic SDK with streaming: the usage comes with the end of the stream.

An abandoned stream records nothing, because nobody knows what it used. The gate counts it in
`budget.calls_without_usage`, so it is not silently free.
"""

from __future__ import annotations

import asyncio
import json

import httpx2
from anthropic import AsyncAnthropic

from otel_budget import BudgetExhausted, BudgetGate, FlatRates, SessionInfo, instrument
from otel_budget.guards import AsyncWindowGuard, Limit
from otel_budget.integrations.anthropic import gated

MODEL = "claude-sonnet-5"
INFO = SessionInfo(tenant="acme", agent="writer", provider="anthropic")
PRICES = FlatRates(3, 15, cache_read=0.3, cache_write=3.75)


def make_gate() -> BudgetGate:
    guard = AsyncWindowGuard(Limit(0.01), session_info=INFO, prices=PRICES)
    return BudgetGate(instrument(guard, session_info=INFO, prices=PRICES), on_hit=print)


async def read(client: AsyncAnthropic, question: str, *, leaves_early: bool = False) -> str:
    texts = []
    async with client.messages.stream(
        model=MODEL, max_tokens=200, messages=[{"role": "user", "content": question}]
    ) as events:
        async for text in events.text_stream:
            texts.append(text)
            if leaves_early:
                return f"abandoned after {text!r}"
    return "".join(texts)


async def main() -> list[str]:
    answers = []
    async with make_client() as client:
        budgeted = gated(client, make_gate(), "session-1", provider="anthropic")
        answers.append(await read(budgeted, "Hello", leaves_early=True))
        for _ in range(3):
            try:
                answers.append(await read(budgeted, "Hello"))
            except BudgetExhausted as refusal:
                answers.append(f"refused: {refusal}")
    print("\n".join(answers))
    return answers


def make_client() -> AsyncAnthropic:
    """The real client, answered by a transport in this process: no key, no network."""
    transport = httpx2.MockTransport(answer)
    return AsyncAnthropic(api_key="none", http_client=httpx2.AsyncClient(transport=transport))


def answer(request: httpx2.Request) -> httpx2.Response:
    usage = {"input_tokens": 1_000, "output_tokens": 1, "cache_read_input_tokens": 4_000}
    start = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    texts = [{"type": "text_delta", "text": text} for text in ("Hello ", "there.")]
    events = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in texts),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 100},
        },
        {"type": "message_stop"},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)


if __name__ == "__main__":
    from otel_budget.sdk import configure

    configure("anthropic-example")
    asyncio.run(main())
