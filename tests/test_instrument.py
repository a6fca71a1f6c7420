"""The promises of the decorator (design 3), each over sync and async, typed and dict guards."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import pickle
import threading
import time
from collections import UserDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from support import (
    CHECKS,
    MAKES,
    METHODS,
    AsyncScript,
    Backend,
    Make,
    SyncScript,
    outcome,
    python,
    run,
)

from otel_budget import (
    Allow,
    BudgetGuard,
    Deny,
    FlatRates,
    NoopBudgetGuard,
    SessionInfo,
    SyncBudgetGuard,
    TokenUsage,
    call_info,
    instrument,
)


async def _coroutine() -> None: ...


# -- 1: the guard's own object, its arguments, its attributes --------------------------------
RUBBISH: list[Callable[[], Any]] = [
    lambda: None,
    object,
    lambda: True,
    lambda: "allow",
    dict,
    lambda: {"decision": "frobnicate"},
    lambda: {"decision": "deny", "reason": "no resource"},
    lambda: {"decision": "soft", "resource": "r", "consumed": float("nan"), "limit": 1.0},
    lambda: UserDict(decision="allow"),
    lambda: [1, 2],
]


@pytest.mark.parametrize("method", METHODS)
def test_promise_1_the_answer_is_the_guards_own_object(
    backend: Backend, make: Make, method: str
) -> None:
    for answer in [make.allow, make.soft(), make.deny(), *(each() for each in RUBBISH)]:
        guard = backend.instrument(make.guard(answer))
        assert make.call(guard, method, *make.arguments(method)) is answer


@pytest.mark.parametrize("method", METHODS)
def test_promise_1_the_arguments_reach_the_guard_as_they_are(
    backend: Backend, make: Make, method: str
) -> None:
    inner = make.guard()
    guard = backend.instrument(inner)
    session, second = object(), object()
    make.call(guard, method, session, second)
    make.call(guard, method, "s", more=second)
    make.call(guard, method)
    (_, first, none), (_, one, named), (_, nothing, _) = inner.asked
    assert first[0] is session
    assert first[1] is second
    assert none == {}
    assert one == ("s",)
    assert named["more"] is second
    assert nothing == ()


def test_promise_1_a_wrong_call_is_the_guards_own_type_error(backend: Backend) -> None:
    guard = backend.instrument(SyncBudgetGuard())
    with pytest.raises(TypeError, match=r"SyncBudgetGuard\.check_before_llm\(\)"):
        guard.check_before_llm("s")
    assert backend.value("budget.decisions", budget__decision="error") == 1


def test_promise_1_attributes_are_the_guards(backend: Backend, make: Make) -> None:
    inner = make.guard()
    guard = backend.instrument(inner)
    guard.limit = 5
    assert inner.limit == 5  # type: ignore[attr-defined]
    inner.limit = 6  # type: ignore[attr-defined]
    assert guard.limit == 6
    del guard.limit
    assert not hasattr(inner, "limit")
    assert guard.asked is inner.asked
    assert isinstance(guard, type(inner))
    assert guard.__class__ is type(inner)
    assert "asked" in dir(guard)
    with pytest.raises(AttributeError, match=r"AsyncScript|SyncScript"):
        _ = guard.no_such_thing


class OnlyTools:
    """A guard that lacks a method, and holds another as None."""

    record_after_llm = None

    def check_before_tool(self, session_id: str, tool_name: str) -> Any:
        return {"decision": "deny", "resource": "tools", "reason": "no"}


def test_promise_1_a_method_the_guard_lacks_allows_and_usage_still_counts(
    backend: Backend,
) -> None:
    guard = backend.instrument(OnlyTools())
    assert guard.check_before_llm("s", 10) is None
    assert guard.record_after_llm("s", MAKES[1].usage()) is None
    assert guard.check_before_tool("s", "t")["decision"] == "deny"
    assert backend.value("budget.decisions", budget__decision="allow") == 1
    assert backend.value("budget.tokens") == 120


def test_promise_1_a_guard_stays_sync_or_async_as_it_is(backend: Backend) -> None:
    for asynchronous, guard in ((True, NoopBudgetGuard()), (False, SyncBudgetGuard())):
        wrapped = backend.instrument(guard)
        for method in METHODS:
            assert asyncio.iscoroutinefunction(getattr(wrapped, method)) is asynchronous


class Mixed:
    def check_before_llm(self, session_id: str, tokens: int) -> None: ...

    async def record_after_llm(self, session_id: str, usage: Any) -> None: ...


@pytest.mark.parametrize(
    ("guard", "options", "error", "says"),
    [
        (Mixed(), {}, TypeError, r"record_after_llm.*check_before_llm"),
        (object(), {}, TypeError, "check_before_llm"),
        (SyncScript(), {"metric_labels": ("session_id",)}, ValueError, "session_id"),
        (SyncScript(), {"metric_labels": "tenant"}, TypeError, "tenant"),
        (SyncScript(), {"max_label_sets": 0}, ValueError, "max_label_sets"),
        (SyncScript(), {"max_label_sets": 1.5}, TypeError, "max_label_sets"),
        (SyncScript(), {"events": "all"}, ValueError, "events"),
        (SyncScript(), {"late_after": -1}, ValueError, "late_after"),
        (SyncScript(), {"late_after": "soon"}, TypeError, "late_after"),
        (SyncScript(), {"late_after": float("nan")}, ValueError, "late_after"),
        (SyncScript(), {"prices": "free"}, TypeError, "prices"),
    ],
)
def test_what_cannot_be_instrumented_is_said_clearly(
    backend: Backend, guard: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        backend.instrument(guard, **options)


def test_copies_of_an_instrumented_guard_are_instrumented_copies(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), metric_labels=(label for label in ("tenant",)))
    guard.asked.append("before")
    shallow, deep = copy.copy(guard), copy.deepcopy({"g": guard})["g"]
    assert shallow.asked is guard.asked
    assert deep.asked == guard.asked
    assert deep.asked is not guard.asked
    for one in (shallow, deep):
        with call_info(tenant="acme"):
            one.check_before_llm("s", 1)
    assert backend.value("budget.decisions", budget__tenant="acme") == 2
    again = pickle.loads(pickle.dumps(instrument(SyncBudgetGuard(), prices=None)))
    assert again.check_before_llm("s", 1) == Allow()
    assert type(again) is not SyncBudgetGuard


# -- 2: exceptions and cancellation ----------------------------------------------------------
class Refused(Exception):
    pass


@pytest.mark.parametrize("method", METHODS)
def test_promise_2_an_exception_reaches_the_caller_and_the_span_tells(
    backend: Backend, make: Make, method: str
) -> None:
    error = Refused("redis://:secret@host " + "x" * 5_000)
    guard = backend.instrument(make.guard(error))
    assert outcome(lambda: make.call(guard, method, *make.arguments(method))) is error
    assert error.__context__ is None
    span = backend.span()
    assert span.status.status_code is StatusCode.ERROR
    assert len(span.status.description) <= 1_024
    assert span.attributes["error.type"].endswith("Refused")
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"].endswith("Refused")
    assert event.attributes["exception.message"].startswith("redis://")
    assert len(event.attributes["exception.message"]) <= 1_024
    assert "exception.stacktrace" not in event.attributes
    assert backend.value("budget.guard.errors") == 1
    if method != "record_after_llm":
        assert span.attributes["budget.decision"] == "error"
        assert backend.value("budget.decisions", budget__decision="error") == 1


def test_promise_2_the_stack_is_recorded_when_asked(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_BUDGET_STACKTRACES", "true")
    guard = backend.instrument(SyncScript(Refused("no")))
    outcome(lambda: guard.check_before_llm("s", 1))
    stack = backend.span().events[0].attributes["exception.stacktrace"]
    assert "Refused: no" in stack
    assert "check_before_llm" in stack


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_promise_2_so_does_what_ends_a_program(
    backend: Backend, make: Make, method: str, kind: type[BaseException]
) -> None:
    error = kind("stop")
    guard = make.guard(error)
    wrapped = backend.instrument(guard)
    if make.asynchronous:
        coroutine = getattr(wrapped, method)(*make.arguments(method))
        coroutine.send(None)  # at its sleep
        seen = outcome(lambda: coroutine.send(None))
    else:
        seen = outcome(lambda: getattr(wrapped, method)(*make.arguments(method)))
    assert seen is error
    assert backend.span().status.status_code is StatusCode.ERROR
    assert backend.value("budget.guard.errors") == 0
    assert backend.value("budget.telemetry.errors") == 0
    if method != "record_after_llm":
        assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    assert backend.value("budget.guard.duration", budget__decision="cancelled") == 1


def test_promise_2_a_cancelled_task_is_cancelled(backend: Backend) -> None:
    reached = asyncio.Event()

    class Slow(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            reached.set()
            await asyncio.Event().wait()

    async def host() -> None:
        task = asyncio.create_task(backend.instrument(Slow()).check_before_llm("s", 1))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(host())
    assert backend.span().attributes["budget.decision"] == "cancelled"
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1


def test_promise_2_a_coroutine_closed_elsewhere_is_cancelled_and_ends_its_span(
    backend: Backend,
) -> None:
    coroutine = backend.instrument(AsyncScript()).check_before_llm("s", 1)
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()  # in another context than it was opened in, as the garbage collector does
    assert backend.value("budget.decisions", budget__decision="cancelled") == 1
    assert backend.span().attributes["budget.decision"] == "cancelled"


# -- 4: nothing but arithmetic on the caller's path ------------------------------------------
def test_promise_4_no_io_and_no_thread_of_its_own_exports_on_the_callers_path() -> None:
    """With real exporters and a dead collector; the interpreter audits what a call does."""
    python(
        """
        import sys, threading
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from otel_budget import FlatRates, SessionInfo, instrument

        class Hung:
            '''A collector that never answers, spans, logs and metrics alike.'''
            _preferred_temporality = _preferred_aggregation = None
            callers, release = set(), threading.Event()
            def export(self, *a, **k):
                self.callers.add(threading.get_ident())
                self.release.wait(30)
                from opentelemetry.sdk.trace.export import SpanExportResult
                return SpanExportResult.FAILURE
            def shutdown(self, *a, **k): pass
            def force_flush(self, *a, **k): return True

        hung = Hung()
        tp = TracerProvider(shutdown_on_exit=False)
        tp.add_span_processor(BatchSpanProcessor(hung, max_export_batch_size=8, max_queue_size=64))
        lp = LoggerProvider(shutdown_on_exit=False)
        lp.add_log_record_processor(
            BatchLogRecordProcessor(hung, max_export_batch_size=8, max_queue_size=64))
        reader = PeriodicExportingMetricReader(hung, export_interval_millis=20)
        mp = MeterProvider([reader], shutdown_on_exit=False)

        class Guard:
            def check_before_llm(self, s, n):
                return {"decision": "deny", "resource": "r", "reason": "x"}
            def record_after_llm(self, s, u): pass
            def check_before_tool(self, s, t):
                return {"decision": "soft", "resource": "r", "consumed": 1, "limit": 1}

        guard = instrument(Guard(), prices=FlatRates(1, 2), session_info=SessionInfo(tenant="t"),
                           tracer_provider=tp, meter_provider=mp, logger_provider=lp)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        def calls(n):
            for i in range(n):
                guard.check_before_llm(f"s{i}", 1)
                guard.record_after_llm(f"s{i}", usage)
                guard.check_before_tool(f"s{i}", "t")
        import logging
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # "queue full" is a write
        calls(300)      # fills every queue; whatever is set up once is set up
        me, seen, watching = threading.get_ident(), [], True
        def audit(event, args):
            if watching and threading.get_ident() == me:
                if event.split(".")[0] in {"open", "socket", "subprocess", "os", "fcntl", "select"}:
                    seen.append(event)
        sys.addaudithook(audit)
        calls(300)
        watching = False
        assert not seen, seen
        assert hung.callers and me not in hung.callers, "exported by the caller"
        hung.release.set()
        """,
        timeout=60,
    )


def test_promise_4_a_call_waits_for_no_collection(backend: Backend, make: Make) -> None:
    """A foreign callback hangs inside a collection, whose locks the SDK holds meanwhile."""
    collecting, release = threading.Event(), threading.Event()

    def hang(_: Any) -> list[Any]:
        collecting.set()
        release.wait(30)
        return []

    guard = backend.instrument(
        make.guard(make.soft()), prices=FlatRates(1, 2), session_info=SessionInfo(tenant="t")
    )
    backend.meter_provider.get_meter("foreign").create_observable_counter("hanging", [hang])
    collection = threading.Thread(target=backend.collect)
    collection.start()
    try:
        assert collecting.wait(10)
        done = threading.Event()

        def calls() -> None:
            for method in METHODS:
                make.call(guard, method, *make.arguments(method, session="new"))
            done.set()

        thread = threading.Thread(target=calls)
        thread.start()
        assert done.wait(20), "a call of the guard waits for the collection"
        thread.join()
        assert collection.is_alive()
    finally:
        release.set()
        collection.join()
    assert backend.value("budget.decisions") == 2


def test_promise_4_no_instrument_is_made_on_a_call(backend: Backend) -> None:
    guard = backend.instrument(SyncScript())
    made: list[str] = []

    def audit(*_: Any, **__: Any) -> Any:
        made.append("instrument")
        raise AssertionError

    backend.meter_provider.get_meter = audit  # type: ignore[method-assign]
    for method in METHODS:
        getattr(guard, method)(*MAKES[1].arguments(method))
    assert made == []


# -- 5: exact under any sampling -------------------------------------------------------------
def test_promise_5_metrics_and_log_events_are_exact_without_any_sampled_span(make: Make) -> None:
    backend = Backend(sampler=ALWAYS_OFF)
    guard = backend.instrument(
        make.guard(make.deny()),
        prices=FlatRates(1, 2),
        session_info=SessionInfo(tenant="acme", model="m", provider="openai"),
    )
    for _ in range(7):
        for method in METHODS:
            make.call(guard, method, *make.arguments(method))
    assert backend.span_exporter.get_finished_spans() == ()
    assert backend.value("budget.decisions", budget__decision="deny") == 14
    assert backend.value("budget.threshold_hits", budget__kind="hard") == 14
    assert backend.value("budget.calls") == 7
    assert backend.value("budget.tokens") == 7 * 120
    assert backend.value("budget.cost") == pytest.approx(7 * 140 / 1e6)
    assert backend.value("budget.guard.duration") == 21
    assert len(backend.logs()) == 14
    assert all(record.trace_id and record.span_id for record in backend.logs())
    backend.shutdown()


# -- 6: bounded attributes -------------------------------------------------------------------
def _everything(guard: Any, session: str, tool: str = "t", **known: Any) -> None:
    with call_info(**known):
        guard.check_before_llm(session, 10)
        guard.record_after_llm(session, MAKES[1].usage())
        guard.check_before_tool(session, tool)


def test_promise_6_a_session_id_is_on_no_metric(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(MAKES[1].soft()))
    for number in range(20):
        _everything(guard, f"session-{number}", tenant="acme")
    for name, metric in backend.collect().items():
        for point in metric.data.data_points:
            assert not [v for v in point.attributes.values() if "session-" in str(v)], name


def test_promise_6_a_thousand_tenants_make_no_more_series_than_promised(
    backend: Backend,
) -> None:
    guard = backend.instrument(
        SyncScript(MAKES[1].soft()), prices=FlatRates(1, 2), metric_labels=("tenant", "principal")
    )
    for number in range(1_000):
        _everything(
            guard,
            "s",
            tool=f"tool-{number}",
            tenant=f"t{number}",
            principal=f"p{number}",
            model=f"m{number}",
            provider=f"v{number}",
        )
    for name, metric in backend.collect().items():
        assert len(metric.data.data_points) <= 1_800, name
        for point in metric.data.data_points:
            assert "otel.metric.overflow" not in point.attributes, name
    decisions = backend.series("budget.decisions")
    tenants = {attributes["budget.tenant"] for attributes, _ in decisions}
    assert len(tenants) == 101
    assert "_other_" in tenants
    assert sum(value for _, value in decisions) == 2_000
    assert backend.value("budget.decisions", budget__tenant="_other_") == 2 * 900
    other = [a for a, _ in decisions if a["budget.tenant"] == "_other_"]
    assert all(attributes["budget.principal"] == "_other_" for attributes in other)
    # Totals survive every cap.
    assert backend.value("budget.calls") == 1_000
    assert backend.value("budget.tokens") == 120_000
    assert backend.value("budget.threshold_hits") == 2_000
    assert backend.value("budget.cost") == pytest.approx(1_000 * 140 / 1e6)
    assert backend.value("budget.label_overflows", budget__label="labels") > 0


def test_promise_6_without_labels_no_tenant_appears(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(MAKES[1].deny()), metric_labels=())
    _everything(guard, "s", tenant="acme", agent="a", principal="p")
    for name, metric in backend.collect().items():
        for point in metric.data.data_points:
            assert not {"budget.tenant", "budget.agent", "budget.principal"} & set(
                point.attributes
            ), name


def test_promise_6_the_largest_number_of_label_sets_asked_for_holds(backend: Backend) -> None:
    few = backend.instrument(SyncScript(), max_label_sets=3)
    for number in range(5):
        _everything(few, "s", tenant=f"t{number}")
    many = backend.instrument(SyncScript(), max_label_sets=6)
    backend.instrument(SyncScript(), max_label_sets=2)
    for number in range(10):
        _everything(many, "s", tenant=f"u{number}")
    tenants = {a["budget.tenant"] for a, _ in backend.series("budget.calls")}
    assert tenants == {"t0", "t1", "t2", "u0", "u1", "u2", "_other_"}


def test_promise_6_the_order_of_the_labels_makes_no_new_set(backend: Backend) -> None:
    one = backend.instrument(SyncScript(), metric_labels=("tenant", "agent"), max_label_sets=1)
    two = backend.instrument(SyncScript(), metric_labels=("agent", "tenant"), max_label_sets=1)
    for guard in (one, two):
        _everything(guard, "s", tenant="acme", agent="a")
    ((attributes, calls),) = backend.series("budget.calls")
    assert calls == 2
    assert attributes["budget.tenant"] == "acme"


# -- 7: no input poisons an export -----------------------------------------------------------
LONE = "\ud800x\udfff"
HUGE = "x" * 100_000


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoIndex:
    def __index__(self) -> int:
        raise RuntimeError("no index")


@pytest.mark.parametrize(
    "value",
    [LONE, HUGE, "", "\0", b"\xff", None, 7, 10**5_000, float("nan"), NoText(), [], {"a": 1}],
    ids=["lone", "huge", "empty", "nul", "bytes", "none", "int", "vast", "nan", "notext", "list",
         "dict"],
)  # fmt: skip
def test_promise_7_any_text_can_be_exported(backend: Backend, make: Make, value: Any) -> None:
    info = SessionInfo(value, value, value, value, value, value)
    guards = [
        backend.instrument(make.guard(answer), session_info=info, name="g", prices=FlatRates(1, 1))
        for answer in (make.soft(), make.deny(), RuntimeError(value))
    ]
    for guard in guards:
        for args in ((value, value), (value, 1), (value, make.usage())):
            for method in METHODS:
                outcome(lambda g=guard, m=method, a=args: make.call(g, m, *a))
    assert backend.encode()
    assert backend.value("budget.decisions") == 3 * 3 * 2
    assert backend.value("budget.calls") == 9
    for span in backend.spans():
        for text in span.attributes.values():
            assert not isinstance(text, str) or len(text) <= 1_024
    assert backend.value("budget.telemetry.errors") == 0


@pytest.mark.parametrize("text", [LONE, HUGE])
def test_promise_7_so_can_any_answer(backend: Backend, text: str) -> None:
    for answer in (
        {"decision": "deny", "resource": text, "reason": text},
        {"decision": "soft", "resource": text, "consumed": 1, "limit": 2, "message": text},
        {"decision": text},
        {"decision": "soft", "resource": "r", "consumed": 10**400, "limit": 1},
        {"decision": "soft", "resource": "r", "consumed": -1e308, "limit": 1e-308},
        Deny.model_construct(resource=text, reason=text),
    ):
        guard = backend.instrument(SyncScript(answer))
        guard.check_before_llm("s", 1)
        guard.check_before_tool("s", "t")
    assert backend.encode()
    assert backend.value("budget.decisions") == 12
    assert len(backend.spans()) == 12
    assert all("budget.decision" in span.attributes for span in backend.spans())
    assert backend.value("budget.telemetry.errors") == 0


@pytest.mark.parametrize(
    "number",
    [float("nan"), float("inf"), -1, 1.5, -1e300, 2**63, 2**64, 10**400, True, "7", NoIndex(),
     None],
    ids=repr,
)  # fmt: skip
def test_promise_7_any_number_can_be_exported(backend: Backend, number: Any) -> None:
    guard = backend.instrument(SyncScript({"decision": "allow"}), prices=FlatRates(1, 1))
    for _ in range(3):
        guard.check_before_llm("s", number)
        for field in ("prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens"):
            guard.record_after_llm("s", {**MAKES[1].usage(), field: number})
        with call_info(cost_usd=number):
            guard.record_after_llm("s", MAKES[1].usage())
    guard.record_after_llm("s", TokenUsage.model_construct(prompt_tokens=number))
    assert backend.encode()
    assert backend.value("budget.decisions", budget__decision="allow") == 3
    assert backend.value("budget.calls") == 16
    assert backend.value("budget.telemetry.errors") == 0
    for name, metric in backend.collect().items():
        for point in metric.data.data_points:
            value = getattr(point, "value", 0)
            assert 0 <= value < float("inf"), name
            assert not isinstance(value, int) or value < 2**63, name


def test_promise_7_sums_saturate_at_int64(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), prices=FlatRates(1e308, 0))
    huge = {"prompt_tokens": 2**62, "completion_tokens": 2**62, "total_tokens": 2**63}
    for tenant in ("a", "b", "c"):
        with call_info(tenant=tenant):
            for _ in range(3):
                guard.check_before_llm("s", 2**62)
                guard.record_after_llm("s", huge)
                with call_info(cost_usd=1e308):
                    guard.record_after_llm("s", huge)
    assert backend.encode()
    # Not only each series: a view or a backend adds them up.
    for name in ("budget.tokens", "budget.estimated_tokens"):
        assert backend.value(name) == 2**63 - 1
    assert backend.value("budget.calls") == 18
    assert 0 < backend.value("budget.cost") < float("inf")
    for span in backend.spans("budget.record_after_llm"):
        assert span.attributes["budget.session.tokens"] <= 2**63 - 1
        assert span.attributes["budget.session.cost"] < float("inf")
    assert backend.value("budget.telemetry.errors") == 0


# -- 8: threads, loops, memory ---------------------------------------------------------------
def test_promise_8_fifty_threads_lose_nothing(backend: Backend, make: Make) -> None:
    guard = backend.instrument(
        make.guard(make.soft()), prices=FlatRates(1, 0), session_info=SessionInfo(model="m")
    )
    start = threading.Barrier(50)

    def calls(thread: int) -> None:
        start.wait()
        for number in range(20):
            with call_info(tenant=f"t{thread % 7}"):
                for method in METHODS:
                    make.call(guard, method, *make.arguments(method, f"s{number % 4}"))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(calls, range(50)))
    assert backend.value("budget.decisions", budget__decision="soft_limit") == 2_000
    assert backend.value("budget.threshold_hits", budget__kind="soft") == 2_000
    assert backend.value("budget.calls") == 1_000
    assert backend.value("budget.tokens") == 120_000
    assert backend.value("budget.cost") == pytest.approx(0.1)
    assert backend.value("budget.guard.duration") == 3_000
    assert backend.value("budget.telemetry.errors") == 0
    assert len(backend.spans()) == 3_000
    assert len(backend.roots()) == 4
    totals = [s.attributes["budget.session.tokens"] for s in backend.spans()]
    assert max(totals) == 250 * 120


def test_promise_8_one_guard_serves_many_loops(backend: Backend) -> None:
    guard = backend.instrument(AsyncScript({"decision": "allow"}))

    def loop(_: int) -> None:
        async def host() -> None:
            await asyncio.gather(*(guard.check_before_llm(f"s{i}", 1) for i in range(10)))

        run(host())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(loop, range(8)))
    assert backend.value("budget.decisions", budget__decision="allow") == 80


def test_promise_8_interleaved_tasks_keep_their_own_spans(backend: Backend) -> None:
    seen: dict[str, int] = {}

    class Guard(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            for _ in range(5):
                await asyncio.sleep(0)
            seen[session_id] = trace.get_current_span().get_span_context().span_id
            return Allow()

    guard = backend.instrument(Guard())

    async def host() -> None:
        await asyncio.gather(*(guard.check_before_llm(f"s{i}", 1) for i in range(20)))
        assert not trace.get_current_span().get_span_context().is_valid

    run(host())
    spans = {s.attributes["session.id"]: s.context.span_id for s in backend.spans()}
    assert spans == seen


def test_promise_8_ten_thousand_short_lived_guards_leave_only_their_counts(
    backend: Backend,
) -> None:
    from otel_budget.recorder import GuardSettings

    class Levels(SyncScript):
        def budget_levels(self) -> list[Any]:
            return []

    def alive() -> int:
        gc.collect()
        return sum(type(one) in {GuardSettings, Levels} for one in gc.get_objects())

    before = alive()
    for number in range(10_000):
        guard = backend.instrument(Levels({"decision": "allow"}), name=f"g{number % 3}")
        guard.check_before_llm("s", 1)
    del guard
    assert alive() <= before
    assert backend.value("budget.decisions", budget__decision="allow") == 10_000
    assert backend.value("budget.guard.duration") == 10_000
    assert len(backend.points("budget.decisions")) == 7


def test_promise_8_sessions_are_bounded(backend: Backend) -> None:
    from otel_budget.recorder import Destination
    from otel_budget.sessions import MAX_SESSIONS

    guard = backend.instrument(SyncScript({"decision": "allow"}))
    destination = object.__getattribute__(guard, "_otel_budget_recorder").destination
    assert isinstance(destination, Destination)
    assert MAX_SESSIONS == 10_000
    sessions = destination.hub.sessions
    for number in range(11_000):
        sessions.spend((0, f"s{number}"), 0.1, 1)
    assert len(sessions._sessions) == 10_000


# -- 9: nothing counts twice -----------------------------------------------------------------
class Delegating:
    """A guard of the host's that asks another one."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def check_before_llm(self, *args: Any) -> Any:
        return self.inner.check_before_llm(*args)

    def record_after_llm(self, *args: Any) -> Any:
        return self.inner.record_after_llm(*args)

    def check_before_tool(self, *args: Any) -> Any:
        return self.inner.check_before_tool(*args)


