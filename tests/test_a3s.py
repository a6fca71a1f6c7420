"""The bridge to a3s-code: any guard, called as that SDK calls it (design 2; from bare threads)."""

from __future__ import annotations

import _thread
import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support import METHODS, Backend, Make, python

from otel_budget import (
    Allow,
    BudgetGuard,
    Deny,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
    call_info,
    for_a3s,
)

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "cache_read_tokens": None,
    "cache_write_tokens": None,
}
ALLOW = {"decision": "allow"}


def on_bare_threads(*calls: Callable[[], Any]) -> list[Any]:
    """Make the calls at once, each on a thread of no `threading.Thread`, and wait for all."""
    results: dict[int, Any] = {}
    done = threading.Semaphore(0)

    def work(index: int, call: Callable[[], Any]) -> None:
        try:
            results[index] = call()
        except BaseException as error:
            results[index] = error
        done.release()

    for index, call in enumerate(calls):
        _thread.start_new_thread(work, (index, call))
    for _ in calls:
        assert done.acquire(timeout=30)
    return [results[index] for index in range(len(calls))]


def ask(bridge: Any, tokens: int = 1_000) -> Any:
    (answer,) = on_bare_threads(lambda: bridge.check_before_llm("s1", tokens))
    return answer


def denied(why: str) -> dict[str, str]:
    return {"decision": "deny", "resource": "guard_unavailable", "reason": f"the budget guard{why}"}


# -- answers -------------------------------------------------------------------------------
@pytest.mark.parametrize("instrumented", [True, False], ids=["instrumented", "bare"])
@pytest.mark.parametrize("method", ["check_before_llm", "check_before_tool"])
@pytest.mark.parametrize(
    ("answer", "decision", "printed"),
    [
        ("allow", "allow", ALLOW),
        (
            "soft",
            "soft_limit",
            {"decision": "soft", "resource": "llm_cost_usd", "consumed": 4.0, "limit": 5.0},
        ),
        (
            "deny",
            "deny",
            {"decision": "deny", "resource": "llm_cost_usd", "reason": "spent"},
        ),
        ("malformed", "malformed", denied("'s answer cannot be read: an answer of type str")),
        ("raises", "error", denied(" raised ValueError")),
        ("exits", "cancelled", denied(" raised SystemExit")),
    ],
)
def test_any_guard_answers_dicts(
    backend: Backend,
    make: Make,
    *,
    answer: str,
    decision: str,
    printed: Any,
    method: str,
    instrumented: bool,
) -> None:
    answers: dict[str, Any] = {
        "allow": make.allow,
        "soft": make.soft(),
        "deny": make.deny(),
        "malformed": "allow",
        "raises": ValueError("postgres://user:secret@host"),
        "exits": SystemExit(3),
    }
    script = make.guard(answers[answer])
    guard = backend.instrument(script) if instrumented else script
    with for_a3s(guard) as bridge:
        arguments = make.arguments(method)
        (got,) = on_bare_threads(lambda: getattr(bridge, method)(*arguments))
    assert got == printed
    assert type(got) is dict
    assert script.asked == [(method, arguments, {})]
    if not instrumented:
        return
    assert backend.value("budget.decisions") == 1
    assert backend.value("budget.decisions", budget__decision=decision) == 1
    hits = 0 if answer == "allow" else 1
    assert backend.value("budget.threshold_hits") == len(backend.logs()) == hits
    if hits:
        resource = printed["resource"]
        assert backend.value("budget.threshold_hits", budget__resource=resource) == 1
        (event,) = backend.logs()
        assert event.trace_id == backend.span().context.trace_id
    assert backend.value("budget.telemetry.errors") == 0


def test_usage_reaches_each_guard_in_its_own_dialect(backend: Backend, make: Make) -> None:
    script = make.guard(make.allow)
    with for_a3s(backend.instrument(script)) as bridge:
        ask(bridge)
        on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE)))
    assert script.asked[1] == ("record_after_llm", ("s1", make.usage()), {})
    assert backend.value("budget.tokens") == 120


def test_a_typed_guard_that_only_records_is_told_typed_usage() -> None:
    told: list[Any] = []

    class Records(BudgetGuard):
        async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            told.append(usage)

    with for_a3s(Records()) as bridge:
        on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE)))
    assert told == [TokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120)]


