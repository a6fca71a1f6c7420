"""What the gated clients of OpenAI, Anthropic and LiteLLM do beyond the table."""

from __future__ import annotations

import gc
import logging
from typing import Any

import litellm
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from otel_budget import BudgetExhausted, BudgetGate, call_info
from otel_budget.integrations.anthropic import gated as gated_anthropic
from otel_budget.integrations.litellm import gated as gated_litellm
from otel_budget.integrations.openai import gated
from support.backend import Backend
from support.guards import SyncScript
from support.model_server import ANSWER, PROMPT, ModelServer
from support.session_traces import KNOWN, SessionTraces, nothing_is_current

REQUEST: Any = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hello"}]}
SOFT = {"decision": "soft", "resource": "r", "consumed": 4.0, "limit": 5.0}
DENY = {"decision": "deny", "resource": "r", "reason": "spent"}


def client_of(server: ModelServer, backend: Backend, **options: Any) -> tuple[OpenAI, SyncScript]:
    guard = SyncScript({"decision": "allow"})
    gate = BudgetGate(backend.instrument(guard, **KNOWN))
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    return gated(client, gate, "s1", **options), guard


def test_copies_of_a_gated_client_are_gated(server: ModelServer, backend: Backend) -> None:
    client, guard = client_of(server, backend)
    guard.answer = DENY
    for copied in (client.with_options(timeout=9), client.copy().copy(), client.with_options()):
        with pytest.raises(BudgetExhausted):
            copied.chat.completions.create(**REQUEST)
    assert client.with_options(timeout=9).timeout == 9
    assert server.requests == []


@pytest.mark.parametrize("path", ["chat", "beta.chat"])
def test_no_way_to_the_model_passes_by(server: ModelServer, backend: Backend, path: str) -> None:
    class Answer(BaseModel):
        text: str

    client, guard = client_of(server, backend)
    guard.answer = DENY
    chat: Any = client.beta.chat if path == "beta.chat" else client.chat
    ways = [
        lambda: chat.completions.create(**REQUEST),
        lambda: chat.completions.parse(**REQUEST, response_format=Answer),
        lambda: chat.completions.stream(**REQUEST).__enter__(),
        lambda: chat.completions.with_raw_response.create(**REQUEST),
        lambda: chat.completions.with_streaming_response.create(**REQUEST).__enter__(),
        lambda: client.with_raw_response.chat.completions.create(**REQUEST),
        lambda: client.responses.parse(model="gpt-5", input="Hello"),
        lambda: client.embeddings.create(model="e", input="Hello"),
        lambda: client.completions.create(model="c", prompt="Hello"),
    ]
    for way in ways:
        with pytest.raises(BudgetExhausted):
            way()
    assert server.requests == []


def test_a_raw_response_is_recorded_and_an_unread_one_counted(
    server: ModelServer, backend: Backend
) -> None:
    client, _ = client_of(server, backend)
    raw = client.chat.completions.with_raw_response.create(**REQUEST)
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content == ANSWER
    assert backend.value("budget.calls") == 1
    with client.chat.completions.with_streaming_response.create(**REQUEST) as unread:
        assert ANSWER in unread.read().decode()
    assert backend.value("budget.calls_without_usage", budget__reason="not_reported") == 1


def test_embeddings_are_recorded_and_never_swapped(server: ModelServer, backend: Backend) -> None:
    client, guard = client_of(server, backend, cheaper_model="gpt-5-mini")
    guard.answer = SOFT
    client.embeddings.create(model="text-embedding-3-small", input=["Hello", "there"])
    assert server.models == ["text-embedding-3-small"]
    assert backend.value("budget.tokens", budget__token__type="input") == PROMPT


@pytest.mark.parametrize("asks", [False, True])
def test_the_usage_chunk_is_shown_to_who_asked_for_it(
    server: ModelServer, backend: Backend, asks: bool
) -> None:
    client, _ = client_of(server, backend)
    options: Any = {"stream_options": {"include_usage": True}} if asks else {}
    chunks = list(client.chat.completions.create(**REQUEST, stream=True, **options))
    assert [chunk for chunk in chunks if not chunk.choices] == chunks[3:]
    assert len(chunks) == (4 if asks else 3)
    assert backend.value("budget.calls") == 1


@pytest.mark.parametrize("by_host", [False, True])
def test_a_stream_is_not_asked_for_usage_where_the_host_says_so(
    server: ModelServer, backend: Backend, by_host: bool
) -> None:
    client, _ = client_of(server, backend, stream_usage=by_host)
    options: Any = {"stream_options": {"include_usage": False}} if by_host else {}
    list(client.chat.completions.create(**REQUEST, stream=True, **options))
    assert server.requests[0].get("stream_options") == options.get("stream_options")
    assert backend.value("budget.calls_without_usage", budget__reason="not_reported") == 1


