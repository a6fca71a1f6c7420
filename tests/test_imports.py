"""What is imported when: names of modules in a fresh process, and the price list's own thread."""

from __future__ import annotations

import pytest

from support.processes import python

pytest.importorskip("genai_prices", reason="pip install 'otel-budget[prices]'")


def test_a_sync_host_imports_neither_asyncio_nor_a_price_list() -> None:
    python(
        """
        import sys
        opened = []
        sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
        import otel_budget
        late = ["otel_budget.runtime", "otel_budget.contract.prices.flat_rates",
                "otel_budget.contract.prices.genai"]
        assert not sys.modules.keys() & set(late)
        from otel_budget import BudgetGate, SyncBudgetGuard, TokenUsage, for_a3s, instrument
        from otel_budget.guards import Limit, WindowGuard
        instrument(SyncBudgetGuard())
        guard = instrument(WindowGuard(Limit(1e6, "tokens")), prices=None)
        with BudgetGate(guard).llm_call("s", 1) as call:
            call.usage(TokenUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2, cost_usd=1))
        for_a3s(guard).check_before_tool("s", "search")
        heavy = ("asyncio", "ssl", "subprocess", "genai_prices", "otel_budget.guards.redis_guard")
        loaded = [name for name in sys.modules if name.startswith(heavy)]
        assert not loaded, loaded
        assert not [name for name in opened if name.endswith(".lua")]
        try:
            otel_budget.nothing
        except AttributeError as error:
            assert "module 'otel_budget' has no attribute 'nothing'" in str(error)
        else:
            raise AssertionError("no error")
        """
    )


#: The import of genai-prices waits until the host lets it go on.
_HELD_IMPORT = """
import os, sys, threading
go_on, asked = threading.Event(), threading.Event()
class Hold:
    def find_spec(self, name, path=None, target=None):
        if name == "genai_prices.data_snapshot":
            asked.set()
            go_on.wait()
sys.meta_path.insert(0, Hold())

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_budget import SessionInfo, SyncBudgetGuard, TokenUsage, instrument

reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
metrics.set_meter_provider(MeterProvider([reader]))
tracer_provider = TracerProvider()
tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(tracer_provider)
who = SessionInfo(tenant="acme", model="gpt-4o", provider="openai")
usage = TokenUsage(prompt_tokens=1000, completion_tokens=0, total_tokens=1000)
guard = instrument(SyncBudgetGuard(), session_info=who)
assert "genai_prices" not in sys.modules

def total(name):
    data = reader.get_metrics_data()
    points = [point for resource in data.resource_metrics for scope in resource.scope_metrics
              for metric in scope.metrics if metric.name == name
              for point in metric.data.data_points]
    return sum(point.value for point in points)

def costs(name="budget.cost"):
    return [span.attributes.get(name) for span in spans.get_finished_spans()
            if span.name == "budget.record_after_llm"]
"""


def test_a_record_before_the_price_list_is_read_waits_for_nothing_and_is_counted() -> None:
    """gpt-4o costs 2.5 USD per million tokens sent."""
    python(
        _HELD_IMPORT
        + """
guard.record_after_llm("s", usage)
assert asked.wait(30)
guard.record_after_llm("s", usage)
assert costs() == costs("budget.session.cost") == [None, None]
go_on.set()
assert abs(total("budget.cost") - 0.005) < 1e-12, total("budget.cost")
assert total("budget.calls") == 2 and total("budget.tokens") == 2000
assert total("budget.unpriced_calls") == 0
guard.record_after_llm("s", usage)
assert costs() == [None, None, 0.0025]
assert abs(total("budget.cost") - 0.0075) < 1e-12
"""
    )


def test_an_allowed_check_begins_the_reading_and_a_thread_is_not_needed() -> None:
    python(
        _HELD_IMPORT
        + """
guard.check_before_llm("s", 1)
assert asked.wait(30)
go_on.set()
"""
    )
    python(
        _HELD_IMPORT
        + """
go_on.set()
def refuse(thread):
    raise RuntimeError("can't start new thread")
start, threading.Thread.start = threading.Thread.start, refuse
guard.check_before_llm("s", 1)
guard.record_after_llm("s", usage)
assert not asked.is_set()
threading.Thread.start = start
assert abs(total("budget.cost") - 0.0025) < 1e-12
"""
    )


def test_a_child_forked_while_the_list_is_read_prices_its_own_calls() -> None:
    python(
        _HELD_IMPORT
        + """
guard.record_after_llm("s", usage)
assert asked.wait(30)
threading.Timer(0.2, go_on.set).start()
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking a process with threads
child = os.fork()
if not child:
    guard.record_after_llm("s", usage)
    os._exit(abs(total("budget.cost") - 0.0025) >= 1e-12)
assert os.waitpid(child, 0)[1] == 0
assert abs(total("budget.cost") - 0.0025) < 1e-12
"""
    )
