"""LangChain: a middleware around each model call and each tool call of an agent.

::

    agent = create_agent("openai:gpt-5", tools, middleware=[BudgetMiddleware(gate)])
    agent.invoke(messages, {"configurable": {"thread_id": "session-1"}})  # raises BudgetExhausted
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal, NotRequired
from uuid import uuid4

from otel_budget.contract import BudgetExhausted
from otel_budget.integrations.common.requirements import needed
from otel_budget.runtime.gate import BudgetGate
from otel_budget.runtime.gated_calls import LlmCall

with needed("langchain", distribution="langchain", oldest="1.4"):
    from langchain.agents.middleware import AgentMiddleware
    from langchain.agents.middleware.types import (
        AgentState,
        ModelRequest,
        ModelResponse,
        PrivateStateAttr,
        ToolCallRequest,
    )
    from langchain.chat_models import init_chat_model
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, ToolMessage
    from langchain_core.messages.utils import count_tokens_approximately
    from langgraph.channels.untracked_value import UntrackedValue
    from langgraph.config import get_config
    from langgraph.types import Command

__all__ = ["BudgetMiddleware"]

#: The key of the agent's state under which a run without a thread has its own session.
_RUN: Final = "budget_run"


class BudgetState(AgentState[Any]):
    """What the middleware adds to the agent's state, hidden from its callers."""

    # Without the library, its state is no TypedDict for mypy.
    budget_run: NotRequired[  # type: ignore[valid-type, unused-ignore]
        Annotated[str, UntrackedValue, PrivateStateAttr]
    ]


class BudgetMiddleware(AgentMiddleware[BudgetState, Any, Any]):
    """Asks the guard before each model call and each tool call, and records the model's usage.

    A refused tool is reported to the model, and the run goes on. A refused model call ends the run
    with `BudgetExhausted`, or as `exit_behavior` says. ``invoke`` and ``stream`` need a sync guard;
    ``ainvoke`` and ``astream`` take any. List it after middleware that retries or falls back to
    another model: what stands first surrounds what comes later, and each attempt is to be asked.

    Where a stream is used, ask the chat model for its usage (``ChatOpenAI(stream_usage=True)``):
    with its own base URL it does not do so by itself, and the call is counted as ``not_reported``.

    Args:
        gate: The gate to ask.
        session_id: The session of each run, or a function that returns it on each call; by default
            the run's ``thread_id``, and for a run without one an id of its own.
        cheaper_model: The model that answers instead once a soft limit is crossed: a chat model, or
            a name for `init_chat_model`.
        exit_behavior: What a refused model call does, as in LangChain's own limits: ``error``
            raises, ``end`` makes the refusal the agent's last message.

    Raises:
        ValueError: `exit_behavior` is neither of the two.
    """

    state_schema = BudgetState

    def __init__(
        self,
        gate: BudgetGate,
        *,
        session_id: str | Callable[[], str] | None = None,
        cheaper_model: BaseChatModel | str | None = None,
        exit_behavior: Literal["error", "end"] = "error",
    ) -> None:
        super().__init__()
        if exit_behavior not in {"error", "end"}:
            raise ValueError(f"exit_behavior must be 'error' or 'end', not {exit_behavior!r}")
        self._gate = gate
        self._session_id = session_id
        self._cheaper = (
            init_chat_model(cheaper_model) if isinstance(cheaper_model, str) else cheaper_model
        )
        self._exit_behavior = exit_behavior

    # -- sessions --------------------------------------------------------------------------
    def before_agent(self, state: BudgetState, runtime: Any) -> dict[str, Any] | None:
        """Give the run an id of its own, for the case that it has no thread."""
        return {_RUN: f"run-{uuid4().hex}"}

    async def abefore_agent(self, state: BudgetState, runtime: Any) -> dict[str, Any] | None:
        """`before_agent` for async runs."""
        return self.before_agent(state, runtime)

    def _session(self, state: Any) -> str:
        if self._session_id is not None:
            return self._session_id if isinstance(self._session_id, str) else self._session_id()
        thread = get_config().get("configurable", {}).get("thread_id")
        return str(state[_RUN] if thread is None else thread)

    # -- model calls -----------------------------------------------------------------------
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Ask, call the model, record its usage."""
        call = self._call(request)
        try:
            with call:
                response = handler(self._allowed(call, request))
                call.usage(_usage(response))
                return response
        except BudgetExhausted as refusal:
            return self._refused(call, refusal)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any] | AIMessage:
        """`wrap_model_call` for async runs."""
        call = self._call(request)
        try:
            async with call:
                try:
                    response = await handler(self._allowed(call, request))
                except CancelledError:  # the call may have been a stream, which was left
                    call.abandon()
                    raise
                call.usage(_usage(response))
                return response
        except BudgetExhausted as refusal:
            return self._refused(call, refusal)

    def _call(self, request: ModelRequest[Any]) -> LlmCall:
        system = [request.system_message] if request.system_message else []
        estimate = count_tokens_approximately([*system, *request.messages], tools=request.tools)
        model, provider = _served(request.model)
        return self._gate.llm_call(
            self._session(request.state), estimate, model=model, provider=provider
        )

    def _allowed(self, call: LlmCall, request: ModelRequest[Any]) -> ModelRequest[Any]:
        if call.soft_limit is None or self._cheaper is None:
            return request
        model, provider = _served(self._cheaper)
        call.usage(None, model=model, provider=provider)
        return request.override(model=self._cheaper)

    def _refused(self, call: LlmCall, refusal: BudgetExhausted) -> AIMessage:
        # One that a sub-agent's gate raised in the body is not this guard's.
        if self._exit_behavior == "error" or call.decision is not None:
            raise refusal
        return AIMessage(str(refusal))

    # -- tool calls ------------------------------------------------------------------------
    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Ask, run the tool; a refusal is the tool's answer."""
        call = self._gate.tool_call(self._session(request.state), request.tool_call["name"])
        try:
            with call:
                return handler(request)
        except BudgetExhausted as refusal:
            if call.decision is not None:
                raise
            return _refused_tool(request, refusal)

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """`wrap_tool_call` for async runs."""
        call = self._gate.tool_call(self._session(request.state), request.tool_call["name"])
        try:
            async with call:
                return await handler(request)
        except BudgetExhausted as refusal:
            if call.decision is not None:
                raise
            return _refused_tool(request, refusal)


def _served(model: BaseChatModel) -> tuple[str | None, str | None]:
    """The model's name and its provider, as LangChain tells them to its tracers."""
    told: Any = model._get_ls_params()
    return told.get("ls_model_name"), told.get("ls_provider")


def _usage(response: ModelResponse[Any]) -> object:
    answers = [part for part in response.result if isinstance(part, AIMessage)]
    return answers[-1].usage_metadata if answers else None


def _refused_tool(request: ToolCallRequest, refusal: BudgetExhausted) -> ToolMessage:
    return ToolMessage(
        str(refusal),
        name=request.tool_call["name"],
        tool_call_id=request.tool_call["id"] or "",
        status="error",
    )
