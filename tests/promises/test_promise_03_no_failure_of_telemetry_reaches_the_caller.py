"""Promise 3: no failure of the telemetry reaches the caller; each is counted and logged once.

The faults are put into a real SDK, which also shows what still works.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_budget import FlatRates, SessionInfo, call_info
from support.backend import Backend
from support.guards import CHECKS, METHODS, Make, SyncScript, outcome
from support.processes import python


class Broken(Exception):
    pass


class Breaking:
    """An object of OpenTelemetry whose named methods raise."""

    def __init__(self, inner: Any, *methods: str, error: BaseException | None = None) -> None:
        self._inner, self._methods = inner, methods
        self._error = error or Broken("telemetry")

    def __getattr__(self, name: str) -> Any:
        if name in self._methods:
            return self._raise
        return getattr(self._inner, name)

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise self._error


class Provider:
    """A provider whose product passes through `wrap`."""

    def __init__(self, inner: Any, wrap: Callable[[Any], Any]) -> None:
        self._inner, self._wrap = inner, wrap

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        kind = type(self._inner).__name__.removesuffix("Provider").lower()
        return self._wrap(getattr(self._inner, f"get_{kind}")(*args, **kwargs))

    get_tracer = get_meter = get_logger = _get


def _every_call(make: Make, guard: Any, answers: dict[str, Any]) -> None:
    """Make every call, and check that the caller gets the guard's own objects."""
    for method in METHODS:
        answer = answers[method]
        seen = outcome(lambda m=method: make.call(guard, m, *make.arguments(m)))
        assert seen is answer, method


def _answers(make: Make) -> dict[str, Any]:
    return {
        "check_before_llm": make.soft(),
        "record_after_llm": object(),
        "check_before_tool": Broken("the guard's own"),
    }


def _guard(make: Make, answers: dict[str, Any]) -> Any:
    guard = make.guard()

    def answer() -> Any:
        value = answers[guard.asked[-1][0]]
        if isinstance(value, BaseException):
            raise value
        return value

    guard.answer = answer
    return guard


def _still_counted(backend: Backend) -> None:
    assert backend.value("budget.decisions", budget__decision="soft_limit") == 1
    assert backend.value("budget.decisions", budget__decision="error") == 1
    assert backend.value("budget.decisions") == 2
    assert backend.value("budget.threshold_hits") == 1
    assert backend.value("budget.calls") == 1
    assert backend.value("budget.tokens") == 120
    assert backend.value("budget.guard.errors") == 1


def _errors(backend: Backend) -> dict[str, float]:
    return {a["budget.component"]: v for a, v in backend.series("budget.telemetry.errors")}


# -- traces ----------------------------------------------------------------------------------
class BreakingSpans:
    """A tracer whose spans break in the named methods."""

    def __init__(self, inner: Any, *methods: str) -> None:
        self._inner, self._methods = inner, methods

    def start_span(self, *args: Any, **kwargs: Any) -> Any:
        from opentelemetry.trace import NonRecordingSpan

        span = self._inner.start_span(*args, **kwargs)

        class Spanlike(NonRecordingSpan):  # the API accepts it as a span
            pass

        broken = Spanlike(span.get_span_context())
        for name in ("is_recording", "set_attributes", "add_event", "set_status", "end"):
            method = Breaking(span)._raise if name in self._methods else getattr(span, name)
            setattr(broken, name, method)
        return broken


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tracer: Breaking(tracer, "start_span"),
        lambda tracer: Breaking(tracer, "start_span", error=asyncio.CancelledError()),
        lambda tracer: BreakingSpans(tracer, "is_recording"),
        lambda tracer: BreakingSpans(tracer, "set_attributes"),
        lambda tracer: BreakingSpans(tracer, "add_event"),
        lambda tracer: BreakingSpans(tracer, "set_status"),
        lambda tracer: BreakingSpans(tracer, "end"),
        lambda tracer: None,
    ],
    ids=["start", "cancelled", "is_recording", "attributes", "event", "status", "end", "none"],
)
def test_promise_3_a_raising_tracer_breaks_no_call(backend: Backend, make: Make, wrap: Any) -> None:
    answers = _answers(make)
    guard = backend.instrument(
        _guard(make, answers), tracer_provider=Provider(backend.tracer_provider, wrap)
    )
    _every_call(make, guard, answers)
    _still_counted(backend)
    assert set(_errors(backend)) == {"span"}
    assert len(backend.logs()) == 1