def test_a_stream_that_is_dropped_is_abandoned(server: ModelServer, backend: Backend) -> None:
    client, _ = client_of(server, backend)
    stream = client.chat.completions.create(**REQUEST, stream=True)
    next(stream)
    del stream
    gc.collect()
    assert backend.value("budget.calls_without_usage", budget__reason="abandoned") == 1
    assert backend.value("budget.calls") == 0


async def test_an_async_stream_that_is_dropped_is_abandoned(
    server: ModelServer, backend: Backend
) -> None:
    gate = BudgetGate(backend.instrument(SyncScript({"decision": "allow"})))
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = await gated(client, gate, "s1").chat.completions.create(**REQUEST, stream=True)
        await anext(aiter(stream))
        await stream.response.aclose()
        del stream
        gc.collect()
    assert backend.value("budget.calls_without_usage", budget__reason="abandoned") == 1


def test_a_stream_that_is_left_after_its_usage_is_recorded(
    server: ModelServer, backend: Backend
) -> None:
    client, _ = client_of(server, backend)
    with client.responses.create(model="gpt-5", input="Hello", stream=True) as events:
        for event in events:
            if event.type == "response.completed":
                break
    assert backend.value("budget.calls") == 1


def test_a_stream_leaves_nothing_current(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = SessionTraces(monkeypatch)
    client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    opened = gated(client, traces.gate(), "s1").chat.completions.create(**REQUEST, stream=True)
    assert nothing_is_current()
    list(opened)
    assert traces.sessions("budget.record_after_llm") == ["s1"]
    traces.backend.shutdown()


def test_whose_a_stream_is_holds_wherever_it_is_read(server: ModelServer, backend: Backend) -> None:
    client, _ = client_of(server, backend)
    with call_info(tenant="globex"):
        stream = client.chat.completions.create(**REQUEST, stream=True)
    with call_info(tenant="other", agent="reader"):
        list(stream)
    assert backend.value("budget.calls", budget__tenant="globex") == 1
    assert backend.value("budget.calls", budget__agent="reader") == 0


def test_pictures_are_not_counted_by_their_size(server: ModelServer, backend: Backend) -> None:
    client, guard = client_of(server, backend)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 90_000}}
    content: Any = [picture, {"type": "text", "text": "What is it? " * 40}]
    client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": content}])
    (_, (_, estimate), _), *_ = guard.asked
    assert 100 < estimate < 200


def test_two_gates_are_both_asked(server: ModelServer, backend: Backend) -> None:
    client, inner = client_of(server, backend)
    outer = SyncScript({"decision": "allow"})
    twice = gated(client, BudgetGate(outer), "s2")
    assert twice.chat.completions.create(**REQUEST).choices[0].message.content == ANSWER
    assert [len(guard.asked) for guard in (inner, outer)] == [2, 2]
    assert len(server.requests) == 1


def test_a_wrong_client_is_named(backend: Backend) -> None:
    gate = BudgetGate(SyncScript({"decision": "allow"}))
    for make, wanted in ((gated, "OpenAI"), (gated_anthropic, "Anthropic SDK")):
        with pytest.raises(TypeError, match=f"{wanted}.*not object"):
            make(object(), gate, "s1")  # type: ignore[type-var]
    with pytest.raises(TypeError, match="litellm or a Router"):
        gated_litellm(object(), gate, "s1")  # type: ignore[arg-type]


def test_a_call_of_litellm_without_a_session_says_how_to_name_one() -> None:
    llm = gated_litellm(litellm, BudgetGate(SyncScript({"decision": "allow"})))
    with pytest.raises(ValueError, match="litellm_session_id"):
        llm.completion("gpt-5", REQUEST["messages"])
    metadata = {"session_id": "s7"}
    llm.completion(**REQUEST, metadata=metadata, mock_response="Hello")
    assert llm.token_counter(model="gpt-5", text="Hello") > 0  # what is not gated is LiteLLM's own


def test_a_router_is_priced_by_who_answered(server: ModelServer, backend: Backend) -> None:
    params = {"model": "openai/gpt-5", "api_base": f"{server.url}/v1", "api_key": "none"}
    router = litellm.Router([{"model_name": "fast", "litellm_params": params}], num_retries=0)
    gate = BudgetGate(backend.instrument(SyncScript({"decision": "allow"}), prices="auto"))
    llm = gated_litellm(router, gate, "s1")
    llm.completion("fast", REQUEST["messages"])
    "".join(
        part.choices[0].delta.content or ""
        for part in llm.completion("fast", REQUEST["messages"], stream=True)
    )
    about = {"gen_ai__request__model": "gpt-5", "gen_ai__provider__name": "openai"}
    assert backend.value("budget.calls", **about) == 2
    assert backend.value("budget.unpriced_calls") == 0


def test_nothing_is_logged_about_a_call_that_went_well(
    server: ModelServer, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = client_of(server, backend, provider="openai")
    with caplog.at_level(logging.WARNING, "otel_budget"):
        list(client.chat.completions.create(**REQUEST, stream=True))
        with client.responses.stream(model="gpt-5", input="Hello") as events:
            assert events.get_final_response().output_text == ANSWER
    assert caplog.records == []
