"""The OpenAI client behind a gate: chat completions, responses and embeddings, streams too.

::

    client = gated(OpenAI(), gate, "session-1", cheaper_model="gpt-5-mini")
    client.chat.completions.create(model="gpt-5", messages=[...])  # raises BudgetExhausted
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from otel_budget.integrations.common.methods import (
    Api,
    Methods,
    SessionId,
    Terms,
    gated_copy,
    served_by,
    session_of,
)
from otel_budget.integrations.common.providers import provider_at
from otel_budget.integrations.common.requirements import needed
from otel_budget.runtime.gate import BudgetGate

with needed("openai", distribution="openai", oldest="2.54"):
    from openai import AsyncOpenAI, OpenAI

__all__ = ["gated"]

Client = TypeVar("Client", bound="OpenAI | AsyncOpenAI")


def _read_chat(chunk: Any) -> tuple[object, bool]:
    usage = getattr(chunk, "usage", None)
    return usage, usage is not None


def _read_responses(event: Any) -> tuple[object, bool]:
    return _read_chat(getattr(event, "response", None))


_CHAT: Final = Api(("messages", "tools", "functions"), _read_chat, asks_usage=True)
_RESPONSES: Final = Api(("input", "instructions", "tools"), _read_responses)
_CHAT_METHODS: Final = {"create": _CHAT, "parse": _CHAT, "stream": _CHAT}
_RESPONSES_METHODS: Final = {"create": _RESPONSES, "parse": _RESPONSES, "stream": _RESPONSES}
_METHODS: Final[Methods] = {
    "chat.completions": _CHAT_METHODS,
    "beta.chat.completions": _CHAT_METHODS,
    "responses": {**_RESPONSES_METHODS, "compact": _RESPONSES},
    "beta.responses": {**_RESPONSES_METHODS, "compact": _RESPONSES},
    "completions": {"create": Api(("prompt",), _read_chat, asks_usage=True)},
    "embeddings": {"create": Api(("input",), _read_chat, generates=False)},
}


def gated(
    client: Client,
    gate: BudgetGate,
    session_id: SessionId,
    *,
    cheaper_model: str | None = None,
    provider: str | None = None,
    stream_usage: bool = True,
) -> Client:
    """A copy of a client whose model calls go through the gate.

    ``create``, ``parse`` and ``stream`` of chat completions and responses, and ``create`` of
    completions and embeddings, ask the guard, make the call and record its usage. They raise
    `BudgetExhausted` if the guard refuses. A stream is recorded once it has been read to its end;
    one that is closed or dropped before counts as abandoned. The copy shares the connections and
    settings of `client`, and so do those that its ``with_options`` makes. All else, such as images,
    batches and realtime, reaches the client ungated.

    Args:
        client: An `OpenAI` or `AsyncOpenAI`, also of Azure or with another base URL. Copying takes
            little, so a copy for each session is fine.
        gate: The gate to ask. A sync client needs a sync guard.
        session_id: The session that makes the calls, or a function that returns it on each call.
        cheaper_model: The model that answers instead once a soft limit is crossed, embeddings
            excepted.
        provider: OpenTelemetry's ``gen_ai.provider.name``; by default it is told from the client's
            base URL where that is a provider's own.
        stream_usage: Whether streams of chat completions are asked for their usage. The chunk that
            tells it is kept from a host that did not ask. Turn it off where the server refuses
            ``stream_options``; such streams are counted as ``not_reported``.

    Raises:
        TypeError: `client` is neither of the two.
    """
    if not isinstance(client, OpenAI | AsyncOpenAI):
        raise TypeError(f"gated takes an OpenAI or AsyncOpenAI, not {type(client).__name__}")
    known = provider or provider_at(client.base_url)
    terms = Terms(gate, session_of(session_id), served_by(known), cheaper_model, stream_usage)
    copied: Client = gated_copy(client, _METHODS, terms, is_async=isinstance(client, AsyncOpenAI))
    return copied