def test_methods_that_are_missing_or_none_allow() -> None:
    class Little:
        check_before_tool = None

        def record_after_llm(self, session_id: str, usage: Any) -> None: ...

    with for_a3s(Little()) as bridge:
        assert ask(bridge) == ALLOW
        assert on_bare_threads(lambda: bridge.check_before_tool("s1", "web")) == [ALLOW]
    assert all(callable(getattr(bridge, method)) for method in METHODS)


def test_a_failing_record_is_logged_and_never_raises(
    backend: Backend, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with for_a3s(backend.instrument(make.guard(OSError("down")))) as bridge:
        assert on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE))) == [None]
    assert "record_after_llm: the budget guard raised OSError" in caplog.text
    assert backend.value("budget.calls") == 1


def test_fail_open_is_a_soft_limit(backend: Backend, make: Make) -> None:
    with for_a3s(backend.instrument(make.guard(OSError("down"))), fail="open") as bridge:
        answer = ask(bridge)
    assert (answer["decision"], answer["resource"]) == ("soft", "guard_unavailable")
    assert backend.value("budget.threshold_hits", budget__kind="soft") == 1


def test_call_info_of_the_caller_holds(backend: Backend, make: Make) -> None:
    with (
        for_a3s(backend.instrument(make.guard(make.allow))) as bridge,
        call_info(tenant="acme"),
    ):
        bridge.check_before_llm("s1", 1)
    assert backend.value("budget.decisions", budget__tenant="acme") == 1


def test_the_bridge_instrumented_as_well_counts_once(backend: Backend, make: Make) -> None:
    inner = backend.instrument(make.guard(OSError("down")), name="inner")
    with for_a3s(inner) as bridge:
        outer = backend.instrument(bridge, name="outer")
        assert ask(outer) == denied(" raised OSError")
    assert backend.value("budget.decisions") == 1
    assert backend.value("budget.threshold_hits") == 1


def test_other_attributes_are_the_guards() -> None:
    class Guard(SyncBudgetGuard):
        def budget_levels(self) -> list[Any]:
            return ["a level"]

    with for_a3s(Guard()) as bridge:
        assert bridge.budget_levels() == ["a level"]
        with pytest.raises(AttributeError):
            _ = bridge.nothing


# -- deadlines -----------------------------------------------------------------------------
def test_the_default_deadline_is_below_the_runtimes_five_seconds() -> None:
    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            await asyncio.sleep(60)

    with for_a3s(Slow()) as bridge:
        start = time.monotonic()
        assert ask(bridge) == denied(" gave no answer within 4.5 s")
        assert time.monotonic() - start < 5.0  # the runtime's own deadline, after which it is deaf


class SyncSlow(SyncBudgetGuard):
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.answered = threading.Event()

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        if estimated_prompt_tokens:
            self.release.wait(20)
            self.answered.set()
        return Deny(resource="too_late", reason="nobody waits")

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        self.release.wait(20)
        self.answered.set()


class BlocksItsLoop(SyncSlow):
    """An async guard that does not await."""

    async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        return super().check_before_llm(session_id, estimated_prompt_tokens)

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        super().record_after_llm(session_id, usage)

    async def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return Allow()


@pytest.mark.parametrize("kind", [SyncSlow, BlocksItsLoop])
def test_a_call_that_is_cut_off_counts_once_as_late(backend: Backend, kind: type[Any]) -> None:
    guard = kind()
    with for_a3s(backend.instrument(guard), timeout=0.3) as bridge:
        late = denied(" gave no answer within 0.3 s")
        assert ask(bridge) == late
        if kind is BlocksItsLoop:  # these do not even begin
            answers = on_bare_threads(*[lambda: bridge.check_before_llm("s1", 1)] * 3)
            assert answers == [late] * 3
        count = 4 if kind is BlocksItsLoop else 1
        assert backend.value("budget.decisions", budget__decision="late") == count
        guard.release.set()
        assert guard.answered.wait(5)
        assert ask(bridge, 0) == {
            "decision": "deny",
            "resource": "too_late",
            "reason": "nobody waits",
        }
    assert backend.value("budget.decisions") == count + 1
    assert backend.value("budget.threshold_hits", budget__resource="guard_unavailable") == count
    assert backend.value("budget.threshold_hits", budget__resource="too_late") == 1
    assert len(backend.spans()) == count + 1


