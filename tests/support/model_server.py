"""One fake model server on loopback: OpenAI's chat, responses and embeddings, Anthropic's messages.

What it answers, the last message decides: ``fail`` is an HTTP error, ``silent`` an answer without
usage, ``endless`` a stream that stops after its first words until the server ends, and the name of
a tool that was offered a call of it. The answer to anything else, a tool's result included, is
`ANSWER`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "Hello there."
PROMPT, COMPLETION = 100, 10
#: As OpenAI's chat and Anthropic spell them.
CHAT_USAGE = {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": 110}
USAGE = {"input_tokens": PROMPT, "output_tokens": COMPLETION}
_PARTS = ("Hello ", "there.")


class ModelServer(ThreadingHTTPServer):
    """The server, and what it was asked.

    Attributes:
        requests: The body of each request, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[dict[str, Any]] = []
        self.ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def models(self) -> list[str]:
        """The models that were asked, in order."""
        return [request["model"] for request in self.requests]


@contextmanager
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(request)
        said = _last_words(request)
        if said == "fail":
            self._send(500, "application/json", json.dumps({"error": {"message": "out of order"}}))
            return
        tools = [tool.get("name") or tool["function"]["name"] for tool in request.get("tools", ())]
        tool = said if said in tools else None
        api = {
            "/v1/chat/completions": _chat,
            "/v1/responses": _responses,
            "/v1/embeddings": _embeddings,
            "/v1/messages": _messages,
        }[self.path.split("?")[0]]
        events = api(request, tool, tells_usage=said != "silent")
        if not request.get("stream"):
            self._send(200, "application/json", json.dumps(events[-1]))
            return
        lines = [
            (f"event: {event['type']}\n" if "type" in event else "")
            + f"data: {json.dumps(event)}\n\n"
            for event in events[:-1]
        ]
        if said == "endless":
            first = next(i for i, line in enumerate(lines) if _PARTS[0] in line)
            self._begin(200, "text/event-stream")
            self.wfile.write("".join(lines[: first + 1]).encode())
            self.wfile.flush()
            self.server.ending.wait(30)
            return
        end = "data: [DONE]\n\n" if api is _chat else ""
        self._send(200, "text/event-stream", "".join(lines) + end)

    def _send(self, status: int, kind: str, body: str) -> None:
        encoded = body.encode()
        self._begin(status, kind, ("content-length", str(len(encoded))))
        self.wfile.write(encoded)

    def _begin(self, status: int, kind: str, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("content-type", kind), *headers):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Write nothing."""


def _last_words(request: dict[str, Any]) -> str:
    content = request.get("messages") or request["input"]
    last = content if isinstance(content, str) else content[-1]
    if isinstance(last, dict):
        if last.get("role") == "tool" or last.get("type") == "function_call_output":
            return ""
        last = last["content"]
    return last if isinstance(last, str) else str(last[-1].get("text", ""))


# -- each answers with the events of its stream, and the whole answer as the last ------------
def _chat(request: dict[str, Any], tool: str | None, *, tells_usage: bool) -> list[Any]:
    about = {"id": "c1", "created": 1, "model": request["model"]}
    message: dict[str, Any] = {"role": "assistant", "content": None if tool else ANSWER}
    deltas = [{"role": "assistant", "content": part} for part in _PARTS]
    if tool:
        call = {"id": "t1", "type": "function", "function": {"name": tool, "arguments": "{}"}}
        message["tool_calls"] = [call]
        deltas = [{"role": "assistant", "tool_calls": [{"index": 0, **call}]}]
    reason = "tool_calls" if tool else "stop"
    events = [_chunk(about, [{"index": 0, "delta": delta}]) for delta in deltas]
    events.append(_chunk(about, [{"index": 0, "delta": {}, "finish_reason": reason}]))
    if tells_usage and (request.get("stream_options") or {}).get("include_usage"):
        events.append({**_chunk(about, []), "usage": CHAT_USAGE})
    whole = {
        **about,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": CHAT_USAGE if tells_usage else None,
    }
    return [*events, whole]


def _chunk(about: dict[str, Any], choices: list[Any]) -> dict[str, Any]:
    return {**about, "object": "chat.completion.chunk", "choices": choices}


def _responses(request: dict[str, Any], tool: str | None, *, tells_usage: bool) -> list[Any]:
    text = {"type": "output_text", "text": ANSWER, "annotations": []}
    item: dict[str, Any] = {"type": "message", "id": "m1", "role": "assistant", "content": [text]}
    if tool:
        item = {"type": "function_call", "id": "f1", "call_id": "t1", "name": tool}
        item["arguments"] = "{}"
    item["status"] = "completed"
    details = {"input_tokens_details": {"cached_tokens": 0}}
    usage = {**USAGE, **details, "output_tokens_details": {"reasoning_tokens": 0}}
    whole = {
        "id": "r1", "object": "response", "created_at": 1, "model": request["model"],
        "status": "completed", "output": [item], "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [],
        "usage": {**usage, "total_tokens": PROMPT + COMPLETION} if tells_usage else None,
    }  # fmt: skip
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    at = {"item_id": "m1", "output_index": 0, "content_index": 0}
    empty = {**item, "status": "in_progress", **({} if tool else {"content": []})}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
    ]
    if not tool:
        events.append({"type": "response.content_part.added", **at, "part": {**text, "text": ""}})
        events += [
            {"type": "response.output_text.delta", **at, "delta": part, "logprobs": []}
            for part in _PARTS
        ]
        events.append({"type": "response.output_text.done", **at, "text": ANSWER, "logprobs": []})
        events.append({"type": "response.content_part.done", **at, "part": text})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": i} for i, event in enumerate(events)] + [whole]


def _embeddings(request: dict[str, Any], tool: str | None, *, tells_usage: bool) -> list[Any]:
    usage = {"prompt_tokens": PROMPT, "total_tokens": PROMPT} if tells_usage else None
    data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
    return [{"object": "list", "data": data, "model": request["model"], "usage": usage}]


def _messages(request: dict[str, Any], tool: str | None, *, tells_usage: bool) -> list[Any]:
    content: dict[str, Any] = {"type": "text", "text": ANSWER}
    if tool:
        content = {"type": "tool_use", "id": "t1", "name": tool, "input": {}}
    reason = "tool_use" if tool else "end_turn"
    whole: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": request["model"],
        "content": [content], "stop_reason": reason, "stop_sequence": None,
    }  # fmt: skip
    begun = {**whole, "content": [], "stop_reason": None}
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    if tells_usage:
        whole["usage"] = USAGE
        begun["usage"] = {**USAGE, "output_tokens": 1}
        end["usage"] = {"output_tokens": COMPLETION}
    deltas = [{"type": "text_delta", "text": part} for part in _PARTS]
    events = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {**content, "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        end,
        {"type": "message_stop"},
    ]
    return [*events, whole]
