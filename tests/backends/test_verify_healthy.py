"""`otel-budget verify` passes every hop of a pipeline in which nothing is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from collector.stack import Stack, free_addresses
from support.verify_runs import ARRIVED, SENT, by_status, verify

pytestmark = [pytest.mark.backend, pytest.mark.timeout(180)]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_healthy_pipeline_passes_every_hop(stack: Stack, protocol: str) -> None:
    endpoint = stack.otlp_grpc if protocol == "grpc" else stack.otlp_http
    code, hops = verify(
        stack, endpoint=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, OTEL_SERVICE_NAME="billing"
    )
    assert (code, by_status(hops, "passed")) == (0, set(hops)), hops
    assert set(hops) >= {*SENT, *ARRIVED, "collector healthy"}
    assert "service otel-budget-verify" in hops["SDK set up"]["detail"]
    assert "sampled by AlwaysOnSampler and every hit" in hops["SDK set up"]["detail"]


def test_a_hop_without_an_address_is_skipped_and_never_passed(stack: Stack) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    result = subprocess.run(
        [sys.executable, "-c", "from otel_budget.cli import main; main()", "verify", "--json"],
        env=kept | {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http, "OTEL_LOGS_EXPORTER": "none"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    hops = {hop["name"]: hop for hop in json.loads(result.stdout)["hops"]}
    assert by_status(hops, "skipped") == {
        *ARRIVED,
        "collector healthy",
        "late samples taken",
        "log events sent",
    }


def test_unsampled_traces_are_skipped(stack: Stack) -> None:
    code, hops = verify(stack, OTEL_TRACES_SAMPLER="always_off")
    assert (code, by_status(hops, "skipped")) == (0, {"traces sent", "trace in Jaeger"}), hops


def test_without_traces_the_rest_is_checked(stack: Stack) -> None:
    code, hops = verify(stack, OTEL_TRACES_EXPORTER="none")
    assert (code, by_status(hops, "skipped")) == (0, {"traces sent", "trace in Jaeger"}), hops


def test_denials_are_found_whatever_the_ratio_of_the_sampler(stack: Stack) -> None:
    variables = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    code, hops = verify(stack, **variables)
    assert (code, by_status(hops, "passed")) == (0, set(hops)), hops


DELTA = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}


def test_delta_metrics_that_the_collector_turns_cumulative_pass(stack: Stack) -> None:
    code, hops = verify(stack, **DELTA)
    assert (code, by_status(hops, "failed")) == (0, set()), hops
    assert "delta metrics" in hops["SDK set up"]["detail"]


#: What each overlay needs, and the variables of the application.
OVERLAYS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "auth": (
        {"OTELCOL_TOKEN": "s3cret"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20s3cret"},
    ),
    "logs-otlp": ({}, {}),  # nothing listens there, which holds nothing up
    "redaction": ({"OTELCOL_REDACTION_SALT": "salt"}, {}),
    "tail-sampling": ({"OTELCOL_SAMPLING_PERCENT": "1"}, {}),
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_healthy_pipeline_passes_with_an_overlay(stack: Stack, overlay: str) -> None:
    of_collector, variables = OVERLAYS[overlay]
    of_collector = {**of_collector, "LOGS_OTLP_URL": _nobody()}
    inner = stack.add_collector(overlay, overlays=[overlay], environment=of_collector)
    try:
        code, hops = verify(stack, collector=inner, **variables)
    finally:
        stack.kill(overlay)
    assert (code, by_status(hops, "passed")) == (0, set(hops)), hops


def test_a_healthy_pipeline_passes_through_a_gateway(stack: Stack) -> None:
    gateway = stack.addresses["OTELCOL_OTLP_GRPC"]
    addresses = {"OTELCOL_GATEWAYS": f'["{gateway}"]', "OTELCOL_GATEWAY": gateway}
    inner = stack.add_collector("agent", overlays=["gateway"], environment=addresses)
    try:
        code, hops = verify(stack, "--audit-file", str(stack.audit_file), collector=inner)
    finally:
        stack.kill("agent")
    assert (code, by_status(hops, "passed")) == (0, set(hops)), hops


@pytest.mark.parametrize("overlay", ["scrape", "start-times"])
def test_a_healthy_pipeline_passes_with_another_way_to_prometheus(
    start_stack: Callable[..., Stack], overlay: str
) -> None:
    stack = start_stack(overlays=[overlay], interval=1)
    place = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.namespace=shop"}
    code, hops = verify(stack, **place)
    assert (code, by_status(hops, "passed")) == (0, set(hops)), hops


def _nobody() -> str:
    return f"http://{free_addresses()['OTELCOL_OTLP_HTTP']}"
