"""The background loop by itself: where it cannot be had, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import warnings
from typing import Any

import pytest

from otel_budget.runtime.background_loop import BackgroundLoop


async def _where() -> tuple[Any, threading.Thread]:
    return asyncio.get_running_loop(), threading.current_thread()


def test_work_runs_on_one_named_daemon_thread_and_one_loop() -> None:
    loop = BackgroundLoop()
    assert not loop.is_this_thread
    first, second = (loop.submit(_where).result(20) for _ in range(2))
    assert first == second
    running, thread = first
    assert thread.daemon
    assert thread.name == "otel-budget-loop"
    loop.close()
    thread.join(20)
    assert not thread.is_alive()
    assert running.is_closed()
    loop.close()  # once more does nothing


def test_a_closed_loop_takes_no_work() -> None:
    loop = BackgroundLoop()
    loop.close()
    with pytest.raises(RuntimeError, match="its bridge has been closed"):
        loop.submit(_where)


def test_closing_cancels_what_runs_and_lets_it_clean_up() -> None:
    loop = BackgroundLoop()
    begun = threading.Event()
    ends: list[str] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ends.append("cancelled")
            raise

    future = loop.submit(work)
    assert begun.wait(20)
    loop.close()
    assert ends == ["cancelled"]
    assert future.cancelled()


def test_async_generators_left_open_are_closed_with_the_loop() -> None:
    loop = BackgroundLoop()
    ends: list[str] = []
    held: list[Any] = []

    async def pieces() -> Any:
        try:
            yield 1
        finally:
            ends.append("closed")

    async def work() -> None:
        held.append(pieces())
        await anext(held[0])

    loop.submit(work).result(20)
    assert ends == []
    loop.close()
    assert ends == ["closed"]


def test_work_that_the_loop_refuses_is_not_left_unawaited(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = BackgroundLoop()
    loop.submit(_where).result(20)

    def refuse(*_: Any) -> Any:
        raise RuntimeError("Event loop is closed")

    with monkeypatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("error")
        patched.setattr(asyncio, "run_coroutine_threadsafe", refuse)
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop.submit(_where)
    assert loop.submit(_where).result(20)
    loop.close()


def test_where_no_thread_can_be_started_the_loop_is_closed_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = BackgroundLoop()
    made: list[Any] = []
    new_event_loop = asyncio.new_event_loop

    def make() -> Any:
        made.append(new_event_loop())
        return made[-1]

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "new_event_loop", make)
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            loop.submit(_where)
    assert [each.is_closed() for each in made] == [True]
    assert loop.submit(_where).result(20)
    loop.close()
