"""Beside what others set up: opentelemetry-instrument, Logfire, OpenLLMetry and OpenInference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from openai import OpenAI
from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference
from opentelemetry.instrumentation.openai import OpenAIInstrumentor as OpenLLMetry

from otel_budget import BudgetGate, FlatRates, SessionInfo, SyncBudgetGuard
from support.backend import Backend
from support.otlp_receiver import Receiver, receiver
from test_instrumented_openai import REQUEST, FakeOpenAI

#: An application that only calls instrument(). What sets up OpenTelemetry comes before it.
APPLICATION = """
import sys
from otel_budget import Deny, SessionInfo, SyncBudgetGuard, TokenUsage, instrument

class Spent(SyncBudgetGuard):
    def check_before_tool(self, session_id, tool_name):
        return Deny(resource="llm_cost_usd", reason="spent")

guard = instrument(Spent(), session_info=SessionInfo(tenant="acme", model="gpt-4o"))
guard.check_before_llm("s", 1)
guard.record_after_llm("s", TokenUsage(prompt_tokens=5, completion_tokens=2, total_tokens=7))
guard.check_before_tool("s", "search")
"""
SPANS = {"budget.check_before_llm", "budget.record_after_llm", "budget.check_before_tool"}
LOGFIRE = (
    "import logfire; "
    "logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)\n"
)
OURS = "from otel_budget.sdk import configure; configure('ours')\n"
ITS_SPAN = "logfire.info('its own')\nlogfire.force_flush()\n"


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def run(collector: Receiver, *command: str | Path, **variables: str) -> subprocess.CompletedProcess:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [*command],
        env=kept | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | variables,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def services(collector: Receiver) -> set[str]:
    return {resource["service.name"] for resource in collector.resources()}


def names(collector: Receiver) -> set[str]:
    return {span.name for span in collector.spans()} - {"budget.session"}


def tokens(collector: Receiver) -> set[float]:
    (values,) = collector.sums("budget.tokens").values()  # of one instance
    return set(values)


# -- opentelemetry-instrument --------------------------------------------------------------
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")
#: Its instrumentations of libraries take seconds to import, and are not the point.
BARE = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}


def test_instrument_alone_is_enough_under_opentelemetry_instrument(collector: Receiver) -> None:
    done = run(
        collector,
        *(INSTRUMENT, sys.executable, "-c", APPLICATION),
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_SERVICE_NAME="billing",
        **BARE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert services(collector) == {"billing"}
    assert names(collector) == SPANS
    assert tokens(collector) == {5, 2, 0}
    assert [event.event_name for event in collector.log_records()] == ["budget.threshold_hit"]


def test_verify_names_the_grpc_default_of_opentelemetry_instrument(collector: Receiver) -> None:
    verify = (sys.executable, "-m", "otel_budget", "verify", "--json")
    done = run(collector, INSTRUMENT, *verify, OTEL_EXPORTER_OTLP_TIMEOUT="1", **BARE)
    hops = {hop["name"]: hop for hop in json.loads(done.stdout)["hops"]}
    assert hops["SDK set up"]["status"] == "passed"
    for name in ("traces sent", "metrics sent", "log events sent"):
        assert hops[name]["status"] == "failed"
        assert "gRPC, which is the default under opentelemetry-instrument" in hops[name]["cause"]
        assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in hops[name]["remedy"]


# -- Logfire -------------------------------------------------------------------------------
@pytest.mark.parametrize("ours", ["", OURS], ids=["alone", "with configure() after it"])
def test_under_logfire_everything_goes_its_way(collector: Receiver, ours: str) -> None:
    done = run(
        collector,
        *(sys.executable, "-c", LOGFIRE + ours + APPLICATION + ITS_SPAN),
        OTEL_SERVICE_NAME="billing",
    )
    assert done.returncode == 0, done.stderr
    assert "Overriding" not in done.stderr
    assert services(collector) == {"billing"}
    assert names(collector) == {*SPANS, "its own"}
    assert tokens(collector) == {5, 2, 0}


def test_logfire_after_configure_is_one_line_that_says_what_to_do(collector: Receiver) -> None:
    done = run(
        collector,
        *(sys.executable, "-c", OURS + LOGFIRE + APPLICATION + ITS_SPAN),
        LOGFIRE_SERVICE_NAME="its",
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "configure()" in line]
    assert line == (
        "logfire set up OpenTelemetry after otel_budget.sdk.configure(): its telemetry and the "
        "guards' now go separate ways. Leave configure() out, or call it last."
    )
    assert services(collector) == {"ours", "its"}  # as the line says


# -- instrumentations of the same model calls ----------------------------------------------
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of OpenLLMetry
def test_openllmetry_and_openinference_count_nothing_that_is_counted_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = Backend()
    providers = {
        "tracer_provider": backend.tracer_provider,
        "meter_provider": backend.meter_provider,
    }
    monkeypatch.setenv("TRACELOOP_TRACE_CONTENT", "false")
    others = [OpenLLMetry(), OpenInference()]
    for other in others:
        other.instrument(**providers)
    info = SessionInfo(tenant="acme", model="gpt-5-mini", provider="openai")
    guard = backend.instrument(SyncBudgetGuard(), session_info=info, prices=FlatRates(1e6, 0))
    gate = BudgetGate(guard)
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeOpenAI) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
                for _ in range(3):
                    with gate.llm_call("s", 10) as call:
                        call.usage(client.chat.completions.create(**REQUEST).usage)
        finally:
            server.shutdown()
            for other in others:
                other.uninstrument()
    # Three calls with 12 tokens sent and 3 generated, each told once by each library.
    used = [
        (span.instrumentation_scope.name.partition(".")[0], key.partition(".")[0], value)
        for span in backend.spans()
        for key, value in (span.attributes or {}).items()
        if key.endswith(("usage.input_tokens", "token_count.prompt"))
    ]
    assert sorted(used) == sorted(
        3 * [("opentelemetry", "gen_ai", 12), ("openinference", "llm", 12)]
        + 3 * [("otel_budget", "budget", 12)]
    )
    tokens = {
        attributes["gen_ai.token.type"]: point.sum
        for attributes, point in backend.points("gen_ai.client.token.usage")
    }
    assert tokens == {"input": 36, "output": 9}
    assert backend.value("budget.tokens") == 45
    assert backend.value("budget.calls") == 3
    assert backend.value("budget.cost") == 36
    data = backend.reader.get_metrics_data()
    assert data is not None
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    ours = {m.name for scope in scopes if scope.scope.name == "otel_budget" for m in scope.metrics}
    rest = {m.name for scope in scopes if scope.scope.name != "otel_budget" for m in scope.metrics}
    assert not ours & rest
    assert all(name.startswith("budget.") for name in ours)
