"""A stream that a caller reads, and with it the gated call that made it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from otel_budget.runtime.gated_calls import LlmCall

#: Reads one chunk: the usage that it tells, if any, and whether nothing is missing in it.
Reader = Callable[[Any], tuple[object, bool]]


class _GatedStream:
    """What the two kinds of gated streams have in common.

    Args:
        stream: The client's own stream; what is not defined here reaches it.
        call: The call, begun and detached. It ends with the stream.
        read: Reads each chunk.
        answered_by: The model that answered and its provider, from a chunk.
        hides_usage: Whether the host did not ask for the usage, so that the chunk that carries
            nothing else is kept from it: its code may take the first choice of every chunk.
    """

    def __init__(
        self,
        stream: Any,
        call: LlmCall,
        read: Reader,
        answered_by: Callable[[Any], tuple[str | None, str | None]] | None = None,
        *,
        hides_usage: bool = False,
    ) -> None:
        self._stream = stream
        self._call = call
        self._read = read
        self._answered_by = answered_by
        self._hides_usage = hides_usage
        self._is_complete = False
        self._is_over = False

    def _is_shown(self, chunk: Any) -> bool:
        """Report what a chunk tells about usage; False if the host is not to see it."""
        usage, is_complete = self._read(chunk)
        if usage is None:
            return True
        self._is_complete = self._is_complete or is_complete
        if not self._is_over:
            model, provider = self._answered_by(chunk) if self._answered_by else (None, None)
            self._call.usage(usage, model=model, provider=provider)
        return not self._hides_usage or bool(getattr(chunk, "choices", True))

    def _ending(self, error: BaseException | None) -> BaseException | None:
        """How the call ends if the stream ends so; a stream is abandoned, unless all is told."""
        self._is_over = True
        if error is None or isinstance(error, Exception):
            return error
        return None if self._is_complete else GeneratorExit()

    def __getattr__(self, name: str) -> Any:
        # Called only for what is not found otherwise; private names would recurse before __init__.
        if name in {"_stream", "_call"}:
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(self) -> None:
        if not getattr(self, "_is_over", True):
            self._is_over = True
            self._call.abandon()


class GatedStream(_GatedStream):
    """A stream that is read by ``for``; its call is recorded once it has been read to its end.

    A stream that is closed or dropped before is abandoned: the call is counted as such, and what a
    guard reserved for it is released.
    """

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        while True:
            try:
                chunk = next(self._stream)
            except StopIteration:
                self.end(None)
                raise
            except BaseException as error:
                self.end(error)
                raise
            if self._is_shown(chunk):
                return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the stream; the call ends with it."""
        try:
            close = getattr(self._stream, "close", None)  # LiteLLM's has none
            if close is not None:
                close()
        finally:
            self.end(GeneratorExit())

    def end(self, error: BaseException | None) -> None:
        """End the call, if it has not ended, as a body that raises `error` would."""
        if not self._is_over:
            ending = self._ending(error)
            self._call.__exit__(type(ending) if ending else None, ending, None)


class AsyncGatedStream(_GatedStream):
    """A stream that is read by ``async for``. See `GatedStream`."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            try:
                chunk = await anext(self._stream)
            except StopAsyncIteration:
                await self.end(None)
                raise
            except BaseException as error:
                await self.end(error)
                raise
            if self._is_shown(chunk):
                return chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the stream; the call ends with it."""
        try:
            close = getattr(self._stream, "close", None) or getattr(self._stream, "aclose", None)
            if close is not None:
                await close()
        finally:
            await self.end(GeneratorExit())

    aclose = close

    async def end(self, error: BaseException | None) -> None:
        """End the call, if it has not ended, as a body that raises `error` would."""
        if not self._is_over:
            ending = self._ending(error)
            await self._call.__aexit__(type(ending) if ending else None, ending, None)
