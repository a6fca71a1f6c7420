"""The OpenAI Agents SDK: a model provider for the run, and a guardrail for its tools.

::

    within_budget = tool_guardrail(gate)

    @function_tool(tool_input_guardrails=[within_budget])
    def search(query: str) -> str: ...

    run_config = RunConfig(model_provider=BudgetModelProvider(gate), group_id="session-1")
    await Runner.run(agent, "Hello", run_config=run_config)  # raises BudgetExhausted

Run hooks would not do: a model call that fails after ``on_llm_start`` is told to none of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from otel_budget.contract import BudgetExhausted
from otel_budget.integrations.common.estimates import estimated_tokens
from otel_budget.integrations.common.methods import SessionId
from otel_budget.integrations.common.providers import provider_at
from otel_budget.integrations.common.requirements import needed
from otel_budget.integrations.common.streams import AsyncGatedStream
from otel_budget.integrations.common.usage import told
from otel_budget.runtime.gate import BudgetGate
from otel_budget.runtime.gated_calls import LlmCall

with needed("openai-agents", distribution="openai-agents", oldest="0.20"):
    from agents import (
        Model,
        ModelProvider,
        ModelResponse,
        MultiProvider,
        ToolGuardrailFunctionOutput,
        ToolInputGuardrail,
        ToolInputGuardrailData,
        get_current_trace,
    )
    from agents.items import TResponseStreamEvent
    from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest

__all__ = ["BudgetModel", "BudgetModelProvider", "tool_guardrail"]


class BudgetModel(Model):
    """A model that asks the guard before each call and records its usage, streamed or not.

    For agents that hold a `Model`; for those that name theirs there is `BudgetModelProvider`.

    Args:
        model: The model that is called, or its name.
        gate: The gate to ask. The SDK is async: any guard will do.
        session_id: The session of the runs, or a function that returns it on each call; by default
            the ``group_id`` of the run, and without one the id of its trace. It is needed where
            tracing is disabled: then the SDK tells neither.
        cheaper_model: The model that answers instead once a soft limit is crossed, or its name.
    """

    def __init__(
        self,
        model: Model | str,
        gate: BudgetGate,
        *,
        session_id: SessionId | None = None,
        cheaper_model: Model | str | None = None,
    ) -> None:
        self._model = _model(model)
        self._gate = gate
        self._session_id = session_id
        self._cheaper = None if cheaper_model is None else _model(cheaper_model)

    async def get_response(
        self, system_instructions: str | None, input: Any, *args: Any, **options: Any
    ) -> ModelResponse:
        """Ask, call the model, record its usage.

        Raises:
            BudgetExhausted: The guard refuses.
        """
        async with self._call(system_instructions, input) as call:
            model = self._allowed(call)
            response = await model.get_response(system_instructions, input, *args, **options)
            call.usage(told(response.usage))
            return response

    async def stream_response(
        self, system_instructions: str | None, input: Any, *args: Any, **options: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        """`get_response`, streamed: recorded once the stream has been read to its end."""
        # Not detached: the generator makes its request, and the model's span, when it is read.
        async with self._call(system_instructions, input) as call:
            model = self._allowed(call)
            events = model.stream_response(system_instructions, input, *args, **options)
            async with AsyncGatedStream(events, call, _read) as stream:  # ends the call, too
                async for event in stream:
                    yield event

    def _call(self, instructions: str | None, content: Any) -> LlmCall:
        name, provider = _served(self._model)
        return self._gate.llm_call(
            _session(self._session_id),
            estimated_tokens(instructions, content),
            model=name,
            provider=provider,
        )

    def _allowed(self, call: LlmCall) -> Model:
        if call.soft_limit is None or self._cheaper is None:
            return self._model
        name, provider = _served(self._cheaper)
        call.usage(None, model=name, provider=provider)
        return self._cheaper

    # -- what else the SDK asks of a model -------------------------------------------------
    async def close(self) -> None:
        """Close the models."""
        await self._model.close()
        if self._cheaper is not None:
            await self._cheaper.close()

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """What the model advises; a refusal is not retried."""
        return self._model.get_retry_advice(request)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._model._cleanup_on_run_end(owner)
        if self._cheaper is not None:
            await self._cheaper._cleanup_on_run_end(owner)

    def __getattr__(self, name: str) -> Any:
        # What the SDK asks of some models only, such as whether they take a prompt cache key.
        if name in {"_model", "_cheaper"}:
            raise AttributeError(name)
        return getattr(self._model, name)


class BudgetModelProvider(ModelProvider):
    """Puts the gate around every model that a run asks for by name.

    Args:
        gate: The gate to ask.
        provider: Who makes the models; by default the SDK's `MultiProvider`.
        session_id: As in `BudgetModel`.
        cheaper_model: As in `BudgetModel`; a name is the provider's.
    """

    def __init__(
        self,
        gate: BudgetGate,
        provider: ModelProvider | None = None,
        *,
        session_id: SessionId | None = None,
        cheaper_model: Model | str | None = None,
    ) -> None:
        self._gate = gate
        self._provider = MultiProvider() if provider is None else provider
        self._session_id = session_id
        self._cheaper = cheaper_model

    def get_model(self, model_name: str | None) -> Model:
        """The provider's model, behind the gate."""
        cheaper = self._cheaper
        return BudgetModel(
            self._provider.get_model(model_name),
            self._gate,
            session_id=self._session_id,
            cheaper_model=self._provider.get_model(cheaper)
            if isinstance(cheaper, str)
            else cheaper,
        )

    async def aclose(self) -> None:
        """Close the provider."""
        await self._provider.aclose()


def tool_guardrail(
    gate: BudgetGate, *, session_id: SessionId | None = None
) -> ToolInputGuardrail[Any]:
    """A guardrail that asks the guard before a tool runs; a refusal is told to the model.

    Give it to each function tool: ``@function_tool(tool_input_guardrails=[tool_guardrail(gate)])``.
    The SDK has no guardrails for hosted tools and those of MCP servers.

    Args:
        gate: The gate to ask.
        session_id: As in `BudgetModel`.
    """

    async def within_budget(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        try:
            await gate.check_tool(_session(session_id), data.context.tool_name)
        except BudgetExhausted as refusal:
            return ToolGuardrailFunctionOutput.reject_content(str(refusal))
        return ToolGuardrailFunctionOutput.allow()

    return ToolInputGuardrail(guardrail_function=within_budget, name="within_budget")


def _session(session_id: SessionId | None) -> str:
    if session_id is not None:
        return session_id if isinstance(session_id, str) else session_id()
    trace = get_current_trace()
    if trace is None or trace.export() is None:  # without tracing, its group_id is not known either
        raise ValueError(
            "the run's session is not known, because the run is not traced: pass session_id"
        )
    return str(getattr(trace, "group_id", None) or trace.trace_id)


def _read(event: Any) -> tuple[object, bool]:
    usage = getattr(getattr(event, "response", None), "usage", None)
    return usage, usage is not None


def _model(model: Model | str) -> Model:
    return MultiProvider().get_model(model) if isinstance(model, str) else model


def _served(model: Model) -> tuple[str | None, str | None]:
    """The model's name and its provider, as far as the SDK's own models tell them."""
    name = getattr(model, "model", None)
    client = getattr(model, "_client", None)
    return (
        str(name) if name is not None else None,
        None if client is None else provider_at(getattr(client, "base_url", "")),
    )
