"""`otel-budget verify` without programs: mistakes that people make, and what it prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from collector.stack import DEFAULT_PORTS
from otel_budget import semconv
from otel_budget.cli import local_stack
from otel_budget.cli import verify as verify_command
from otel_budget.metric import prometheus_label
from otel_budget.verify import endpoint, expected, http, prometheus, records
from otel_budget.verify.collector import CollectorMetrics, _refusal
from support.otlp_receiver import receiver
from support.ports import free_port, hung_port


def verify(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", "from otel_budget.cli import main; main()", "verify", *options],
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--setup", "mine"], "--setup mine is not of the form package.module:callable."),
        (
            ["--prometheus", "localhost:9090"],
            "--prometheus localhost:9090 is not a URL such as http://127.0.0.1:9090.",
        ),
        (
            ["--collector-metrics", "http://localhost:99999"],
            "--collector-metrics http://localhost:99999 is not a URL such as "
            "http://127.0.0.1:8888/metrics.",
        ),
    ],
)
def test_a_bad_option_is_one_sentence(options: list[str], sentence: str) -> None:
    result = verify(*options)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"otel-budget: {sentence}\n"


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp.example.com"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:port"),
    ],
)
def test_local_does_not_mix_the_stack_here_with_a_pipeline_elsewhere(
    variable: str, url: str
) -> None:
    result = verify("--local", **{variable: url})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"otel-budget: --local checks the stack of this machine, but {variable} sends to {url}: "
        "unset it, or leave out --local and name the parts of that pipeline.\n"
    )


def test_local_sends_to_the_stack_that_runs_here(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with receiver() as here:
        told = dict.fromkeys((*verify_command.LOCAL, "otlp_grpc"), nobody)
        file = tmp_path / "otel-budget" / "stack.json"
        file.parent.mkdir()
        file.write_text(json.dumps({"process": os.getpid(), **told, "otlp_http": here.url}))
        result = verify("--local", "--json", "--timeout", "0", XDG_STATE_HOME=str(tmp_path))
        hops = {hop["name"]: hop for hop in json.loads(result.stdout)["hops"]}
        assert hops["traces sent"]["status"] == "passed", hops["traces sent"]
        assert here.spans()


def test_local_is_where_the_shipped_stack_listens() -> None:
    parts = {name: urlsplit(url) for name, url in verify_command.LOCAL.items()}
    assert {name: part.port for name, part in parts.items()} == {
        "collector_health": DEFAULT_PORTS["OTELCOL_HEALTH"],
        "collector_metrics": DEFAULT_PORTS["OTELCOL_METRICS_PORT"],
        "prometheus": DEFAULT_PORTS["PROMETHEUS_ADDRESS"],
        "jaeger": DEFAULT_PORTS["JAEGER_QUERY"],
    }
    assert {part.hostname for part in parts.values()} == {"127.0.0.1"}


def test_a_line_for_each_hop_with_cause_and_remedy() -> None:
    port = free_port()
    result = verify(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    assert (result.returncode, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if "metrics sent" in line)
    assert lines[at].startswith("FAILED")
    assert lines[at + 1] == f"        likely cause: nothing listens on 127.0.0.1:{port}"
    assert lines[at + 2].startswith("        remedy: start the collector, or correct OTEL_EXPORTER")
    assert any(line.startswith("skipped trace in Jaeger") for line in lines)
    assert lines[-1].startswith("3 passed, 3 failed, 6 skipped.")


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("def telemetry(): raise RuntimeError('no certificate')", "RuntimeError: no certificate"),
        ("def telemetry(): pass", "no provider with an exporter"),
        ("def telemetry():\n    import os; os._exit(3)", "the canary's process ended early"),
        ("", "AttributeError"),
    ],
)
def test_a_set_up_that_fails_is_one_failed_hop_with_its_reason(
    tmp_path: Path, code: str, detail: str
) -> None:
    (tmp_path / "mine.py").write_text(code)
    result = verify("--setup", "mine:telemetry", PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert len([line for line in result.stdout.splitlines() if line.startswith("FAILED")]) == 1
    assert detail in result.stdout.splitlines()[0]
    assert result.stderr == ""


def test_a_resource_without_an_instance_id_fails(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
            from opentelemetry import metrics
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource

            def telemetry():
                reader = PeriodicExportingMetricReader(OTLPMetricExporter())
                resource = Resource({"service.name": "mine"})
                metrics.set_meter_provider(MeterProvider([reader], resource))
        """)
    )
    with receiver() as store:
        result = verify(
            "--setup", "mine:telemetry",
            PYTHONPATH=str(tmp_path), OTEL_EXPORTER_OTLP_ENDPOINT=store.url,
        )  # fmt: skip
    assert result.returncode == 1
    assert "no service.instance.id on metrics" in result.stdout


