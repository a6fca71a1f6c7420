"""Methods of clients behind a gate: those that answer, and those that open a stream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeVar

from otel_budget.integrations.common.estimates import estimated_tokens
from otel_budget.integrations.common.streams import AsyncGatedStream, GatedStream, Reader
from otel_budget.integrations.common.usage import told
from otel_budget.runtime.gate import BudgetGate
from otel_budget.runtime.gated_calls import LlmCall

SessionId = str | Callable[[], str]
Arguments = dict[str, Any]
#: A model and its provider, as far as they are known.
Served = tuple[str | None, str | None]
#: The raw stream inside the streams that the helpers of OpenAI's and Anthropic's clients open.
_RAW: Final = "_raw_stream"
StreamT = TypeVar("StreamT", GatedStream, AsyncGatedStream)


@dataclass(frozen=True, slots=True)
class Api:
    """What is to be known about the calls of one API.

    Attributes:
        content: The arguments that hold what is sent to the model.
        read: Reads the chunks of its streams.
        asks_usage: Whether a stream tells its usage only if ``stream_options`` asks for it.
        generates: Whether its models generate, so that a cheaper one can take their place.
        positional: The arguments that need no name, in their order.
        answered_by: Who answered, from an answer or a chunk, where that may not be who was asked.
    """

    content: tuple[str, ...]
    read: Reader
    asks_usage: bool = False
    generates: bool = True
    positional: tuple[str, ...] = ()
    answered_by: Callable[[Any], Served] | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How the calls of one client are gated.

    Attributes:
        gate: The gate that is asked.
        session: The session that makes a call, by its arguments.
        serving: Who is asked to serve a call, by its arguments.
        cheaper_model: What takes the place of the requested model once a soft limit is crossed.
        stream_usage: Whether streams are asked for their usage, unless the host does it.
    """

    gate: BudgetGate
    session: Callable[[Arguments], str]
    serving: Callable[[Arguments], Served]
    cheaper_model: str | None
    stream_usage: bool = True


def session_of(session_id: SessionId) -> Callable[[Arguments], str]:
    """The session of every call that `session_id` stands for."""
    if isinstance(session_id, str):
        return lambda _: session_id
    return lambda _: session_id()


def served_by(provider: str | None) -> Callable[[Arguments], Served]:
    """The requested model, at a provider that serves them all."""

    def serving(arguments: Arguments) -> Served:
        model = arguments.get("model")
        return model if isinstance(model, str) else None, provider

    return serving


@dataclass(frozen=True, slots=True)
class GatedMethod:
    """A method of a client, behind the gate.

    Attributes:
        original: The method itself.
        api: What it calls.
        terms: How it is gated.
    """

    original: Callable[..., Any]
    api: Api
    terms: Terms

    def call(self, arguments: Arguments) -> LlmCall:
        """The gated call for a request with these arguments."""
        model, provider = self.terms.serving(arguments)
        return self.terms.gate.llm_call(
            self.terms.session(arguments),
            estimated_tokens(*(arguments.get(name) for name in self.api.content)),
            model=model,
            provider=provider,
        )

    def named(self, args: tuple[Any, ...], arguments: Arguments) -> Arguments:
        """The arguments by name.

        Raises:
            TypeError: There are more without a name than the method takes.
        """
        if len(args) > len(self.api.positional):
            raise TypeError(f"a gated call takes its arguments by name: {len(args)} have none")
        return {**dict(zip(self.api.positional, args, strict=False)), **arguments}

    def report(self, call: LlmCall, answer: Any) -> None:
        """Report the usage that an answer tells, and who answered."""
        model, provider = self.api.answered_by(answer) if self.api.answered_by else (None, None)
        call.usage(usage_of(answer), model=model, provider=provider)

    def stream(self, kind: type[StreamT], answer: Any, call: LlmCall, hides_usage: bool) -> StreamT:
        """The stream of a call that goes on where the host reads it."""
        call.detach()
        return kind(answer, call, self.api.read, self.api.answered_by, hides_usage=hides_usage)

    def allowed(self, call: LlmCall, arguments: Arguments) -> Arguments:
        """The arguments once the guard has let the call proceed: perhaps with a cheaper model."""
        cheaper = self.terms.cheaper_model
        if call.soft_limit is None or cheaper is None or not self.api.generates:
            return arguments
        arguments = {**arguments, "model": cheaper}
        model, provider = self.terms.serving(arguments)
        call.usage(None, model=model, provider=provider)
        return arguments

    def asking(self, arguments: Arguments) -> tuple[Arguments, bool]:
        """The arguments of a stream that tells its usage, and whether it does so unasked."""
        options = arguments.get("stream_options")
        given = options if isinstance(options, dict) else {}
        if not (self.api.asks_usage and self.terms.stream_usage) or "include_usage" in given:
            return arguments, False
        return {**arguments, "stream_options": {**given, "include_usage": True}}, True

    # -- a call that answers ---------------------------------------------------------------
    def run(self, *args: Any, **arguments: Any) -> Any:
        """Make the call; a stream is recorded once it has been read."""
        arguments = self.named(args, arguments)
        call = self.call(arguments)
        with ExitStack() as stack:
            stack.enter_context(call)
            arguments = self.allowed(call, arguments)
            if not arguments.get("stream"):
                answer = self.original(**arguments)
                self.report(call, answer)
                return answer
            arguments, hides_usage = self.asking(arguments)
            answer = self.original(**arguments)
            if not hasattr(answer, "__next__"):  # a raw response, which only the host can read
                return answer
            stack.pop_all()
            return self.stream(GatedStream, answer, call, hides_usage)

    async def run_async(self, *args: Any, **arguments: Any) -> Any:
        """`run` for async clients."""
        arguments = self.named(args, arguments)
        call = self.call(arguments)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(call)
            arguments = self.allowed(call, arguments)
            if not arguments.get("stream"):
                answer = await self.original(**arguments)
                self.report(call, answer)
                return answer
            arguments, hides_usage = self.asking(arguments)
            answer = await self.original(**arguments)
            if not hasattr(answer, "__anext__"):
                return answer
            stack.pop_all()
            return self.stream(AsyncGatedStream, answer, call, hides_usage)

    # -- a helper that opens a stream --------------------------------------------------------
    def open(self, **arguments: Any) -> GatedStreamManager:
        """The context manager that makes the call when it is entered."""
        return GatedStreamManager(self, arguments)

    def open_async(self, **arguments: Any) -> AsyncGatedStreamManager:
        """`open` for async clients."""
        return AsyncGatedStreamManager(self, arguments)


