"""One hub per effective meter provider: in any order of set-up, nothing is lost or counted twice.

The global providers can be set once per process, so these cases run in fresh interpreters.
"""

from __future__ import annotations

import textwrap
import threading
import time

import pytest

from otel_budget import BudgetLevel
from otel_budget.telemetry import hub as hub_module
from otel_budget.telemetry.hubs import hub_for, poll_levels
from support.backend import Backend
from support.guards import SyncScript
from support.processes import python

#: Replaces the thousands of durations that a hub can keep.
SMALL = 200

PRELUDE = """
import gc, logging, sys
logging.getLogger("opentelemetry").setLevel(logging.ERROR)
from opentelemetry import metrics, trace, _logs
from support.backend import Backend
from support.guards import SyncScript
from otel_budget import BudgetLevel, instrument
from otel_budget.telemetry.hubs import poll_levels
from otel_budget.telemetry.hubs import hub_for
ALLOW = {"decision": "allow"}
b = Backend()
def use_globally(b=b):
    metrics.set_meter_provider(b.meter_provider)
    trace.set_tracer_provider(b.tracer_provider)
    _logs.set_logger_provider(b.logger_provider)
class Levels(SyncScript):
    def budget_levels(self):
        return [BudgetLevel("usd", 1, 2)]
def guard(name, **options):
    return instrument(Levels(ALLOW), name=name, prices=None, **options)
def call(*guards):
    for instrumented in guards:
        instrumented.check_before_llm("s", 1)
def expect(count, guards, backend=b):
    data = backend.reader.get_metrics_data()
    scopes = [s for r in data.resource_metrics for s in r.scope_metrics]
    assert len(scopes) == 1, [s.scope for s in scopes]
    names = [m.name for m in scopes[0].metrics]
    assert len(names) == len(set(names)), names
    found = {m.name: m.data.data_points for m in scopes[0].metrics}
    assert sum(p.value for p in found["budget.decisions"]) == count, found["budget.decisions"]
    durations = {p.attributes["budget.guard.name"]: p.count
                 for p in found["budget.guard.duration"]}
    assert sum(durations.values()) == count, durations
    poll_levels()
    found = backend.collect()
    levels = {p.attributes["budget.guard.name"] for p in found["budget.consumed"].data.data_points}
    assert levels == set(guards), levels
"""