class AsyncDelegating:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def check_before_llm(self, *args: Any) -> Any:
        return await asyncio.create_task(self.inner.check_before_llm(*args))

    async def record_after_llm(self, *args: Any) -> Any:
        return await self.inner.record_after_llm(*args)

    async def check_before_tool(self, *args: Any) -> Any:
        return await self.inner.check_before_tool(*args)


@pytest.mark.parametrize("nested", [False, True], ids=["twice", "inside another"])
def test_promise_9_the_outermost_counts_and_the_inner_draws_its_span(
    backend: Backend, make: Make, nested: bool
) -> None:
    inner = backend.instrument(make.guard(make.soft()), name="inner")
    between = inner
    if nested:
        between = (AsyncDelegating if make.asynchronous else Delegating)(inner)
    outer = backend.instrument(between, name="outer", prices=FlatRates(1, 1))
    for method in METHODS:
        make.call(outer, method, *make.arguments(method))
    assert backend.value("budget.decisions") == 2
    assert backend.value("budget.threshold_hits") == 2
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.tokens") == 120
    assert backend.value("budget.estimated_tokens") == 1_000
    assert backend.value("budget.guard.duration") == 3
    assert backend.value("budget.guard.duration", budget__guard__name="outer") == 3
    assert len(backend.logs()) == 1  # both soft limits are of one resource: one a minute
    assert backend.value("budget.unpriced_calls") == 0
    for method in METHODS:
        by_name = {s.attributes["budget.guard.name"]: s for s in backend.spans(f"budget.{method}")}
        assert by_name["inner"].parent.span_id == by_name["outer"].context.span_id
        assert by_name["inner"].events == ()
    events = [event for span in backend.spans() for event in span.events]
    assert len(events) == 2
    # Afterwards the inner one counts again by itself.
    make.call(inner, "check_before_llm", "s1", 5)
    assert backend.value("budget.decisions") == 3


