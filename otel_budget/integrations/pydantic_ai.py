"""pydantic-ai: a capability around each model request and each tool of an agent.

::

    agent = Agent("anthropic:claude-sonnet-5", capabilities=[Budget(gate)])
    await agent.run("Hello", conversation_id="session-1")  # raises BudgetExhausted
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from otel_budget.contract import BudgetExhausted
from otel_budget.integrations.common.estimates import estimated_tokens
from otel_budget.integrations.common.requirements import needed
from otel_budget.integrations.common.usage import told
from otel_budget.runtime.gate import BudgetGate

with needed("pydantic-ai", distribution="pydantic-ai-slim", oldest="2.68"):
    from pydantic_ai import ModelResponse, RunContext, SkipToolExecution
    from pydantic_ai.capabilities import (
        AbstractCapability,
        WrapModelRequestHandler,
        WrapToolExecuteHandler,
    )
    from pydantic_ai.messages import ToolCallPart
    from pydantic_ai.models import (
        KnownModelName,
        Model,
        ModelRequestContext,
        infer_model,
    )
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.tools import AgentDepsT, ToolDefinition

__all__ = ["Budget"]


@dataclass
class Budget(AbstractCapability[AgentDepsT]):
    """Asks the guard before each model request and each tool, and records the model's usage.

    Streamed requests pass through it, too. A refused request ends the run with `BudgetExhausted`; a
    refused tool is reported to the model, and the run goes on.

    Args:
        gate: The gate to ask. pydantic-ai is async: any guard will do.
        session_id: The session of the runs, or a function of the `RunContext` that returns it; by
            default the run's ``conversation_id``, which runs share that continue each other's
            messages.
        cheaper_model: The model that answers instead once a soft limit is crossed: a model, or a
            name such as ``openai:gpt-5-mini``.
    """

    gate: BudgetGate
    _: KW_ONLY
    session_id: str | Callable[[RunContext[AgentDepsT]], str] | None = None
    cheaper_model: Model | KnownModelName | str | None = None

    def __post_init__(self) -> None:
        self._cheaper = None if self.cheaper_model is None else infer_model(self.cheaper_model)

    async def wrap_model_request(
        self,
        ctx: RunContext[AgentDepsT],
        *,
        request_context: ModelRequestContext,
        handler: WrapModelRequestHandler,
    ) -> ModelResponse:
        """Ask, make the request, record its usage.

        Raises:
            BudgetExhausted: The guard refuses.
        """
        model = request_context.model
        async with self.gate.llm_call(
            self._session(ctx),
            estimated_tokens(request_context.messages),
            model=model.model_name,
            provider=model.system,
        ) as call:
            if call.soft_limit is not None and self._cheaper is not None:
                model = self._cheaper
                request_context = replace(request_context, model=model)
                call.usage(None, model=model.model_name, provider=model.system)
            try:
                response = await handler(request_context)
            except CancelledError:  # the request may have been a stream, which was left
                call.abandon()
                raise
            usage = told(response.usage)
            if usage is None and response.state in {"interrupted", "incomplete"}:
                call.abandon()
                return response
            if isinstance(model, FallbackModel):
                call.usage(usage, model=response.model_name, provider=response.provider_name)
            else:
                call.usage(usage)
        return response

    async def wrap_tool_execute(
        self,
        ctx: RunContext[AgentDepsT],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: WrapToolExecuteHandler,
    ) -> Any:
        """Ask, run the tool; a refusal is the tool's result."""
        gated = self.gate.tool_call(self._session(ctx), call.tool_name)
        try:
            async with gated:
                return await handler(args)
        except BudgetExhausted as refusal:
            if gated.decision is not None:  # raised by a sub-agent's gate
                raise
            raise SkipToolExecution(str(refusal)) from None

    def _session(self, ctx: RunContext[AgentDepsT]) -> str:
        if isinstance(self.session_id, str):
            return self.session_id
        if self.session_id is not None:
            return self.session_id(ctx)
        return ctx.conversation_id or ctx.run_id or ""
