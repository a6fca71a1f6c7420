"""The Anthropic client behind a gate: messages, whole and streamed.

::

    client = gated(Anthropic(), gate, "session-1", cheaper_model="claude-haiku-4-5")
    client.messages.create(model="claude-opus-4-5", ...)  # raises BudgetExhausted
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

with needed("anthropic", distribution="anthropic", oldest="2.12"):
    from anthropic import (
        Anthropic,
        AnthropicBedrock,
        AnthropicVertex,
        AsyncAnthropic,
        AsyncAnthropicBedrock,
        AsyncAnthropicVertex,
    )

__all__ = ["gated"]

Client = TypeVar(
    "Client",
    bound="Anthropic | AnthropicBedrock | AnthropicVertex | "
    "AsyncAnthropic | AsyncAnthropicBedrock | AsyncAnthropicVertex",
)
_SYNC: Final = (Anthropic, AnthropicBedrock, AnthropicVertex)
_ASYNC: Final = (AsyncAnthropic, AsyncAnthropicBedrock, AsyncAnthropicVertex)


def _read(event: Any) -> tuple[object, bool]:
    """The usage that an event tells: what was read at the start, all of it near the end."""
    kind = getattr(event, "type", None)
    if kind == "message_start":
        return getattr(event.message, "usage", None), False
    return (getattr(event, "usage", None), True) if kind == "message_delta" else (None, False)


_MESSAGES: Final = Api(("system", "messages", "tools"), _read)
_MESSAGES_METHODS: Final = {"create": _MESSAGES, "parse": _MESSAGES, "stream": _MESSAGES}
_METHODS: Final[Methods] = {"messages": _MESSAGES_METHODS, "beta.messages": _MESSAGES_METHODS}


def gated(
    client: Client,
    gate: BudgetGate,
    session_id: SessionId,
    *,
    cheaper_model: str | None = None,
    provider: str | None = None,
) -> Client:
    """A copy of a client whose model calls go through the gate.

    ``create``, ``parse`` and ``stream`` of messages ask the guard, make the call and record its
    usage, and with them the tool runner of ``beta.messages``. They raise `BudgetExhausted` if the
    guard refuses. A stream is recorded once it has been read to its end; one that is closed or
    dropped before counts as abandoned. The copy shares the connections and settings of `client`,
    and so do those that its ``with_options`` makes. All else, such as batches, reaches the client
    ungated.

    Args:
        client: A client of the Anthropic SDK, sync or async, also for Bedrock or Vertex AI. Copying
            takes little, so a copy for each session is fine.
        gate: The gate to ask. A sync client needs a sync guard.
        session_id: The session that makes the calls, or a function that returns it on each call.
        cheaper_model: The model that answers instead once a soft limit is crossed.
        provider: OpenTelemetry's ``gen_ai.provider.name``; by default it is told from the kind of
            client, and from its base URL where that is a provider's own.

    Raises:
        TypeError: `client` is none of these.
    """
    if not isinstance(client, (*_SYNC, *_ASYNC)):
        raise TypeError(f"gated takes a client of the Anthropic SDK, not {type(client).__name__}")
    known = provider or _provider(client)
    terms = Terms(gate, session_of(session_id), served_by(known), cheaper_model)
    copied: Client = gated_copy(client, _METHODS, terms, is_async=isinstance(client, _ASYNC))
    return copied


def _provider(client: Any) -> str | None:
    if isinstance(client, AnthropicBedrock | AsyncAnthropicBedrock):
        return "aws.bedrock"
    if isinstance(client, AnthropicVertex | AsyncAnthropicVertex):
        return "gcp.vertex_ai"
    return provider_at(client.base_url)
