"""LiteLLM behind a gate: completions, responses and embeddings, of the module or a `Router`.

::

    llm = gated(litellm, gate, "session-1", cheaper_model="gpt-5-mini")
    await llm.acompletion(model="gpt-5", messages=[...])  # raises BudgetExhausted

A LiteLLM callback cannot do this: success callbacks run later, in the background, so the next check
may come before the record, and none of them can refuse a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from otel_budget.integrations.common.methods import (
    Api,
    Arguments,
    GatedMethod,
    Served,
    SessionId,
    Terms,
    served_by,
    session_of,
)
from otel_budget.integrations.common.requirements import needed
from otel_budget.integrations.common.usage import told
from otel_budget.runtime.gate import BudgetGate

with needed("litellm", distribution="litellm", oldest="1.106"):
    import litellm
    from litellm.router import Router

__all__ = ["GatedLiteLLM", "gated"]


def _read(chunk: Any) -> tuple[object, bool]:
    response = getattr(chunk, "response", None)  # of an event of the Responses API
    usage = told(getattr(chunk, "usage", None) or getattr(response, "usage", None))
    return usage, usage is not None


_CHAT: Final = Api(
    ("messages", "tools", "functions"), _read, asks_usage=True, positional=("model", "messages")
)
_TEXT: Final = Api(("prompt",), _read, asks_usage=True, positional=("model", "prompt"))
_RESPONSES: Final = Api(("input", "instructions", "tools"), _read, positional=("input", "model"))
_EMBEDDINGS: Final = Api(("input",), _read, generates=False, positional=("model", "input"))
#: By the name of the sync method; the async one begins with an ``a``.
_METHODS: Final = {
    "completion": _CHAT,
    "text_completion": _TEXT,
    "responses": _RESPONSES,
    "embedding": _EMBEDDINGS,
}


class GatedLiteLLM:
    """LiteLLM behind a gate, made by `gated`.

    `completion`, `text_completion`, `responses` and `embedding`, and their async twins
    `acompletion`, `atext_completion`, `aresponses` and `aembedding`, are gated. All else is what
    LiteLLM itself has under the name.
    """

    def __init__(self, target: ModuleType | Router, terms: Terms) -> None:
        self._target = target
        self._terms = terms

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        original = getattr(self._target, name)
        for method, api in _METHODS.items():
            if name in {method, f"a{method}"}:
                return self._gated(original, api, is_async=name != method)
        return original

    def _gated(
        self, original: Callable[..., Any], api: Api, *, is_async: bool
    ) -> Callable[..., Any]:
        if isinstance(self._target, Router):
            api = replace(api, answered_by=_answered_by)
        method = GatedMethod(original, api, self._terms)
        return method.run_async if is_async else method.run


def gated(
    target: ModuleType | Router,
    gate: BudgetGate,
    session_id: SessionId | None = None,
    *,
    cheaper_model: str | None = None,
) -> GatedLiteLLM:
    """LiteLLM with its model calls behind the gate.

    The gated methods ask the guard, make the call and record its usage; they raise
    `BudgetExhausted` if the guard refuses. Streams are asked for their usage and recorded once they
    have been read to their end; one that is closed or dropped before counts as abandoned.

    Args:
        target: The module ``litellm``, or a `Router`, whose calls are priced by the deployment that
            answered.
        gate: The gate to ask. Sync calls need a sync guard.
        session_id: The session that makes the calls, or a function that returns it on each call; by
            default the call's own ``litellm_session_id``, or the ``session_id`` of its
            ``metadata``.
        cheaper_model: The model that answers instead once a soft limit is crossed, embeddings
            excepted; of a `Router`, a name that it knows.

    Raises:
        TypeError: `target` is neither of the two.
    """
    if target is not litellm and not isinstance(target, Router):
        raise TypeError(f"gated takes the module litellm or a Router, not {target!r:.80}")
    session = _session_of_call if session_id is None else session_of(session_id)
    # A router is asked by an alias: who serves it is known once it has answered.
    serving = served_by(None) if isinstance(target, Router) else _requested
    return GatedLiteLLM(target, Terms(gate, session, serving, cheaper_model))


def _session_of_call(arguments: Arguments) -> str:
    metadata = arguments.get("metadata")
    found = arguments.get("litellm_session_id") or (
        metadata.get("session_id") if isinstance(metadata, dict) else None
    )
    if not found:
        raise ValueError(
            "this call names no session: pass session_id to gated, or litellm_session_id to the "
            "call"
        )
    return str(found)


def _requested(arguments: Arguments) -> Served:
    """The requested model and its provider, as LiteLLM reads its name."""
    model = arguments.get("model")
    if not isinstance(model, str):
        return None, None
    try:
        name, provider, *_ = litellm.get_llm_provider(
            model,
            custom_llm_provider=arguments.get("custom_llm_provider"),
            api_base=arguments.get("api_base") or arguments.get("base_url"),
        )
    except Exception:  # LiteLLM's own sentence comes with the call
        return model, None
    return name, provider


def _answered_by(answer: Any) -> Served:
    hidden = getattr(answer, "_hidden_params", None) or {}
    model = getattr(answer, "model", None)
    return model, hidden.get("custom_llm_provider")