def test_promise_9_a_task_that_outlives_the_outer_call_counts_by_itself(backend: Backend) -> None:
    inner = backend.instrument(AsyncScript({"decision": "allow"}), name="inner")
    tasks: list[asyncio.Task[Any]] = []
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        await inner.check_before_llm("s", 1)

    class Spawning(BudgetGuard):
        async def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
            tasks.append(asyncio.create_task(later()))
            return Allow()

    async def host() -> None:
        await backend.instrument(Spawning(), name="outer").check_before_llm("s", 1)
        go.set()
        await tasks[0]

    run(host())
    assert backend.value("budget.decisions") == 2


def test_promise_9_an_unnamed_guard_is_named_after_its_class_however_often_it_is_wrapped(
    backend: Backend,
) -> None:
    guard = backend.instrument(backend.instrument(SyncScript()))
    guard.check_before_llm("s", 1)
    assert {s.attributes["budget.guard.name"] for s in backend.spans()} == {"SyncScript"}


def test_promise_9_three_guards_share_one_set_of_instruments(backend: Backend) -> None:
    guards = [backend.instrument(SyncScript({"decision": "allow"}), name=name) for name in "abc"]
    for number, guard in enumerate(guards):
        for _ in range(number + 1):
            guard.check_before_llm("s", 1)
    assert backend.value("budget.decisions", budget__decision="allow") == 6
    counts = {a["budget.guard.name"]: p.count for a, p in backend.points("budget.guard.duration")}
    assert counts == {"a": 1, "b": 2, "c": 3}
    del guards[1:], guard
    gc.collect()
    guards[0].check_before_llm("s", 1)
    assert backend.value("budget.decisions", budget__decision="allow") == 7


