"""`otel_budget.sdk.configure`, in separate processes, because providers are global."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest

from support.otlp_receiver import Receiver, receiver
from support.ports import free_port, hung_port

# What a program does with its telemetry: three spans, two log events, one counter of seven.
USE = """
import logging, os, sys, time
import otel_budget.sdk as sdk
from opentelemetry import _logs, metrics, trace

def use(spans=3, events=2, count=7):
    for n in range(spans):
        trace.get_tracer("t").start_span(f"span {n}").end()
    for n in range(events):
        _logs.get_logger("t").emit(event_name="hit", timestamp=time.time_ns())
    metrics.get_meter("t").create_counter("used").add(count)
"""


def run(code: str, *, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `USE` and `code` with the given variables, and none of the surrounding OTEL_ ones."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", USE + textwrap.dedent(code)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def own_log(result: subprocess.CompletedProcess[str]) -> str:
    """What our own logger wrote at the end, without the log lines of the SDK's exporters."""
    return "\n".join(line for line in result.stderr.splitlines() if "Telemetry was shut" in line)


def grpc_receiver() -> tuple[Any, Receiver, int]:
    grpc = pytest.importorskip("grpc")
    from concurrent.futures import ThreadPoolExecutor

    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces

    store = Receiver()
    store.server.server_close()
    server = grpc.server(ThreadPoolExecutor(4))

    def servicer(base: Any, answer: Any) -> Any:
        class Servicer(base):  # type: ignore[misc]
            def Export(self, request: Any, context: Any) -> Any:
                store.received.append(request)
                return answer()

        return Servicer()

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceResponse,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceResponse,
    )

    logs.add_LogsServiceServicer_to_server(
        servicer(logs.LogsServiceServicer, ExportLogsServiceResponse), server
    )
    metrics.add_MetricsServiceServicer_to_server(
        servicer(metrics.MetricsServiceServicer, ExportMetricsServiceResponse), server
    )
    traces.add_TraceServiceServicer_to_server(
        servicer(traces.TraceServiceServicer, ExportTraceServiceResponse), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, store, port


def check_all_arrived(store: Receiver) -> None:
    assert sorted(span.name for span in store.spans()) == ["span 0", "span 1", "span 2"]
    assert [record.event_name for record in store.log_records()] == ["hit", "hit"]
    assert list(store.sums("used").values()) == [[7]]
    resources = store.resources()
    assert {r["service.name"] for r in resources} == {"billing"}
    assert len({r["service.instance.id"] for r in resources}) == 1


def test_everything_arrives_at_exit_by_http() -> None:
    with receiver() as store:
        result = run("sdk.configure('billing'); use()", OTEL_EXPORTER_OTLP_ENDPOINT=store.url)
        assert (result.returncode, result.stderr) == (0, "")
        check_all_arrived(store)


def test_everything_arrives_at_exit_by_grpc() -> None:
    server, store, port = grpc_receiver()
    try:
        result = run(
            "sdk.configure('billing'); use()",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        )
        assert (result.returncode, result.stderr) == (0, "")
        check_all_arrived(store)
    finally:
        server.stop(0).wait(5)


def test_arguments_override_the_variables() -> None:
    with receiver() as store:
        result = run(
            f"sdk.configure('billing', endpoint={store.url!r}, protocol='http/protobuf'); use()",
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_SERVICE_NAME="other",
        )
        assert (result.returncode, result.stderr) == (0, "")
        check_all_arrived(store)


TIMED = """
    handle = sdk.configure('billing', shutdown_timeout=1.0)
    use()
    started = time.monotonic()
    losses = handle.shutdown()
    print(time.monotonic() - started, losses.spans, losses.log_events, losses.metrics)
    assert handle.shutdown() is losses
"""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("fault", ["dead", "hung"])
def test_shutdown_keeps_its_bound_and_reports_what_was_lost(protocol: str, fault: str) -> None:
    with hung_port() as hung:
        port = hung if fault == "hung" else free_port()
        result = run(
            TIMED,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )
    assert result.returncode == 0, result.stderr
    seconds, spans, events, points = result.stdout.split()
    # The bound itself is the promise; the allowance is for a busy machine.
    assert float(seconds) < 1.0 + 1.0
    assert (spans, events, points) == ("3", "2", "True")
    assert own_log(result).count("lost 3 spans, 2 log events and the last metrics") == 1


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_exit_keeps_the_bound_of_shutdown(protocol: str) -> None:
    with hung_port() as port:
        started = time.monotonic()
        bare = run("use()").returncode
        without = time.monotonic() - started
        started = time.monotonic()
        result = run(
            "sdk.configure(shutdown_timeout=2.0); use()",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        )
        took = time.monotonic() - started
    assert (bare, result.returncode) == (0, 0)
    assert "lost 3 spans, 2 log events and the last metrics" in own_log(result)
    # One signal after the other would take three times the bound.
    assert took - without < 2 * 2.0, f"{took:.1f} s, and {without:.1f} s without telemetry"


def test_what_was_refused_earlier_is_counted_at_the_end() -> None:
    with receiver() as store:
        store.status["/v1/traces"] = 401
        result = run(
            "handle = sdk.configure(); use(); print(handle.force_flush())",
            OTEL_EXPORTER_OTLP_ENDPOINT=store.url,
        )
    assert result.stdout == "False\n"
    assert "lost 3 spans," in own_log(result)
    assert len(store.log_records()) == 2


HIT = """
def hit():
    denial = {"budget.decision": "deny"}
    trace.get_tracer("t").start_span("budget.check_before_llm", attributes=denial).end()
"""


def test_log_events_and_hits_are_offered_again_for_longer_than_other_spans() -> None:
    port = free_port()
    code = """
        handle = sdk.configure()
        use()
        hit()
        while True:  # the batch processors' first attempts fail; spans are given up
            time.sleep(0.2)
            if handle._pipelines[0].deliveries[1].failed: break
        time.sleep(2)  # without patience the log events and the hit are given up by now, too
        print("failed", flush=True)
        sys.stdin.readline()
        print(handle.shutdown(4.0))
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    process = subprocess.Popen(
        [sys.executable, "-c", USE + HIT + textwrap.dedent(code)],
        env=kept
        | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BLRP_SCHEDULE_DELAY": "100",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "failed\n"
        with receiver(port) as store:
            out, _ = process.communicate("\n", timeout=30)
            assert out == "3 spans\n"
            assert [span.name for span in store.spans()] == ["budget.check_before_llm"]
            assert len(store.log_records()) == 2
            assert list(store.sums("used").values())[-1][-1] == 7
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("provider", ["trace.get_tracer_provider", "_logs.get_logger_provider"])
def test_a_flush_of_a_provider_keeps_its_time_while_hits_wait(provider: str) -> None:
    """A host may flush the global providers after each request, whatever the collector does."""
    code = f"""
        import threading
        sdk.configure(shutdown_timeout=0.1)
        before = threading.active_count()
        for _ in range(20):
            hit()
            _logs.get_logger("t").emit(body="hit")
            print({provider}().force_flush(100))
        print(threading.active_count() - before)
    """
    result = run(
        HIT + textwrap.dedent(code),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        timeout=40,
    )
    assert result.stdout.split() == ["False"] * 20 + ["1"]


def test_a_second_configure_returns_the_first_set_up_and_is_logged_once() -> None:
    with receiver() as store:
        result = run(
            """
            logging.basicConfig(level=logging.INFO, format="%(message)s")
            assert sdk.configure('billing') is sdk.configure('again') is sdk.configure()
            use()
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=store.url,
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("was called again") == 1
        check_all_arrived(store)


def test_existing_providers_are_left_alone() -> None:
    with receiver() as store:
        result = run(
            """
            from opentelemetry.sdk.trace import TracerProvider
            existing = TracerProvider()
            trace.set_tracer_provider(existing)
            handle = sdk.configure()
            assert trace.get_tracer_provider() is existing
            use()
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=store.url,
        )
        assert result.returncode == 0
        assert len(result.stderr.splitlines()) == 1
        assert "leaves the provider of traces alone" in result.stderr
        assert (len(store.spans()), len(store.log_records())) == (0, 2)


def test_a_disabled_sdk_and_exporters_set_to_none_send_nothing() -> None:
    result = run("sdk.configure(); use()", OTEL_SDK_DISABLED="true")
    assert (result.returncode, result.stderr) == (0, "")
    with receiver() as store:
        result = run(
            "sdk.configure(); use()",
            OTEL_EXPORTER_OTLP_ENDPOINT=store.url,
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="console",
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.count('"event_name": "hit"') == 2
        assert store.received == []


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is 'localhost:4318', which is not a URL such as "
            "http://localhost:4318.",
        ),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://localhost:99999"},
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is 'http://localhost:99999', which is not a URL "
            "such as http://localhost:4318.",
        ),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json', which is not supported: use "
            "http/protobuf (port 4318) or grpc (port 4317).",
        ),
        (
            {"OTEL_LOGS_EXPORTER": "lokki"},
            "OTEL_LOGS_EXPORTER is 'lokki', but no exporter of that name is installed: use otlp, "
            "console or none.",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidration"},
            "OTEL_TRACES_SAMPLER is 'parentbased_traceidration', but no sampler of that name is "
            "installed: use parentbased_traceidratio with a ratio in OTEL_TRACES_SAMPLER_ARG, "
            "parentbased_always_on or always_off.",
        ),
        (
            {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1%"},
            "OTEL_TRACES_SAMPLER_ARG is '1%', which is not a number from 0 to 1.",
        ),
    ],
)
def test_a_wrong_variable_is_one_sentence(variables: dict[str, str], sentence: str) -> None:
    result = run(
        """
        try:
            sdk.configure()
        except ValueError as error:
            print(error)
        else:
            raise SystemExit(9)
        assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"
        """,
        **variables,
    )
    assert (result.returncode, result.stdout.strip()) == (0, sentence), result.stderr


@pytest.mark.parametrize(
    ("sampler", "kept"),
    [
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, ["deny"]),
        ({"OTEL_TRACES_SAMPLER": "budget_keep_hits"}, ["deny"]),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, []),
        ({}, ["allow", "deny"]),
    ],
)
def test_hits_arrive_unless_the_sampler_is_always_off(
    sampler: dict[str, str], kept: list[str]
) -> None:
    with receiver() as store:
        result = run(
            """
            sdk.configure("billing")
            for decision in ("allow", "deny"):
                attributes = {"budget.decision": decision}
                trace.get_tracer("t").start_span(
                    "budget.check_before_tool", attributes=attributes
                ).end()
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=store.url,
            **sampler,
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert (
            sorted(
                attribute.value.string_value
                for span in store.spans()
                for attribute in span.attributes
            )
            == kept
        )


def test_a_sampler_is_not_asked_for_where_there_are_no_traces() -> None:
    result = run(
        "sdk.configure()",
        OTEL_TRACES_SAMPLER="misspelt",
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_without_the_extra_one_sentence_says_how_to_install_it() -> None:
    code = """
        import sys
        sys.modules["opentelemetry.sdk._logs"] = None  # as if it were not installed
        try:
            import otel_budget.sdk
        except ModuleNotFoundError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.strip() == (
        "otel_budget.sdk needs the OpenTelemetry SDK, which is not installed; install it with: "
        "pip install 'otel-budget[otlp]'."
    )


def test_a_set_up_after_configure_is_one_line_that_says_what_to_do() -> None:
    result = run(
        """
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        sdk.configure()
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider())
        """,
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert [line for line in result.stderr.splitlines() if "Overriding" not in line] == []
    result = run(
        """
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        sdk.configure(shutdown_timeout=0.1)
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider())
        os._exit(0)
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    (line,) = [line for line in result.stderr.splitlines() if "Overriding" not in line]
    assert line == (
        "The program set up OpenTelemetry after otel_budget.sdk.configure(): its telemetry and the "
        "guards' now go separate ways. Leave configure() out, or call it last."
    )


def test_without_the_sdk_the_test_helper_says_how_to_install_it() -> None:
    code = """
        import sys
        sys.modules["opentelemetry.sdk"] = None
        try:
            import otel_budget.testing
        except ModuleNotFoundError as error:
            print(error, file=sys.stderr)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stderr == (
        "otel_budget.testing needs the OpenTelemetry SDK, which is not installed; install it with: "
        "pip install 'otel-budget[sdk]'.\n"
    )


@pytest.mark.parametrize(("protocol", "extra"), [("http/protobuf", "otlp"), ("grpc", "grpc")])
def test_without_its_exporter_one_sentence_names_the_extra_of_a_protocol(
    protocol: str, extra: str
) -> None:
    result = run(
        """
        from otel_budget.sdk import exporters
        exporters.entry_points = lambda **wanted: ()  # as if nothing were installed
        try:
            sdk.configure()
        except ModuleNotFoundError as error:
            print(error)
        """,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
    )
    assert f"pip install 'otel-budget[{extra}]'" in result.stdout
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


FORK = """
    import threading, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    handle = sdk.configure('billing', shutdown_timeout=3.0)
    use()
    stop = threading.Event()
    def load():
        while not stop.is_set():
            use(spans=1, events=1, count=1)
            time.sleep(0.001)
    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for thread in threads: thread.start()
    for _ in range(3):
        time.sleep(0.2)
        if (pid := os.fork()) == 0:
            for _ in range(20):
                trace.get_tracer("t").start_span("child").end()
                _logs.get_logger("t").emit(event_name="child", timestamp=time.time_ns())
                time.sleep(0.02)
            losses = handle.shutdown()
            os._exit(7 if losses else 0)
        assert os.waitpid(pid, 0)[1] == 0
    stop.set()
    for thread in threads: thread.join()
    assert not handle.shutdown()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_exports_as_its_own_process() -> None:
    with receiver() as store:
        result = run(
            FORK,
            OTEL_EXPORTER_OTLP_ENDPOINT=store.url,
            OTEL_BSP_SCHEDULE_DELAY="5",
            OTEL_BLRP_SCHEDULE_DELAY="5",
        )
        assert (result.returncode, result.stderr) == (0, "")
        assert len([s for s in store.spans() if s.name == "child"]) == 60
        assert len([r for r in store.log_records() if r.event_name == "child"]) == 60
        assert len({r["service.instance.id"] for r in store.resources()}) == 4
        # On the parent's connection, the answers would be mixed up.
        assert all(len(processes) == 1 for processes in store.connections.values())


def test_no_call_waits_for_the_collector() -> None:
    """Only batch processors and a periodic reader are ever set up."""
    result = run(
        """
        handle = sdk.configure(endpoint="http://127.0.0.1:1")
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        tracer, meter, logger = (pipeline.provider for pipeline in handle._pipelines)
        for processor in tracer._active_span_processor._span_processors:
            assert isinstance(processor, BatchSpanProcessor)
        for reader in meter._metric_readers:
            assert isinstance(reader, PeriodicExportingMetricReader)
        for processor in logger._multi_log_record_processor._log_record_processors:
            assert isinstance(processor, BatchLogRecordProcessor)
        print(len(handle._pipelines))
        """
    )
    assert (result.returncode, result.stdout) == (0, "3\n"), result.stderr
