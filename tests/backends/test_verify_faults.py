"""`otel-budget verify` finds each fault by itself, on the real programs."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from collector.stack import Stack, free_addresses
from support.verify_runs import ARRIVED, SENT, by_status, failed, overlay, verify

pytestmark = [pytest.mark.backend, pytest.mark.timeout(180)]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_verify_finds_a_port_where_nothing_listens(stack: Stack, protocol: str) -> None:
    nobody = free_addresses()["OTELCOL_OTLP_HTTP"]
    result = verify(stack, endpoint=f"http://{nobody}", OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    hops = failed(result, *SENT)
    assert hops["traces sent"]["cause"] == f"nothing listens on {nobody}"
    assert by_status(hops, "skipped") == ARRIVED


def test_verify_finds_the_port_of_the_other_protocol(stack: Stack) -> None:
    hops = failed(verify(stack, endpoint=stack.otlp_grpc), *SENT)
    assert "is a gRPC receiver, and the exporter speaks HTTP" in hops["log events sent"]["cause"]
    result = verify(stack, endpoint=stack.otlp_http, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert (
        "is an HTTP receiver, and the exporter speaks gRPC"
        in failed(result, *SENT)[SENT[0]]["cause"]
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_verify_finds_tls_against_plaintext(stack: Stack, protocol: str) -> None:
    plain = stack.otlp_grpc if protocol == "grpc" else stack.otlp_http
    result = verify(
        stack, endpoint=plain.replace("http", "https"), OTEL_EXPORTER_OTLP_PROTOCOL=protocol
    )
    hops = failed(result, *SENT)
    assert "the exporter speaks TLS, and" in hops["metrics sent"]["cause"]


def test_verify_finds_a_collector_that_never_answers(stack: Stack) -> None:
    stack.suspend("otelcol")
    try:
        hops = failed(verify(stack), *SENT, "collector healthy")
    finally:
        stack.resume("otelcol")
    assert "accepts connections and never answers" in hops["log events sent"]["cause"]


def test_verify_finds_a_missing_token(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack(overlays=["auth"], environment={"OTELCOL_TOKEN": "s3cret"})
    hops = failed(verify(stack), *SENT)
    assert "wants a token" in hops["metrics sent"]["cause"]
    grpc = {"endpoint": stack.otlp_grpc, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert "wants a token" in failed(verify(stack, **grpc), *SENT)["log events sent"]["cause"]
    code, hops = verify(stack, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20s3cret")
    assert (code, by_status(hops, "passed")) == (0, set(hops)), hops


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_verify_finds_a_receiver_that_wants_tls(
    start_stack: Callable[..., Stack], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", certificate, "-keyout", key],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    tls = overlay(
        directory,
        f"""
        receivers:
          otlp:
            protocols:
              grpc: &tls
                tls: {{cert_file: {certificate}, key_file: {key}}}
              http: *tls
        """,
    )
    stack = start_stack(overlays=[tls])
    for endpoint, protocol in (
        (stack.otlp_http, "http/protobuf"),
        (stack.otlp_grpc, "grpc"),
    ):
        way = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        hops = failed(verify(stack, endpoint=endpoint, **way), *SENT)
        assert "speaks TLS, and the exporter does not" in hops["traces sent"]["cause"]
        secure = endpoint.replace("http://", "https://")
        bundle = {
            "REQUESTS_CA_BUNDLE": certifi.where()
        }  # overrides our own setting, in requests only
        hops = failed(verify(stack, endpoint=secure, **way, **bundle), *SENT)
        assert "the certificate is not trusted" in hops["traces sent"]["cause"]
        remedy = hops["traces sent"]["remedy"]
        assert ("unset REQUESTS_CA_BUNDLE" in remedy) == (protocol == "http/protobuf")
        way["OTEL_EXPORTER_OTLP_CERTIFICATE"] = str(certificate)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
        code, hops = verify(stack, endpoint=secure, **way)
        assert (code, by_status(hops, "passed")) == (0, set(hops)), hops


def test_verify_finds_a_pipeline_without_the_metrics_signal(
    start_stack: Callable[..., Stack], directory: Path
) -> None:
    elsewhere = free_addresses()["OTELCOL_OTLP_GRPC"]
    without = overlay(
        directory,
        f"""
        receivers:
          otlp/elsewhere:
            protocols:
              grpc:
                endpoint: {elsewhere}
        service:
          pipelines:
            metrics:
              receivers: [otlp/elsewhere]
        """,
    )
    stack = start_stack(overlays=[without])
    hops = failed(verify(stack), "metrics sent")
    assert "has no metrics pipeline" in hops["metrics sent"]["cause"]
    assert hops["metrics in Prometheus"]["status"] == "skipped"
    grpc = {"endpoint": stack.otlp_grpc, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    hops = failed(verify(stack, **grpc), "metrics sent")
    assert "has no metrics pipeline" in hops["metrics sent"]["cause"]


class WithoutReceiver(Stack):
    """Prometheus with its default settings: without its OTLP receiver."""

    def _prometheus(self) -> Any:
        service = super()._prometheus()
        service.command.remove("--web.enable-otlp-receiver")
        return service


def test_verify_finds_a_prometheus_without_its_otlp_receiver(directory: Path) -> None:
    with WithoutReceiver(directory / "stack") as stack:
        code, hops = verify(stack, wait=4)
    assert code == 1
    assert "without its OTLP receiver" in hops["metrics in Prometheus"]["cause"]
    assert "--web.enable-otlp-receiver" in hops["metrics in Prometheus"]["remedy"]
    # The Collector itself reports which of its exporters was refused.
    assert "otlp_http/prometheus" in hops["collector healthy"]["detail"]
    assert by_status(hops, "passed") > {"trace in Jaeger", "event in the audit file"}


class OtherNames(Stack):
    """Prometheus with another translation of names; a subclass for each strategy."""

    strategy = ""

    def _render_prometheus(self) -> Path:
        configuration = super()._render_prometheus()
        loaded = yaml.safe_load(configuration.read_text())
        loaded["otlp"]["translation_strategy"] = self.strategy
        configuration.write_text(yaml.safe_dump(loaded))
        return configuration


@pytest.mark.parametrize("strategy", ["UnderscoreEscapingWithoutSuffixes", "NoTranslation"])
def test_verify_finds_a_backend_that_names_metrics_without_suffixes(
    directory: Path, strategy: str
) -> None:
    names = type(strategy, (OtherNames,), {"strategy": strategy})
    with names(directory / "stack") as stack:
        hops = failed(verify(stack, wait=4), "metrics in Prometheus")
    assert "without the suffixes" in hops["metrics in Prometheus"]["cause"]


DELTA = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}


def test_verify_finds_delta_metrics_that_are_dropped(
    start_stack: Callable[..., Stack], directory: Path
) -> None:
    drops = """
        service:
          pipelines:
            metrics:
              processors: [memory_limiter]
    """
    stack = start_stack(overlays=[overlay(directory, drops)])
    code, hops = verify(stack, wait=4, **DELTA)
    assert code == 1
    assert "delta metrics, which Prometheus drops" in hops["metrics in Prometheus"]["cause"]


def test_verify_finds_two_processes_that_share_an_instance_id(stack: Stack) -> None:
    result = verify(stack, OTEL_RESOURCE_ATTRIBUTES="service.instance.id=agent-1")
    hops = failed(result, "own instance id")
    assert "'agent-1'" in hops["own instance id"]["detail"]
    assert "totals are too low" in hops["own instance id"]["cause"]


def test_verify_finds_a_pipeline_that_strips_the_instance(
    start_stack: Callable[..., Stack], directory: Path
) -> None:
    strips = """
        processors:
          transform/strip:
            metric_statements:
              - delete_key(resource.attributes, "service.instance.id")
        service:
          pipelines:
            metrics:
              processors: [memory_limiter, transform/strip]
    """
    stack = start_stack(overlays=[overlay(directory, strips)])
    hops = failed(verify(stack, wait=4), "metrics in Prometheus")
    assert "share one series" in hops["metrics in Prometheus"]["cause"]


SIMPLE = """
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    def telemetry():
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
"""


def test_verify_finds_a_simple_span_processor(stack: Stack, directory: Path) -> None:
    (directory / "blocking_setup.py").write_text(textwrap.dedent(SIMPLE))
    result = verify(stack, "--setup", "blocking_setup:telemetry", PYTHONPATH=str(directory))
    hops = failed(result, "calls not blocked")
    assert "SimpleSpanProcessor" in hops["calls not blocked"]["detail"]
    assert "BatchSpanProcessor" in hops["calls not blocked"]["remedy"]
    assert hops["trace in Jaeger"]["status"] == "passed"
    assert hops["metrics sent"]["status"] == "skipped"


def test_verify_finds_a_dead_jaeger(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    stack.kill("jaeger")
    hops = failed(verify(stack, wait=4), "trace in Jaeger")
    assert hops["trace in Jaeger"]["cause"] == "Jaeger is not running, or it is elsewhere"


def test_verify_finds_that_the_audit_file_is_the_wrong_one(stack: Stack, directory: Path) -> None:
    (directory / "empty.jsonl").touch()
    result = verify(stack, "--audit-file", str(directory / "empty.jsonl"), wait=2)
    failed(result, "event in the audit file")