CASES = {
    "guard before the global provider": """
        g = guard("a"); call(g)
        use_globally()
        call(g); expect(2, "a")
        h = guard("b"); call(h, g); expect(4, "ab")
        assert hub_for(None) is hub_for(b.meter_provider)
    """,
    "global provider before the guard": """
        use_globally()
        g = guard("a"); call(g); expect(1, "a")
        h = guard("b", meter_provider=b.meter_provider); call(g, h); expect(3, "ab")
    """,
    "proxy given explicitly": """
        g = guard("a", meter_provider=metrics.get_meter_provider()); call(g)
        h = guard("b"); call(h)
        assert hub_for(None) is hub_for(metrics.get_meter_provider())
        use_globally()
        call(g, h); expect(4, "ab")
    """,
    "a proxy kept from before": """
        proxy = metrics.get_meter_provider()
        use_globally()
        g = guard("a"); call(g)
        h = guard("b", meter_provider=proxy); call(h, h); expect(3, "ab")
    """,
    "given explicitly and set global later": """
        g = guard("a", meter_provider=b.meter_provider); call(g)
        use_globally()
        h = guard("b"); call(h); expect(2, "ab")
        assert hub_for(None) is hub_for(b.meter_provider)
    """,
    "a default guard, one given explicitly, then set global": """
        g = guard("a"); call(g)
        h = guard("b", meter_provider=b.meter_provider); call(h, h)
        use_globally()
        call(g, h); expect(5, "ab")
        i = guard("c"); call(i); expect(6, "abc")
    """,
    "one given explicitly, a default guard, then set global": """
        h = guard("b", meter_provider=b.meter_provider); call(h, h)
        g = guard("a"); call(g)
        use_globally()
        call(g, h); expect(5, "ab")
    """,
    "two hubs in one provider stay below the SDK's cap": """
        from otel_budget import call_info
        class Tenants(SyncScript):
            def __init__(self, name):
                super().__init__({"decision": "soft", "resource": name, "consumed": 1, "limit": 2})
                self.name = name
            def budget_levels(self):
                return [BudgetLevel(f"r{n % 80}", 1, 2, tenant=f"{self.name}{n // 80}")
                        for n in range(1_600)]
        def tenants(name, **options):
            plain = SyncScript(Tenants(name).answer)
            return [instrument(each, name=name, prices=None, max_label_sets=1_000, **options)
                    for each in (Tenants(name), plain)]
        def tell(guards, name, calls):
            for n in range(200):
                with call_info(tenant=f"{name}{n}", model="m"):
                    for each in guards:
                        for _ in range(calls):
                            each.check_before_llm("s", 3)
        g = tenants("a"); tell(g, "a", 2)
        h = tenants("b", meter_provider=b.meter_provider); tell(h, "b", 1)
        use_globally()
        poll_levels(20)
        counted = 1_200
        overflows = []
        for _ in range(3):
            tell(g, "a", 1); counted += 400
            found = b.collect()
            for name, metric in found.items():
                points = metric.data.data_points
                attributes = [frozenset(p.attributes.items()) for p in points]
                assert len(points) <= 1_800, (name, len(points))
                assert len(set(attributes)) == len(points), name
                assert not [p for p in points if "otel.metric.overflow" in p.attributes], name
            value = lambda name: sum(p.value for p in found[name].data.data_points)
            assert value("budget.decisions") == value("budget.threshold_hits") == counted
            assert value("budget.estimated_tokens") == 3 * counted
            resources = {p.attributes["budget.resource"]
                         for p in found["budget.consumed"].data.data_points}
            assert {"a", "b", "r0", "r79"} <= resources, resources
            tenants = {p.attributes["budget.tenant"]
                       for p in found["budget.decisions"].data.data_points}
            assert {"a0", "b0", "_other_"} <= tenants
        assert "budget.telemetry.errors" not in found
    """,
    "two explicit providers": """
        c = Backend()
        g = guard("a", meter_provider=b.meter_provider)
        h = guard("b", meter_provider=c.meter_provider)
        call(g, h, h); expect(1, "a", b); expect(2, "b", c)
        use_globally()
        i = guard("c"); call(i); expect(2, "ac", b); expect(2, "b", c)
    """,
    "another meter has an instrument of our name": """
        use_globally()
        metrics.get_meter("otel_budget_other").create_counter("budget.decisions").add(7)
        g = guard("a"); call(g)
        data = b.reader.get_metrics_data()
        ours = [m for r in data.resource_metrics for s in r.scope_metrics
                if s.scope.name == "otel_budget" for m in s.metrics]
        (decisions,) = [m for m in ours if m.name == "budget.decisions"]
        assert sum(p.value for p in decisions.data.data_points) == 1
    """,
    "captured, then global": """
        from otel_budget.testing import capture_telemetry
        g = guard("a")
        with capture_telemetry() as telemetry:
            call(g)
            h = guard("b"); call(h)
        assert telemetry.value("budget.decisions") == 2
        call(g, h)
        use_globally()
        call(g, h); expect(4, "ab")
    """,
    "thousands of guards and calls before there is a provider": """
        for number in range(5_000):
            call(guard("a"))
        gc.collect()
        use_globally()
        g = guard("a"); call(g)
        found = b.collect()
        assert sum(p.value for p in found["budget.decisions"].data.data_points) == 5_001
        assert "budget.telemetry.errors" not in found, found["budget.telemetry.errors"]
    """,
}


@pytest.mark.parametrize("case", CASES)
def test_counts_arrive_whatever_the_order_of_set_up(case: str) -> None:
    python(PRELUDE + textwrap.dedent(CASES[case]))


def test_a_provider_that_is_gone_takes_its_hub_with_it() -> None:
    python(
        PRELUDE
        + """
import time
from otel_budget.telemetry.hubs import live_hubs
before = len(live_hubs())
for number in range(50):
    backend = Backend()
    call(guard("a", meter_provider=backend.meter_provider, tracer_provider=backend.tracer_provider))
    backend.shutdown()
    del backend
deadline = time.monotonic() + 20
while len(live_hubs()) - before > 2:  # a thread that polls holds its hub for as long
    assert time.monotonic() < deadline, len(live_hubs())
    time.sleep(0.01)
    gc.collect()
"""
    )