@pytest.mark.parametrize("kind", [SyncSlow, BlocksItsLoop])
def test_a_record_that_is_cut_off_still_counts_its_usage_once(
    backend: Backend, kind: type[Any]
) -> None:
    guard = kind()
    with for_a3s(backend.instrument(guard), timeout=0.05) as bridge:
        for _ in range(2):
            on_bare_threads(lambda: bridge.record_after_llm("s1", dict(USAGE)))
        guard.release.set()
        assert guard.answered.wait(5)
    assert backend.value("budget.calls") == 2
    assert backend.value("budget.tokens") == 240
    assert backend.value("budget.telemetry.errors") == 0


# -- threads and loops ---------------------------------------------------------------------
def test_fifty_threads_at_once_lose_nothing(backend: Backend, make: Make) -> None:
    together = threading.Barrier(50)
    script = make.guard(make.soft())
    with for_a3s(backend.instrument(script)) as bridge:

        def turn() -> list[Any]:
            together.wait(10)
            answers = [bridge.check_before_llm("s1", 10), bridge.check_before_tool("s1", "web")]
            bridge.record_after_llm("s1", dict(USAGE))
            return [answer["decision"] for answer in answers]

        assert on_bare_threads(*[turn] * 50) == [["soft", "soft"]] * 50
    assert len(script.asked) == 150
    assert backend.value("budget.decisions", budget__decision="soft_limit") == 100
    assert backend.value("budget.threshold_hits") == 100
    assert backend.value("budget.estimated_tokens") == 500
    assert backend.value("budget.tokens") == 120 * 50


def test_async_guards_overlap_on_one_loop_that_is_started_when_needed() -> None:
    loops: set[Any] = set()
    inside = 0
    most = 0

    class Guard(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            nonlocal inside, most
            loops.add((asyncio.get_running_loop(), threading.current_thread()))
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.2)
            inside -= 1
            return Allow()

    before = threading.active_count()
    with for_a3s(Guard()) as bridge:
        assert threading.active_count() == before
        on_bare_threads(*[lambda: bridge.check_before_llm("s1", 1)] * 10)
        assert most > 1
        ((loop, thread),) = loops
        assert thread.daemon
    assert loop.is_closed()
    assert not thread.is_alive()


