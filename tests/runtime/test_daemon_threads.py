"""Daemon threads: what they hand back, how many there are, and what they keep alive."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import Future
from typing import Any

import pytest

from otel_budget.runtime.daemon_threads import DaemonThreads


def submit(threads: DaemonThreads, work: Any, *args: Any) -> Future[Any]:
    """Do ``work(*args)`` on one of the threads."""
    future: Future[Any] = Future()

    def job() -> None:
        try:
            future.set_result(work(*args))
        except BaseException as error:
            future.set_exception(error)
            raise  # which the thread survives

    threads.start(job)
    return future


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [OSError("no"), KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_the_work_raises_is_handed_back_and_the_thread_goes_on(
    error: BaseException,
) -> None:
    threads = DaemonThreads(most=1)
    assert submit(threads, _raise, error).exception(20) is error
    assert submit(threads, pow, 2, 3).result(20) == 8


def test_work_is_done_on_named_daemon_threads_not_on_the_callers() -> None:
    thread = submit(DaemonThreads(), threading.current_thread).result(20)
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name == "otel-budget-ask"


def test_an_idle_thread_is_used_again_and_a_busy_one_is_not_waited_for() -> None:
    threads = DaemonThreads(most=2)
    release = threading.Event()
    first = submit(threads, threading.get_ident).result(20)
    _until_idle(threads, 1)
    assert submit(threads, threading.get_ident).result(20) == first
    assert threads._threads == 1
    busy = submit(threads, release.wait, 20)
    second = submit(threads, threading.get_ident).result(20)
    _until_idle(threads, 1)
    assert submit(threads, threading.get_ident).result(20) == second
    release.set()
    assert busy.result(20)


def test_beyond_the_most_threads_work_waits_its_turn() -> None:
    threads = DaemonThreads(most=2)
    release = threading.Event()
    begun = threading.Barrier(3)

    def hold() -> bool:
        begun.wait(20)
        return release.wait(20)

    held = [submit(threads, hold) for _ in range(2)]
    begun.wait(20)
    order: list[int] = []
    waiting: list[Future[Any]] = [submit(threads, order.append, number) for number in range(3)]
    assert order == []
    assert threads._threads == 2
    release.set()
    for future in (*held, *waiting):
        future.result(20)
    assert sorted(order) == [0, 1, 2]
    assert threads._threads == 2


def test_closed_threads_end_and_still_do_what_was_given_to_them() -> None:
    threads = DaemonThreads(most=1)
    release = threading.Event()
    thread = submit(threads, threading.current_thread).result(20)
    busy = submit(threads, release.wait, 20)
    waiting = submit(threads, pow, 2, 3)
    threads.close()
    release.set()
    assert busy.result(20)
    assert waiting.result(20) == 8
    thread.join(20)
    assert not thread.is_alive()
    assert threads._threads == 0


def test_an_idle_thread_ends_when_it_is_closed() -> None:
    threads = DaemonThreads()
    thread = submit(threads, threading.current_thread).result(20)
    _until_idle(threads, 1)
    threads.close()
    thread.join(20)
    assert not thread.is_alive()


def test_an_idle_thread_keeps_nothing_of_its_last_work_alive() -> None:
    class Held:
        def use(self) -> None:
            """Be used."""

    threads = DaemonThreads()
    held = Held()
    gone = weakref.ref(held)
    submit(threads, held.use).result(20)
    _until_idle(threads, 1)
    del held
    gc.collect()
    assert gone() is None


def test_where_no_thread_can_be_started_nothing_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = DaemonThreads()
    done: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(
            threading.Thread, "start", lambda _: _raise(RuntimeError("can't start new thread"))
        )
        with pytest.raises(RuntimeError, match="can't start"):
            submit(threads, done.append, "the first")
    submit(threads, done.append, "the second").result(20)
    assert done == ["the second"]
    _until_idle(threads, 1)


def _until_idle(threads: DaemonThreads, number: int) -> None:
    """Wait until so many threads are idle: an answer comes a moment before its thread is."""
    pause = threading.Event()
    for _ in range(2_000):
        with threads._lock:
            idle = threads._threads - threads._unfinished
            if idle == number:
                return
        pause.wait(0.01)
    pytest.fail(f"{idle} idle threads instead of {number}")
