"""One model call or tool call behind a gate, as a context manager: sync and async by one state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, Self

from otel_budget import semconv
from otel_budget.contract import Allow, SoftLimit, TokenUsage
from otel_budget.contract.dialects import usage_of
from otel_budget.contract.session_info import call_info


class _Gate(Protocol):
    """What a gated call needs of its gate."""

    async def check_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> Allow | SoftLimit: ...
    async def check_tool(self, session_id: str, tool_name: str) -> Allow | SoftLimit: ...
    async def record_llm(self, session_id: str, usage: TokenUsage) -> None: ...
    def check_llm_sync(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> Allow | SoftLimit: ...
    def check_tool_sync(self, session_id: str, tool_name: str) -> Allow | SoftLimit: ...
    def record_llm_sync(self, session_id: str, usage: TokenUsage) -> None: ...
    def _call_without_usage(self, session_id: str, reason: str) -> None: ...


class _GatedCall:
    """One call behind a gate: not begun, in progress, over.

    Attributes:
        decision: What the guard decided, once it has.
    """

    def __init__(self, gate: _Gate, session_id: str) -> None:
        self._gate = gate
        self._session_id = session_id
        self._entered = False
        self._open = False
        self.decision: Allow | SoftLimit | None = None

    @property
    def soft_limit(self) -> SoftLimit | None:
        """The soft limit that was crossed, if one was: a reason to take a cheaper model."""
        return self.decision if isinstance(self.decision, SoftLimit) else None

    def _begin(self) -> None:
        if self._entered:
            raise RuntimeError("this call has been made already: ask the gate for a new one")
        self._entered = True

    def _proceed(self, decision: Allow | SoftLimit) -> Self:
        self.decision = decision
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        self._open = False

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        self._open = False


class ToolCall(_GatedCall):
    """One tool call behind a gate."""

    def __init__(self, gate: _Gate, session_id: str, tool_name: str) -> None:
        super().__init__(gate, session_id)
        self._tool_name = tool_name

    def __enter__(self) -> Self:
        self._begin()
        return self._proceed(self._gate.check_tool_sync(self._session_id, self._tool_name))

    async def __aenter__(self) -> Self:
        self._begin()
        return self._proceed(await self._gate.check_tool(self._session_id, self._tool_name))


class LlmCall(_GatedCall):
    """One model call behind a gate."""

    def __init__(
        self,
        gate: _Gate,
        session_id: str,
        estimated_prompt_tokens: int,
        model: str | None,
        provider: str | None,
    ) -> None:
        super().__init__(gate, session_id)
        self._estimated_prompt_tokens = estimated_prompt_tokens
        self._model = model
        self._provider = provider
        self._cost_usd: float | None = None
        self._usage: TokenUsage | None = None

    def __enter__(self) -> Self:
        self._begin()
        with self._info():
            return self._proceed(
                self._gate.check_llm_sync(self._session_id, self._estimated_prompt_tokens)
            )

    async def __aenter__(self) -> Self:
        self._begin()
        with self._info():
            return self._proceed(
                await self._gate.check_llm(self._session_id, self._estimated_prompt_tokens)
            )

    def usage(
        self,
        usage: TokenUsage | Mapping[str, Any],
        *,
        model: str | None = None,
        provider: str | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """Tell what the call used; it is recorded when the body has succeeded.

        Args:
            usage: See `TokenUsage.from_openai`, `from_anthropic` and `from_litellm`; a dict of the
                a3s dialect will do.
            model: The model that served it, if not the one that was asked for.
            provider: Its provider, if not the one that was asked for.
            cost_usd: The call's cost in USD, if you know it.

        Raises:
            RuntimeError: It has been told already, or the body has ended.
            ValueError: It cannot be read.
        """
        if not self._open:
            raise RuntimeError("usage() belongs into the body of the call")
        if self._usage is not None:
            raise RuntimeError("the usage of this call has been told already")
        self._usage = usage_of(usage)
        self._model = model or self._model
        self._provider = provider or self._provider
        self._cost_usd = cost_usd

    def _info(self) -> AbstractContextManager[None]:
        if self._model is None and self._provider is None and self._cost_usd is None:
            return nullcontext()
        return call_info(model=self._model, provider=self._provider, cost_usd=self._cost_usd)

    def _end(self, error: BaseException | None) -> TokenUsage | None:
        """The usage to record. A call that has none, or may not record it, says so."""
        self._open = False
        if error is None and self._usage is not None:
            return self._usage
        reason = None
        if error is None:
            reason = semconv.NOT_REPORTED
        elif isinstance(error, GeneratorExit):
            reason = semconv.ABANDONED
        elif self._usage is not None:
            reason = semconv.DISCARDED
        if reason is not None:
            with self._info():
                self._gate._call_without_usage(self._session_id, reason)
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        usage = self._end(error)
        if usage is not None:
            with self._info():
                self._gate.record_llm_sync(self._session_id, usage)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        usage = self._end(error)
        if usage is not None:
            with self._info():
                await self._gate.record_llm(self._session_id, usage)
