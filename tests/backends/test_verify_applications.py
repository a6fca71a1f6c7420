"""`otel-budget verify` finds what is wrong in the application, its machine and its options."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.stack import Stack, free_addresses
from support.disks import small_disk
from support.verify_runs import SENT, another_time, by_status, failed, overlay, verify

pytestmark = [pytest.mark.backend, pytest.mark.timeout(180)]

CLOCKS = "clocks agree"


@pytest.mark.parametrize(
    ("seconds", "apart", "effect"),
    [
        (7200, "2 h ahead of", "more than ten minutes ahead: these metrics are lost"),
        (-1800, "30 min behind", "panels of now and alerts do not see them"),
        (-13 * 3600, "13 h behind", "panels of now and alerts do not see them"),
    ],
)
def test_verify_finds_a_wrong_clock(
    stack: Stack, directory: Path, seconds: int, apart: str, effect: str
) -> None:
    code, hops = verify(stack, wait=4, **another_time(directory, seconds))
    assert code == 1
    assert by_status(hops, "failed") >= {CLOCKS, "metrics in Prometheus"}
    assert hops[CLOCKS]["detail"].startswith(f"this machine is {apart} the collector")
    assert {hops[name]["status"] for name in SENT} == {"passed"}
    for name in (CLOCKS, "metrics in Prometheus"):
        assert "the clock of this machine is wrong" in hops[name]["cause"]
        assert effect in hops[name]["cause"]
        assert "chrony" in hops[name]["remedy"]


@pytest.mark.parametrize("seconds", [-45, 45])
def test_a_clock_that_is_seconds_off_passes(stack: Stack, directory: Path, seconds: int) -> None:
    code, hops = verify(stack, wait=4, **another_time(directory, seconds))
    assert (code, by_status(hops, "passed")) == (0, set(hops)), hops


def test_verify_finds_that_attributes_are_cut(stack: Stack) -> None:
    result = verify(stack, wait=4, OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="4")
    hops = failed(result, "trace in Jaeger", "event in the audit file")
    assert "its budget.tenant is 'otel' instead of" in hops["trace in Jaeger"]["detail"]
    for hop in ("trace in Jaeger", "event in the audit file"):
        assert "OTEL_*_LIMIT" in hops[hop]["cause"]


def test_verify_finds_that_attributes_of_spans_are_too_many(stack: Stack) -> None:
    hops = failed(verify(stack, wait=4, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="1"), "trace in Jaeger")
    assert "is gone" in hops["trace in Jaeger"]["detail"]


def test_verify_finds_that_spans_keep_no_event(stack: Stack) -> None:
    hops = failed(verify(stack, wait=4, OTEL_SPAN_EVENT_COUNT_LIMIT="0"), "trace in Jaeger")
    assert "OTEL_SPAN_EVENT_COUNT_LIMIT is 0" in hops["trace in Jaeger"]["cause"]


CONSOLE = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    def telemetry():
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
        trace.set_tracer_provider(provider)
"""


def test_verify_finds_an_exporter_that_writes_to_the_console(stack: Stack, directory: Path) -> None:
    (directory / "console_setup.py").write_text(textwrap.dedent(CONSOLE))
    options = ("--setup", "console_setup:telemetry")
    result = verify(stack, *options, wait=2, PYTHONPATH=str(directory))
    hops = failed(result, "trace in Jaeger")
    assert "traces go to ConsoleSpanExporter" in hops["trace in Jaeger"]["cause"]