class BreakingProcessor(SpanProcessor, LogRecordProcessor):
    def __init__(self, *methods: str) -> None:
        for method in methods:
            setattr(self, method, Breaking(None)._raise)

    def on_emit(self, *_: Any) -> None: ...

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


@pytest.mark.parametrize("when", ["on_start", "on_end"])
def test_promise_3_a_raising_span_processor_breaks_no_call(
    backend: Backend, make: Make, when: str
) -> None:
    backend.tracer_provider.add_span_processor(BreakingProcessor(when))
    answers = _answers(make)
    guard = backend.instrument(_guard(make, answers))
    _every_call(make, guard, answers)
    _still_counted(backend)
    assert set(_errors(backend)) == {"span"}


# -- log events ------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["enabled", "emit", "on_emit"])
def test_promise_3_a_raising_logger_breaks_no_call(backend: Backend, make: Make, what: str) -> None:
    if what == "on_emit":
        backend.logger_provider.add_log_record_processor(BreakingProcessor(what))
        provider: Any = backend.logger_provider
    else:
        provider = Provider(backend.logger_provider, lambda logger: Breaking(logger, what))
    answers = _answers(make)
    guard = backend.instrument(_guard(make, answers), logger_provider=provider)
    _every_call(make, guard, answers)
    _still_counted(backend)
    assert _errors(backend) == {"log_event": 1}
    assert len(backend.spans()) == 3


# -- metrics ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wrap",
    [
        lambda meter: Breaking(meter, "create_histogram"),
        lambda meter: Breaking(meter, "create_observable_counter"),
        lambda meter: Breaking(meter, "create_observable_gauge"),
        lambda meter: None,
        Breaking(None)._raise,
    ],
    ids=["histogram", "counter", "gauge", "none", "get_meter"],
)
def test_promise_3_a_raising_meter_breaks_no_call(backend: Backend, make: Make, wrap: Any) -> None:
    answers = _answers(make)
    guard = backend.instrument(
        _guard(make, answers), meter_provider=Provider(backend.meter_provider, wrap)
    )
    _every_call(make, guard, answers)
    assert len(backend.spans()) == 3
    assert len(backend.logs()) == 1


def test_promise_3_a_raising_instrument_breaks_no_other(backend: Backend, make: Make) -> None:
    class Meter(Breaking):
        def create_histogram(self, *args: Any, **kwargs: Any) -> Any:
            return Breaking(self._inner.create_histogram(*args, **kwargs), "record")

    answers = _answers(make)
    guard = backend.instrument(
        _guard(make, answers), meter_provider=Provider(backend.meter_provider, Meter)
    )
    for _ in range(20):  # more durations than there are callbacks to fail in
        _every_call(make, guard, answers)
    collected = backend.collect()
    assert sum(p.value for p in collected["budget.decisions"].data.data_points) == 40
    assert sum(p.value for p in collected["budget.calls"].data.data_points) == 20
    assert set(_errors(backend)) == {"metrics"}


def test_promise_3_a_view_that_drops_attributes_keeps_the_sums() -> None:
    from opentelemetry.sdk.metrics.view import View

    backend = Backend(views=[View(instrument_name="budget.*", attribute_keys=set())])
    guard = backend.instrument(SyncScript({"decision": "allow"}))
    for tenant in ("a", "b"):
        with call_info(tenant=tenant):
            guard.check_before_llm("s", 1)
    assert backend.series("budget.decisions") == [({}, 2)]
    backend.shutdown()


# -- what the host gives us ------------------------------------------------------------------
def _raising_resolver(error: BaseException) -> Callable[[str], SessionInfo]:
    def resolve(session_id: str) -> SessionInfo:
        raise error

    return resolve