def test_the_canary_decides_what_is_expected_of_it() -> None:
    with receiver() as store:
        result = verify(OTEL_EXPORTER_OTLP_ENDPOINT=store.url)
        assert result.returncode == 0, result.stdout
        for metric in {metric.name for metric, _, _ in expected.VALUES if metric.kind == "counter"}:
            wanted = sorted(value for sent, _, value in expected.VALUES if sent.name == metric)
            sums = store.sums(metric)
            assert len(sums) == 2
            for values in sums.values():
                assert sorted(value for value in values if value) == pytest.approx(wanted)
        events = [event.name for span in store.spans() for event in span.events]
        assert events == [semconv.SPAN_EVENT_THRESHOLD_HIT] * 4


def test_only_exact_values_of_every_process_pass() -> None:
    def series(instance: str, factor: float = 1.0) -> prometheus.Series:
        return [
            (
                {prometheus_label(name): label for name, label in attributes.items()}
                | {"__name__": metric.prometheus_name(), "instance": instance},
                value * factor,
            )
            for metric, attributes, value in expected.VALUES
        ]

    both = series("a") + series("b")
    assert prometheus._missing(both, 2) == []
    assert prometheus._missing(series("a"), 1) == []
    assert len(prometheus._missing(series("a"), 2)) >= 9
    assert len(prometheus._missing(series("a") + series("b", factor=1.001), 2)) >= 9
    assert prometheus._missing(both[:-1], 2) == ["budget_utilization has 1 series for 2 processes"]


def test_endpoint_recognizes_what_answers_at_a_port() -> None:
    assert endpoint.answers("127.0.0.1", free_port()) == "refused"
    assert endpoint.answers("no-such-host.invalid", 4318) == "unknown_host"
    with receiver() as store:
        assert endpoint.answers("127.0.0.1", store.port) == "http"
    with hung_port() as port:
        assert endpoint.answers("127.0.0.1", port) == "silent"


def test_the_collectors_own_metrics_show_refusals_failures_and_full_queues() -> None:
    before = CollectorMetrics.parse('otelcol_receiver_refused_spans_total{receiver="otlp"} 2\n')
    after = CollectorMetrics.parse(
        "# HELP x y\n"
        'otelcol_receiver_refused_spans_total{receiver="otlp"} 5\n'
        'otelcol_exporter_enqueue_failed_spans{exporter="a"} 1\n'
        'otelcol_exporter_queue_size{exporter="a"} 90\n'
        'otelcol_exporter_queue_capacity{exporter="a"} 100\n'
        'otelcol_exporter_queue_size{exporter="b"} 0\n'
        'otelcol_exporter_queue_capacity{exporter="b"} 100\n'
    )
    assert list(after.grown(before, re.compile("otelcol_receiver_refused_")).values()) == [3]
    refusal = _refusal(after, before, "")
    assert refusal is not None
    assert (
        refusal.detail == "could not be sent during the check: 1 exporter_enqueue_failed_spans (a)"
    )
    assert after.full_queues() == ["a 90%"]


class Guarded(BaseHTTPRequestHandler):
    """Answers who knows the password."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Basic b3BlcmF0b3I6cEBzcw=="  # operator:p@ss
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_login_in_an_address_is_sent_and_never_shown() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        assert http.get(f"http://operator:p%40ss@{host}/api", {"query": "up"}) == b"/api?query=up"
        for login in ("", "operator:wrong@"):
            url = f"http://{login}{host}"
            with pytest.raises(http.ErrorStatus) as refused:
                http.get(url)
            problem = http.unreachable("Prometheus", "--prometheus", url, refused.value)
            assert problem.detail == f"http://{host} answered 401"
            assert problem.cause.startswith("Prometheus wants a login")
            assert problem.remedy == "write it into --prometheus: http://user:password@host"
        server.shutdown()


def test_the_disk_of_the_audit_file_is_looked_at(tmp_path: Path) -> None:
    full = records.disk_problem(Path("/proc/hits.jsonl"), "found")  # no room is ever left there
    assert full is not None
    assert full.cause == "the disk of the audit file /proc/hits.jsonl is full"
    for good in (tmp_path / "hits.jsonl", tmp_path / "none" / "hits.jsonl", None):
        assert records.disk_problem(good, "found") is None


def test_the_local_stack_is_known_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    told = {"prometheus": "http://127.0.0.1:1", "audit_file": "/data/hits.jsonl"}
    file = tmp_path / "otel-budget" / "stack.json"
    assert local_stack.addresses() == {}
    with local_stack.announced(told):
        assert local_stack.addresses() == told
        assert file.stat().st_mode & 0o077 == 0
        with local_stack.announced({"prometheus": "http://127.0.0.1:2"}):
            assert local_stack.addresses() == {"prometheus": "http://127.0.0.1:2"}
    assert not file.exists()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file.write_text(json.dumps({"process": ended.pid, **told}))
    assert local_stack.addresses() == {}
    file.write_text("{")
    assert local_stack.addresses() == {}