class GatedStreamManager:
    """What ``client.….stream(…)`` returns: it checks and calls when it is entered."""

    def __init__(self, method: GatedMethod, arguments: Arguments) -> None:
        self._method = method
        self._arguments = arguments

    def __enter__(self) -> Any:
        call = self._method.call(self._arguments)
        with ExitStack() as stack:
            stack.enter_context(call)
            arguments = self._method.allowed(call, self._arguments)
            arguments, hides_usage = self._method.asking(arguments)
            self._manager = self._method.original(**arguments)
            opened = self._manager.__enter__()
            stack.pop_all()
        raw = getattr(opened, _RAW, None)
        self._stream = self._method.stream(GatedStream, raw, call, hides_usage)
        if raw is not None:
            setattr(opened, _RAW, self._stream)
        return opened

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        try:
            self._manager.__exit__(kind, error, stack)
        finally:
            self._stream.end(GeneratorExit())


class AsyncGatedStreamManager:
    """`GatedStreamManager` for async clients."""

    def __init__(self, method: GatedMethod, arguments: Arguments) -> None:
        self._method = method
        self._arguments = arguments

    async def __aenter__(self) -> Any:
        call = self._method.call(self._arguments)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(call)
            arguments = self._method.allowed(call, self._arguments)
            arguments, hides_usage = self._method.asking(arguments)
            self._manager = self._method.original(**arguments)
            opened = await self._manager.__aenter__()
            stack.pop_all()
        raw = getattr(opened, _RAW, None)
        self._stream = self._method.stream(AsyncGatedStream, raw, call, hides_usage)
        if raw is not None:
            setattr(opened, _RAW, self._stream)
        return opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        try:
            await self._manager.__aexit__(kind, error, stack)
        finally:
            await self._stream.end(GeneratorExit())


def usage_of(answer: Any) -> object:
    """The usage that an answer tells, or None."""
    if type(answer).__name__ == "LegacyAPIResponse":  # what with_raw_response gives
        try:
            answer = answer.parse()
        except Exception:  # the host finds out when it parses; the answer is paid
            return None
    return told(getattr(answer, "usage", None))


# -- clients ---------------------------------------------------------------------------------
#: The APIs by the name of their method, by the path of their resource.
Methods = dict[str, dict[str, Api]]


def gated_copy(client: Any, methods: Methods, terms: Terms, *, is_async: bool) -> Any:
    """A copy of a client with methods behind the gate, and so are those of its copies.

    Args:
        client: The client that the calls go through: unlike those of the copy, its methods are
            not gated, whichever of them another one uses.
        methods: What is gated; a method named ``stream`` opens a stream. What a version of the
            client lacks is left out.
        terms: How it is gated.
        is_async: Whether the client is.
    """
    copied = client.copy()
    for path, apis in methods.items():
        for name, api in apis.items():
            original = _member(client, f"{path}.{name}")
            if original is None:
                continue
            gated = GatedMethod(original, api, terms)
            if name == "stream":
                replacement: Callable[..., Any] = gated.open_async if is_async else gated.open
            else:
                replacement = gated.run_async if is_async else gated.run
            setattr(_member(copied, path), name, replacement)

    def copy(**options: Any) -> Any:
        return gated_copy(client.copy(**options), methods, terms, is_async=is_async)

    copied.copy = copied.with_options = copy
    return copied


def _member(client: Any, path: str) -> Any:
    """The member at `path`, names separated by dots, or None."""
    member = client
    for name in path.split("."):
        member = getattr(member, name, None)
    return member