def test_verify_finds_the_endpoint_of_one_signal_without_its_path(stack: Stack) -> None:
    result = verify(stack, wait=2, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=stack.otlp_http)
    hops = failed(result, "metrics sent")
    assert "used as it is" in hops["metrics sent"]["cause"]
    assert (
        "add /v1/metrics to OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" in hops["metrics sent"]["remedy"]
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_verify_finds_a_proxy_in_the_way(stack: Stack, protocol: str) -> None:
    proxy = f"http://user:secret@{free_addresses()['OTELCOL_OTLP_HTTP']}"
    result = verify(
        stack,
        endpoint=stack.otlp_grpc if protocol == "grpc" else stack.otlp_http,
        wait=2,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        http_proxy=proxy,
        no_proxy="",
        NO_PROXY="",
    )
    assert by_status(result[1], "failed") >= set(SENT)
    cause = result[1]["traces sent"]["cause"]
    assert f"the proxy {proxy.rpartition('@')[2]}" in cause
    assert result[1]["traces sent"]["remedy"] == "set NO_PROXY=127.0.0.1 for the application"
    assert "secret" not in str(result)


def test_verify_finds_exports_that_are_too_rare(stack: Stack) -> None:
    hops = failed(verify(stack, OTEL_METRIC_EXPORT_INTERVAL="600000"), "SDK set up")
    assert hops["SDK set up"]["detail"] == "metrics are exported every 600 s"


def test_verify_finds_addresses_that_are_another_programs(stack: Stack) -> None:
    for option, other, says in (
        ("--jaeger", stack.prometheus, "something other than Jaeger"),
        ("--jaeger", stack.collector_health, "something other than Jaeger"),
        ("--prometheus", stack.jaeger, "something other than Prometheus"),
        ("--prometheus", stack.collector_health, "something other than Prometheus"),
        ("--prometheus", stack.otlp_grpc, "Prometheus is not running, or it is elsewhere"),
        ("--collector-health", stack.otlp_grpc, "the collector is not running, or it is elsewhere"),
        ("--collector-metrics", f"{stack.prometheus}/metrics", "another program's metrics"),
    ):
        hops = verify(stack, option, other, wait=2)[1]
        (name,) = by_status(hops, "failed")
        assert says in hops[name]["cause"], (option, other, hops[name])


def test_the_metrics_of_another_collector_count_as_unchecked(stack: Stack) -> None:
    inner = stack.add_collector("otelcol-idle")
    try:
        code, hops = verify(stack, "--collector-metrics", inner.collector_metrics)
    finally:
        stack.kill("otelcol-idle")
    assert (code, by_status(hops, "skipped")) == (0, {"collector healthy"})


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_verify_finds_what_is_wrong_with_the_disk_of_the_audit_file(
    stack: Stack, directory: Path, fault: str
) -> None:
    disk = directory / "disk"
    with small_disk(disk):
        audit = {"OTELCOL_AUDIT_FILE": str(disk / "hits.jsonl")}
        inner = stack.add_collector(f"otelcol-{fault}", environment=audit)
        if fault == "full":
            (disk / "filling").write_bytes(bytes(1024 * 1024))
        else:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        try:
            result = verify(stack, collector=inner, wait=2)
        finally:
            stack.kill(f"otelcol-{fault}")
    hops = failed(result, "log events sent", "collector healthy")
    assert hops["log events sent"]["cause"].endswith(f"is {fault}")
    assert "limit_mib" not in str(hops)


class WithoutWindow(Stack):
    """Prometheus with its default settings: late samples are refused."""

    def _render_prometheus(self) -> Path:
        configuration = super()._render_prometheus()
        loaded: dict[str, Any] = yaml.safe_load(configuration.read_text())
        del loaded["storage"]
        configuration.write_text(yaml.safe_dump(loaded))
        return configuration


def test_verify_finds_a_prometheus_that_refuses_late_samples(directory: Path) -> None:
    with WithoutWindow(directory / "stack") as stack:
        hops = failed(verify(stack), "late samples taken")
    assert "out_of_order_time_window: 12h" in hops["late samples taken"]["remedy"]


class WithoutHonour(Stack):
    """Prometheus scrapes the Collector as it scrapes any other program."""

    def _render_prometheus(self) -> Path:
        configuration = super()._render_prometheus()
        loaded: dict[str, Any] = yaml.safe_load(configuration.read_text())
        for job in loaded["scrape_configs"]:
            job.pop("honor_labels", None)
        configuration.write_text(yaml.safe_dump(loaded))
        return configuration


def test_verify_finds_a_scrape_without_honor_labels(directory: Path) -> None:
    with WithoutHonour(directory / "stack", overlays=["scrape"], interval=1) as stack:
        hops = failed(verify(stack, wait=8), "metrics in Prometheus")
    assert "Prometheus scrapes without honor_labels" in hops["metrics in Prometheus"]["cause"]


def test_verify_finds_a_namespace_on_scraped_metrics(
    start_stack: Callable[..., Stack], directory: Path
) -> None:
    named = overlay(directory, "exporters: {prometheus: {namespace: shop}}")
    stack = start_stack(overlays=["scrape", named], interval=1)
    hops = failed(verify(stack, wait=8), "metrics in Prometheus")
    assert (
        "namespace of the collector's prometheus exporter"
        in (hops["metrics in Prometheus"]["remedy"])
    )