# -- 10: what the runtime makes of it --------------------------------------------------------
@pytest.mark.parametrize("method", CHECKS)
def test_promise_10_what_the_runtime_rejects_is_malformed(
    backend: Backend, make: Make, method: str
) -> None:
    answers = [each() for each in RUBBISH if each() is not None]
    for answer in answers:
        make.call(backend.instrument(make.guard(answer)), method, *make.arguments(method))
    assert backend.value("budget.decisions", budget__decision="malformed") == len(answers)
    assert backend.value("budget.decisions") == len(answers)
    assert backend.series("budget.threshold_hits") == []
    assert backend.series("budget.estimated_tokens") == []
    assert {s.attributes["budget.decision"] for s in backend.spans()} == {"malformed"}
    assert {s.attributes["error.type"] for s in backend.spans()} == {"malformed"}


def test_promise_10_a_sync_guard_that_answers_a_coroutine_is_malformed(backend: Backend) -> None:
    coroutine = _coroutine()
    assert backend.instrument(SyncScript(coroutine)).check_before_llm("s", 1) is coroutine
    coroutine.close()
    assert backend.span().attributes["budget.decision"] == "malformed"


@pytest.mark.parametrize("method", CHECKS)
def test_promise_10_an_answer_after_its_deadline_is_late(
    backend: Backend, make: Make, method: str
) -> None:
    answer = make.deny()

    def slow() -> Any:
        time.sleep(0.02)
        return answer

    guard = backend.instrument(make.guard(slow), late_after=0.01)
    assert make.call(guard, method, *make.arguments(method)) is answer
    span = backend.span()
    assert span.attributes["budget.decision"] == "late"
    assert span.attributes["budget.answer"] == "deny"
    assert span.events == ()
    assert backend.value("budget.decisions", budget__decision="late") == 1
    assert backend.value("budget.decisions") == 1
    assert backend.series("budget.threshold_hits") == []
    assert backend.logs() == []
    assert backend.value("budget.guard.duration", budget__decision="late") == 1


