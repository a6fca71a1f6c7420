"""A model call or tool call behind a gate, as a context manager both sync and async."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Protocol, Self

from otel_budget import semconv
from otel_budget.contract import Proceeds, SoftLimit, TokenUsage
from otel_budget.contract.dialects import Malformed, read_usage
from otel_budget.contract.session_info import (
    HeldCallInfo,
    call_info,
    held_call_info,
    restored_call_info,
)
from otel_budget.contract.usage_reading import output_alone
from otel_budget.log_once import log_once
from otel_budget.runtime.joining import JoinedBody
from otel_budget.runtime.questions import Question

#: Made once: it holds nothing, and may be entered any number of times.
_NO_INFO: Final = nullcontext()


class _Gate(Protocol):
    """What a gated call needs of its gate."""

    async def _check(self, question: Question) -> Proceeds: ...
    def _check_sync(self, question: Question) -> Proceeds: ...
    async def _record(self, session_id: str, usage: TokenUsage) -> None: ...
    def _record_sync(self, session_id: str, usage: TokenUsage) -> None: ...
    async def release_llm(self, session_id: str) -> None: ...
    def release_llm_sync(self, session_id: str) -> None: ...
    def _release_soon(self, session_id: str) -> None: ...
    def _call_without_usage(self, session_id: str, reason: str) -> None: ...
    def _join(self, session_id: str) -> JoinedBody | None: ...


class _GatedCall:
    """A context manager to be entered once, which raises `BudgetExhausted` on a refusal.

    Attributes:
        decision: What the guard decided; None before the call is entered.
    """

    def __init__(self, gate: _Gate, session_id: str, question: Question) -> None:
        self._gate = gate
        self._session_id = session_id
        self._question = question
        self._entered = False
        self._open = False
        self._body: JoinedBody | None = None
        self.decision: Proceeds | None = None

    @property
    def soft_limit(self) -> SoftLimit | None:
        """The soft limit that was crossed, if any: a reason to use a cheaper model."""
        return self.decision if isinstance(self.decision, SoftLimit) else None

    def __enter__(self) -> Self:
        self._begin()
        with self._info():
            return self._proceed(self._gate._check_sync(self._question))

    async def __aenter__(self) -> Self:
        self._begin()
        with self._info():
            return self._proceed(await self._gate._check(self._question))

    def __exit__(self, kind: object, error: BaseException | None, stack: object) -> None:
        if not self._open:  # abandoned
            return
        self.detach()
        usage = self._end(error)
        if usage is not None:
            with self._info():
                self._gate._record_sync(self._session_id, usage)
        elif self._may_be_reserved:
            with self._info():
                self._gate.release_llm_sync(self._session_id)

    async def __aexit__(self, kind: object, error: BaseException | None, stack: object) -> None:
        if not self._open:  # abandoned
            return
        self.detach()
        usage = self._end(error)
        if usage is not None:
            with self._info():
                await self._gate._record(self._session_id, usage)
        elif self._may_be_reserved:
            with self._info():
                if error is None or isinstance(error, Exception):
                    await self._gate.release_llm(self._session_id)
                else:  # a coroutine that is closed may not wait, one that is cancelled should not
                    self._gate._release_soon(self._session_id)

    def detach(self) -> None:
        """Leave the session's trace before the call ends, for a stream that somebody else reads.

        What becomes current then is what was before the call. The call itself goes on: end it with
        ``__exit__`` or ``__aexit__``, in any thread or task.
        """
        if self._body is not None:
            self._body.leave()
            self._body = None

    def _begin(self) -> None:
        if self._entered:
            raise RuntimeError("this call has been made already: ask the gate for a new one")
        self._entered = True

    def _proceed(self, decision: Proceeds) -> Self:
        self.decision = decision
        self._open = True
        self._body = self._gate._join(self._session_id)
        return self

    @property
    def _may_be_reserved(self) -> bool:
        """Whether the guard itself let a call proceed for which it may hold a reservation."""
        return False

    # -- what a model call adds ------------------------------------------------------------
    def _info(self) -> AbstractContextManager[None]:
        """The `call_info` that holds whenever the guard is asked."""
        return _NO_INFO

    def _end(self, error: BaseException | None) -> TokenUsage | None:
        """The usage to record, if any; where it is missing, that is counted."""
        self._open = False
        return None


class ToolCall(_GatedCall):
    """One tool call behind a gate, made by `BudgetGate.tool_call`: checked on entry."""


class LlmCall(_GatedCall):
    """One model call behind a gate, made by `BudgetGate.llm_call`.

    It is checked on entry, and its usage is recorded on exit if the body succeeded.
    """

    def __init__(
        self,
        gate: _Gate,
        session_id: str,
        question: Question,
        model: str | None,
        provider: str | None,
    ) -> None:
        super().__init__(gate, session_id, question)
        self._model = model
        self._provider = provider
        self._cost_usd: float | None = None
        self._usage: TokenUsage | None = None
        self._around: HeldCallInfo = None

    def usage(
        self,
        usage: object,
        *,
        model: str | None = None,
        provider: str | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """Report the tokens that the call used; they are recorded if the body succeeds.

        It may be called for each part of a stream: of each count the largest stands.

        Args:
            usage: ``response.usage`` as the provider or framework gave it, a `TokenUsage`, or a
                dict of the a3s dialect. None and what cannot be read (logged once) report nothing;
                a call that reports nothing at all is counted as ``not_reported``.
            model: The model that answered, if not the one requested.
            provider: Its provider, if not the one requested.
            cost_usd: The call's cost in USD, if you know it; otherwise the guard's prices apply.

        Raises:
            RuntimeError: The body has not begun or is over.
        """
        if not self._open:
            raise RuntimeError("usage() belongs in the body of the call")
        self._model = model or self._model
        self._provider = provider or self._provider
        self._cost_usd = self._cost_usd if cost_usd is None else cost_usd
        read = _read(usage, is_first=self._usage is None)
        if read is not None:
            self._usage = read if self._usage is None else self._usage.merge(read)

    @property
    def _may_be_reserved(self) -> bool:
        limit = self.soft_limit
        return limit is None or limit.resource != semconv.GUARD_UNAVAILABLE

    def _begin(self) -> None:
        super()._begin()
        self._around = held_call_info()

    def abandon(self) -> None:
        """End the call as one whose stream nobody reads any more, from code that must not wait.

        Nothing is done if the call has not begun or is over.
        """
        if self._open:
            self.detach()
            self._end(GeneratorExit())
            if self._may_be_reserved:
                with self._info():
                    self._gate._release_soon(self._session_id)

    def _info(self) -> AbstractContextManager[None]:
        # A stream may end where another call_info holds than where it began.
        if held_call_info() is not self._around:
            return self._info_as_it_was()
        if self._model is None and self._provider is None and self._cost_usd is None:
            return _NO_INFO
        return self._own_info()

    @contextmanager
    def _info_as_it_was(self) -> Iterator[None]:
        with restored_call_info(self._around), self._own_info():
            yield

    def _own_info(self) -> AbstractContextManager[None]:
        return call_info(model=self._model, provider=self._provider, cost_usd=self._cost_usd)

    def _end(self, error: BaseException | None) -> TokenUsage | None:
        self._open = False
        if error is None:
            if self._usage is not None:
                return self._usage
            reason = semconv.NOT_REPORTED
        elif isinstance(error, GeneratorExit):
            reason = semconv.ABANDONED
        elif self._usage is not None:
            reason = semconv.DISCARDED
        else:
            return None
        with self._info():
            self._gate._call_without_usage(self._session_id, reason)
        return None


def _read(usage: object, *, is_first: bool) -> TokenUsage | None:
    """A reported usage; later parts of a stream may tell the generated tokens alone."""
    if usage is None:
        return None
    read = read_usage(usage)
    if not isinstance(read, Malformed):
        return read
    if issubclass(type(usage), TokenUsage):  # its __class__ may raise
        log_once(logging.WARNING, f"A BudgetGate cannot read {read.why}, so it is not recorded.")
        return None
    generated = None if is_first else output_alone(usage)
    if generated is not None:
        return TokenUsage(prompt_tokens=0, completion_tokens=generated, total_tokens=generated)
    return TokenUsage.of(usage)