def test_a_guard_cannot_wait_for_itself_on_its_own_loop() -> None:
    class Recursive(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            answer = bridge.check_before_tool(session_id, "web")
            return SoftLimit(resource=answer["reason"], consumed=1.0, limit=1.0)

    with for_a3s(Recursive()) as bridge:
        assert "must not call itself through its bridge" in ask(bridge)["resource"]


def test_a_loop_that_its_guard_has_killed_is_started_anew() -> None:
    class Killer(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            async def leave() -> None:
                raise SystemExit

            if estimated_prompt_tokens:
                self.task = asyncio.create_task(leave())
                await asyncio.sleep(20)
            return Allow()

    with for_a3s(Killer(), timeout=2) as bridge:
        assert ask(bridge, 1)["decision"] == "deny"
        for _ in range(100):
            if not any(thread.name == "otel-budget-loop" for thread in threading.enumerate()):
                break
            time.sleep(0.02)
        assert ask(bridge, 0) == ALLOW
        bridge._guard.task = None


# -- closing -------------------------------------------------------------------------------
def test_closing_answers_what_is_under_way_and_what_comes_later(backend: Backend) -> None:
    begun = threading.Event()
    cleaned = threading.Event()

    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            begun.set()
            try:
                await asyncio.sleep(20)
            finally:
                cleaned.set()

    bridge = for_a3s(backend.instrument(Slow()))
    closer = threading.Thread(target=lambda: (begun.wait(5), bridge.close()))
    closer.start()
    assert ask(bridge) == denied(" raised asyncio.exceptions.CancelledError")
    closer.join()
    assert cleaned.is_set()
    assert ask(bridge) == denied(" could not be asked: its bridge has been closed")
    bridge.close()
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    assert backend.value("budget.decisions", budget__decision="error") == 1
    assert backend.value("budget.threshold_hits") == 2


def test_a_bridge_that_nobody_holds_closes_its_loop() -> None:
    threads: list[threading.Thread] = []

    class Guard(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            threads.append(threading.current_thread())
            return Allow()

    bridge = for_a3s(Guard())
    ask(bridge)
    gone = weakref.ref(bridge)
    del bridge
    for _ in range(50):
        gc.collect()
        if gone() is None:
            break
        time.sleep(0.02)
    threads[0].join(5)
    assert not threads[0].is_alive()


@pytest.mark.parametrize("kind", ["async", "sync", "blocking"])
@pytest.mark.parametrize("caller", ["bare", "thread"])
def test_the_interpreter_exits_in_the_middle_of_a_call(kind: str, caller: str) -> None:
    """Bare threads are left behind at once; a `threading.Thread` is waited for, with an answer."""
    done = python(
        """
        import _thread, asyncio, sys, threading, time
        from otel_budget import BudgetGuard, SyncBudgetGuard, for_a3s

        begun = threading.Event()

        class Sync(SyncBudgetGuard):
            def check_before_llm(self, session_id, estimated_prompt_tokens):
                begun.set()
                time.sleep(600)

        class Async(BudgetGuard):
            async def check_before_llm(self, session_id, estimated_prompt_tokens):
                begun.set()
                await asyncio.sleep(600)

        class Blocking(BudgetGuard):
            async def check_before_llm(self, session_id, estimated_prompt_tokens):
                begun.set()
                time.sleep(600)

        kind, caller = sys.argv[1:]
        bridge = for_a3s({"async": Async, "sync": Sync, "blocking": Blocking}[kind](), timeout=1)

        def call():
            print(bridge.check_before_llm("s", 1)["resource"], flush=True)

        if caller == "bare":
            _thread.start_new_thread(call, ())
        else:
            threading.Thread(target=call).start()
        begun.wait()
        """,
        kind,
        caller,
        timeout=30,
    )
    if caller == "thread":
        assert done.stdout == "guard_unavailable\n"
        assert done.stderr.strip().endswith("gave no answer within 1 s.")
    else:
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["Async", "Sync"])
def test_a_fork_leaves_parent_and_child_each_with_a_working_bridge(kind: str) -> None:
    done = python(
        """
        import asyncio, os, sys, threading, time, warnings
        from otel_budget import Allow, BudgetGuard, SyncBudgetGuard, for_a3s
        warnings.simplefilter("ignore", DeprecationWarning)

        class Async(BudgetGuard):
            async def check_before_llm(self, session_id, estimated_prompt_tokens):
                await asyncio.sleep(estimated_prompt_tokens / 1000)
                return Allow()

        class Sync(SyncBudgetGuard):
            def check_before_llm(self, session_id, estimated_prompt_tokens):
                time.sleep(estimated_prompt_tokens / 1000)
                return Allow()

        bridge = for_a3s({"Async": Async, "Sync": Sync}[sys.argv[1]]())
        bridge.check_before_llm("s", 1)
        under_way = threading.Thread(
            target=lambda: print("thread", bridge.check_before_llm("s", 1000), flush=True)
        )
        under_way.start()
        time.sleep(0.2)
        bridge.check_before_llm("s", 1)  # leaves a thread idle
        # As if another thread were inside at the moment of the fork.
        held = bridge._loop._lock if sys.argv[1] == "Async" else bridge._asker._threads._wake
        held.acquire()
        child = os.fork()
        if child == 0:
            print("child", bridge.check_before_llm("s", 1), flush=True)
            bridge.close()
            import gc; gc.collect()
            os._exit(0)
        held.release()
        assert os.waitpid(child, 0)[1] == 0
        print("parent", bridge.check_before_llm("s", 1), flush=True)
        under_way.join()
        print("parent", bridge.check_before_llm("s", 1), flush=True)
        """,
        kind,
        timeout=30,
    )
    allowed = "{'decision': 'allow'}"
    assert sorted(done.stdout.splitlines()) == [
        f"child {allowed}",
        f"parent {allowed}",
        f"parent {allowed}",
        f"thread {allowed}",
    ]
    assert done.stderr == ""


# -- what a person may get wrong -----------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"guard": object()}, TypeError, "no budget guard"),
        ({"timeout": -1}, ValueError, "above 0"),
        ({"timeout": None}, TypeError, "seconds"),
        ({"fail": ""}, ValueError, "'closed' or 'open'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        for_a3s(**{"guard": SyncBudgetGuard(), **arguments})