def test_promise_10_the_runtimes_own_deadline_holds_for_dict_answers_only(
    backend: Backend, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            self.now += 5.6
            return self.now

    guard = backend.instrument(make.guard(make.allow))
    monkeypatch.setattr("otel_budget.recording.time", Clock())
    make.call(guard, "check_before_llm", "s", 1)
    decision = backend.span().attributes["budget.decision"]
    assert decision == ("allow" if make.typed else "late")
    (_, point), *_ = backend.points("budget.guard.duration")
    assert point.sum == pytest.approx(5.6)


def test_promise_10_an_exception_is_an_error_even_if_it_came_late(backend: Backend) -> None:
    def slow() -> Any:
        time.sleep(0.02)
        raise Refused

    guard = backend.instrument(SyncScript(slow), late_after=0.01)
    outcome(lambda: guard.check_before_llm("s", 1))
    assert backend.span().attributes["budget.decision"] == "error"


# -- traces around the guard -----------------------------------------------------------------
def test_the_guards_own_spans_are_children_and_the_callers_context_comes_back(
    backend: Backend, make: Make
) -> None:
    tracer = backend.tracer_provider.get_tracer("redis")
    bag: list[Any] = []

    def work() -> Any:
        bag.append(baggage.get_baggage("user"))
        with tracer.start_as_current_span("GET"):
            return make.allow

    guard = backend.instrument(make.guard(work))
    token = context.attach(baggage.set_baggage("user", "u1"))
    try:
        for method in METHODS:
            make.call(guard, method, *make.arguments(method))
        assert not trace.get_current_span().get_span_context().is_valid
    finally:
        context.detach(token)
    assert bag == ["u1"] * 3
    ours = {span.context.span_id for span in backend.spans() if span.name != "GET"}
    assert {span.parent.span_id for span in backend.spans("GET")} == ours