def test_a_finalizer_that_runs_while_the_instruments_are_made_gets_the_same_hub() -> None:
    python(
        PRELUDE
        + """
import faulthandler
faulthandler.dump_traceback_later(20, exit=True)  # ends the process if a lock hangs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
inner = []
class Interrupted(MeterProvider):
    def get_meter(self, *args, **kwargs):
        if not inner:
            inner.append(None)
            inner[0] = guard("b", meter_provider=self)
            call(inner[0])
        return super().get_meter(*args, **kwargs)
b.reader = InMemoryMetricReader()
b.meter_provider = Interrupted([b.reader], shutdown_on_exit=False)
g = guard("a", meter_provider=b.meter_provider)
call(g, inner[0]); expect(3, "ab")
"""
    )


def test_several_readers_of_one_provider_agree() -> None:
    python(
        PRELUDE
        + """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
readers = [InMemoryMetricReader(), InMemoryMetricReader()]
g = guard("a", meter_provider=MeterProvider(readers, shutdown_on_exit=False))
for round in (1, 2):
    call(g, g)
    for reader in readers:
        found = {m.name: m.data.data_points for r in reader.get_metrics_data().resource_metrics
                 for s in r.scope_metrics for m in s.metrics}
        assert sum(p.value for p in found["budget.decisions"]) == 2 * round
        assert sum(p.count for p in found["budget.guard.duration"]) == 2 * round
"""
    )


def test_delta_readers_get_each_call_once() -> None:
    python(
        PRELUDE
        + """
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
delta = dict.fromkeys((Counter, ObservableCounter, Histogram), AggregationTemporality.DELTA)
reader = InMemoryMetricReader(preferred_temporality=delta)
g = guard("a", meter_provider=MeterProvider([reader], shutdown_on_exit=False))
seen = []
for calls in (3, 0, 2):
    for _ in range(calls):
        call(g)
    data = reader.get_metrics_data()
    seen.append(sum(p.value for r in data.resource_metrics for s in r.scope_metrics
                    for m in s.metrics if m.name == "budget.decisions"
                    for p in m.data.data_points) if data else 0)
assert seen == [3, 0, 2], seen
"""
    )


def test_durations_beyond_the_queue_are_dropped_and_counted(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "MAX_DURATIONS", SMALL)
    guard = backend.instrument(SyncScript({"decision": "allow"}))
    hub = hub_for(backend.meter_provider)
    monkeypatch.setattr(hub, "_wake_thread", lambda: None)  # as if the thread got no time
    for _ in range(SMALL + 10):
        guard.check_before_llm("s", 1)
    assert backend.value("budget.telemetry.errors", budget__component="duration_queue") == 10
    assert backend.value("budget.guard.duration") == SMALL
    assert backend.value("budget.decisions") == SMALL + 10


def test_a_half_full_queue_is_drained_between_collections(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "MAX_DURATIONS", SMALL)
    guard = backend.instrument(SyncScript({"decision": "allow"}))
    hub = hub_for(backend.meter_provider)
    deadline = time.monotonic() + 20
    calls = 0
    while calls < 3 * SMALL:
        if len(hub.durations) > SMALL * 3 // 4:  # let the thread have its turn
            assert time.monotonic() < deadline, "the queue is not drained"
            time.sleep(0.01)
            continue
        guard.check_before_llm("s", 1)
        calls += 1
    assert backend.value("budget.guard.duration") == calls
    assert backend.value("budget.telemetry.errors") == 0


def test_a_thread_that_cannot_be_started_costs_levels_until_one_can(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Levels(SyncScript):
        def budget_levels(self) -> list[BudgetLevel]:
            return [BudgetLevel("usd", 1, 2)]

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        guard = backend.instrument(Levels({"decision": "allow"}))
        guard.check_before_llm("s", 1)
        poll_levels()
        assert backend.value("budget.decisions") == 1
        assert backend.series("budget.consumed") == []
        assert backend.value("budget.telemetry.errors", budget__component="budget_levels") >= 2
    deadline = time.monotonic() + 20
    while not backend.series("budget.consumed"):  # a collection wakes the thread
        assert time.monotonic() < deadline, "no thread is started any more"
        time.sleep(0.01)
    assert guard.check_before_llm("s", 1) == {"decision": "allow"}
