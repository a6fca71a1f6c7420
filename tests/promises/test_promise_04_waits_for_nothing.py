"""Promise 4: no I/O and no waiting on the caller's path."""

from __future__ import annotations

import threading
from typing import Any

from otel_budget import FlatRates, SessionInfo
from support.backend import Backend
from support.guards import MAKES, METHODS, Make, SyncScript
from support.processes import python


def test_promise_4_no_io_and_no_export_on_the_callers_path() -> None:
    """With the SDK's own batching and a hung collector; audit hooks see what a call does."""
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
            '''An exporter of spans, logs and metrics that never gets an answer.'''
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
        calls(300)      # fills every queue, and does all that happens only once
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
    """Another library's callback hangs during a collection, while the SDK holds its locks."""
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