@pytest.mark.parametrize(
    "resolver",
    [
        _raising_resolver(Broken("look-up")),
        _raising_resolver(asyncio.CancelledError()),
        lambda _: "acme",
        lambda: SessionInfo(),
    ],
    ids=["raises", "cancelled", "rubbish", "signature"],
)
def test_promise_3_a_raising_session_info_breaks_no_call(
    backend: Backend, make: Make, resolver: Any
) -> None:
    answers = _answers(make)
    guard = backend.instrument(_guard(make, answers), session_info=resolver)
    with call_info(tenant="acme"):
        _every_call(make, guard, answers)
    _still_counted(backend)
    assert _errors(backend) == {"session_info": 3}
    assert {span.attributes["budget.tenant"] for span in backend.spans()} == {"acme"}


class Prices:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def cost_usd(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("error", [Broken("prices"), asyncio.CancelledError()])
def test_promise_3_a_raising_price_source_breaks_no_call(
    backend: Backend, make: Make, error: BaseException
) -> None:
    answers = _answers(make)
    guard = backend.instrument(_guard(make, answers), prices=Prices(error))
    _every_call(make, guard, answers)
    _still_counted(backend)
    assert _errors(backend) == {"prices": 1}
    assert backend.value("budget.unpriced_calls", budget__reason="price_error") == 1
    assert backend.series("budget.cost") == []


@pytest.mark.parametrize("answer", ["1.0", [], object(), float("nan"), -1, 1j])
def test_promise_3_a_price_source_that_answers_rubbish_leaves_the_call_unpriced(
    backend: Backend, answer: Any
) -> None:
    guard = backend.instrument(SyncScript(), prices=Prices(answer))
    guard.record_after_llm("s", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
    assert backend.value("budget.unpriced_calls", budget__reason="price_error") == 1
    assert backend.encode()


# -- exporters -------------------------------------------------------------------------------
def test_promise_3_a_raising_exporter_breaks_no_call(
    backend: Backend, make: Make, caplog: Any
) -> None:
    caplog.set_level(logging.CRITICAL)  # silences the SDK's own log lines
    exporter: Any = Breaking(None, "export", "force_flush", "shutdown")
    backend.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    backend.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    answers = _answers(make)
    guard = backend.instrument(_guard(make, answers))
    _every_call(make, guard, answers)
    _still_counted(backend)
    assert len(backend.spans()) == 3
    exporter._methods = ()
    exporter._inner = type("Nothing", (), {"shutdown": lambda self: None})()


# -- ourselves -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "target",
    [
        "otel_budget.telemetry.check.outcome_of",
        "otel_budget.telemetry.check.text",
        "otel_budget.telemetry.usage.measure",
        "otel_budget.telemetry.usage.price",
        "otel_budget.telemetry.identified_call.text",
        "otel_budget.telemetry.settings.resolve",
        "otel_budget.telemetry.settings.name",
        "otel_budget.telemetry.traced_call.attach",
        "otel_budget.telemetry.call.detach",
        "otel_budget.telemetry.sessions.Sessions.root",
        "otel_budget.telemetry.sessions.Sessions.spend",
        "otel_budget.telemetry.metrics.tallies.Tallies.add",
        "otel_budget.telemetry.hub.Hub.enqueue",
        "otel_budget.log_once._log",
    ],
)
def test_promise_3_a_bug_of_ours_reaches_no_caller_and_affects_no_later_call(
    backend: Backend, make: Make, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = _answers(make)
    guard = backend.instrument(_guard(make, answers))
    with monkeypatch.context() as patched:
        patched.setattr(target, Breaking(None)._raise)
        _every_call(make, guard, answers)
    # Later calls are not affected: spans end, and the next call counts.
    started = backend.span_exporter.get_finished_spans()
    parents = {span.parent.span_id for span in started if span.parent}
    assert parents <= {span.context.span_id for span in started}
    backend.span_exporter.clear()
    before = backend.value("budget.decisions")
    _every_call(make, guard, answers)
    assert backend.value("budget.decisions") == before + 2
    if target != "otel_budget.telemetry.call.detach":
        assert len(backend.spans()) == 3
    from opentelemetry import context

    context.attach(context.Context())  # clears what a broken detach has left behind


@pytest.mark.parametrize("method", METHODS)
def test_promise_3_a_span_ends_even_if_its_outcome_cannot_be_determined(
    backend: Backend, make: Make, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = backend.instrument(make.guard(make.soft()))
    for target in ("check.outcome_of", "usage.price"):
        monkeypatch.setattr(f"otel_budget.telemetry.{target}", Breaking(None)._raise)
    monkeypatch.setattr("otel_budget.telemetry.sessions.Sessions.spend", Breaking(None)._raise)
    make.call(guard, method, *make.arguments(method))
    assert len(backend.spans(f"budget.{method}")) == 1


@pytest.mark.parametrize("method", METHODS)
def test_promise_3_an_interrupt_at_a_calls_start_reaches_the_host_and_later_calls_still_count(
    backend: Backend, make: Make, method: str
) -> None:
    """A signal handler raises wherever the host happens to be, even inside the telemetry."""
    tracers: list[Breaking] = []

    def wrap(tracer: Any) -> Any:
        tracers.append(Breaking(tracer, "start_span", error=KeyboardInterrupt()))
        return tracers[-1]

    guard = backend.instrument(
        make.guard(), tracer_provider=Provider(backend.tracer_provider, wrap)
    )
    with pytest.raises(KeyboardInterrupt):
        if make.asynchronous:
            getattr(guard, method)(*make.arguments(method)).send(None)
        else:
            make.call(guard, method, *make.arguments(method))
    tracers[0]._methods = ()
    make.call(guard, "check_before_llm", "s", 1)
    assert backend.value("budget.decisions", budget__decision="allow") == 1


def test_promise_3_each_kind_of_failure_is_logged_once(backend: Backend, caplog: Any) -> None:
    guard = backend.instrument(
        SyncScript(), session_info=_raising_resolver(Broken("x")), prices=Prices(Broken("y"))
    )
    for _ in range(5):
        guard.check_before_llm("s", 1)
        guard.record_after_llm("s", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
    failed = [r.getMessage() for r in caplog.records if "failed" in r.getMessage()]
    assert len(failed) == 2
    assert all("budget.telemetry.errors" in message for message in failed)
    assert _errors(backend) == {"session_info": 10, "prices": 5}


def test_promise_3_one_log_line_says_what_is_missing(backend: Backend, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "otel_budget")
    guard = backend.instrument(SyncScript())
    for _ in range(3):
        guard.record_after_llm("s", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
    (message,) = [record.getMessage() for record in caplog.records]
    assert "prices" in message
    assert "a model" in message
    assert "a tenant" in message


@pytest.mark.parametrize("method", CHECKS)
def test_promise_3_a_malformed_answer_is_logged_once_and_says_why(
    backend: Backend, method: str, caplog: Any
) -> None:
    guard = backend.instrument(SyncScript({"decision": "deny"}))
    for _ in range(3):
        getattr(guard, method)("s", 1)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "without resource" in message


def test_promise_3_without_an_sdk_the_guard_works_as_before() -> None:
    python(
        """
        import sys
        sys.modules["opentelemetry.sdk"] = None
        import asyncio
        from otel_budget import Allow, BudgetGuard, SyncBudgetGuard, TokenUsage, instrument
        error = RuntimeError("the guard's own")
        class Failing(SyncBudgetGuard):
            def check_before_tool(self, session_id, tool_name):
                raise error
        guard = instrument(Failing(), prices=None)
        usage = TokenUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
        for _ in range(10_000):      # more than any queue holds
            assert guard.check_before_llm("s", 1) == Allow()
            assert guard.record_after_llm("s", usage) is None
        try:
            guard.check_before_tool("s", "t")
        except RuntimeError as raised:
            assert raised is error
        else:
            raise AssertionError
        guard = instrument(BudgetGuard(), prices=None)
        assert asyncio.run(guard.check_before_llm("s", 1)) == Allow()
        """
    )


def test_promise_3_with_the_sdk_switched_off_the_guard_works_as_before() -> None:
    python(
        """
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider())
        from otel_budget import Allow, FlatRates, SyncBudgetGuard, instrument
        guard = instrument(SyncBudgetGuard(), prices=FlatRates(1, 1))
        for _ in range(10_000):
            assert guard.check_before_llm("s", 1) == Allow()
        """,
        OTEL_SDK_DISABLED="true",
    )


def test_promise_3_nonsense_rates_leave_the_call_unpriced(backend: Backend) -> None:
    guard = backend.instrument(SyncScript(), prices=FlatRates(float("nan"), -1))
    guard.record_after_llm("s", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
    assert backend.value("budget.unpriced_calls", budget__reason="price_error") == 1
