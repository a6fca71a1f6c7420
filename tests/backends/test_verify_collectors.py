"""`otel-budget verify` finds what is wrong with a Collector's configuration, on the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.stack import Stack, free_addresses
from support.verify_runs import SENT, failed, overlay, verify

pytestmark = [pytest.mark.backend, pytest.mark.timeout(180)]

IN_PROMETHEUS, IN_JAEGER, IN_AUDIT = (
    "metrics in Prometheus",
    "trace in Jaeger",
    "event in the audit file",
)


@contextmanager
def beside(
    stack: Stack, directory: Path, text: str, variables: dict[str, str] | None = None
) -> Iterator[Stack]:
    """Another Collector in front of the stack's backends, with more configuration."""
    name = f"otelcol-{directory.name}"
    nobody = free_addresses()["OTELCOL_OTLP_GRPC"]
    file = overlay(directory, text.replace("NOBODY", nobody))
    yield stack.add_collector(name, overlays=[file], environment=variables)
    stack.kill(name)


def without(signal: str) -> str:
    return f"""
        receivers:
          otlp/elsewhere:
            protocols: {{grpc: {{endpoint: NOBODY}}}}
        service:
          pipelines:
            {signal}: {{receivers: [otlp/elsewhere]}}
    """


def changed(signal: str, statement: str) -> str:
    """A statement of the transform processor on one signal, before everything else."""
    kind = {"traces": "trace", "metrics": "metric", "logs": "log"}[signal]
    rest = {"traces": "", "metrics": ", delta_to_cumulative", "logs": ", filter/threshold_hits"}
    return f"""
        processors:
          transform/changed:
            {kind}_statements:
              - {statement}
        service:
          pipelines:
            {signal}: {{processors: [memory_limiter, transform/changed{rest[signal]}]}}
    """


def dropped(signal: str, condition: str) -> str:
    """A condition of the filter processor on one signal."""
    kind = {"traces": "trace", "metrics": "metric", "logs": "log"}[signal]
    return f"""
        processors:
          filter/dropped:
            {kind}_conditions:
              - {condition}
        service:
          pipelines:
            {signal}: {{processors: [memory_limiter, filter/dropped]}}
    """


@dataclass
class Broken:
    """A configuration, the hops that fail, and a part of what is said of the first of them."""

    text: str
    hops: tuple[str, ...]
    says: str
    variables: dict[str, str] = field(default_factory=dict)
    of_collector: dict[str, str] = field(default_factory=dict)


PRODUCTION = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=production"}

BROKEN = {
    "logs-not-received": Broken(without("logs"), (SENT[2],), "has no logs pipeline"),
    "traces-not-received": Broken(without("traces"), (SENT[0],), "has no traces pipeline"),
    "jaeger-elsewhere": Broken(
        "exporters: {otlp_grpc/jaeger: {endpoint: NOBODY}}",
        (IN_JAEGER,),
        "what otlp_grpc/jaeger sends to does not answer",
    ),
    "tls-to-a-plain-jaeger": Broken(
        "exporters: {otlp_grpc/jaeger: {tls: {insecure: false}}}",
        (IN_JAEGER,),
        "waits in the collector's queue of otlp_grpc/jaeger",
    ),
    "prometheus-elsewhere": Broken(
        "exporters: {otlp_http/prometheus: {endpoint: 'http://NOBODY/api/v1/otlp'}}",
        (IN_PROMETHEUS,),
        "what otlp_http/prometheus sends to does not answer",
    ),
    "prometheus-by-the-wrong-path": Broken(
        "exporters: {otlp_http/prometheus: {endpoint: '${env:PROMETHEUS_URL}/api/v1/write'}}",
        (IN_PROMETHEUS, "collector healthy"),
        "a backend behind the collector is down, refuses the data",
    ),
    "audit-disk-full": Broken(
        "{}",
        (SENT[2], "collector healthy"),
        "file/audit cannot write: the disk is full or read-only",
        of_collector={"OTELCOL_AUDIT_FILE": "/dev/full"},
    ),
    "large-requests-refused": Broken(
        "receivers: {otlp: {protocols: {http: {max_request_body_size: 50}}}}",
        SENT,
        "max_request_body_size",
    ),
    "tenant-deleted-from-metrics": Broken(
        changed("metrics", 'delete_key(datapoint.attributes, "budget.tenant")'),
        (IN_PROMETHEUS,),
        "without the label budget_tenant",
    ),
    "tenant-hashed-on-metrics": Broken(
        changed(
            "metrics",
            'set(datapoint.attributes["budget.tenant"], '
            'SHA256(datapoint.attributes["budget.tenant"])) '
            'where datapoint.attributes["budget.tenant"] != nil',
        ),
        (IN_PROMETHEUS,),
        "deletes or changes the attribute budget.tenant of metrics",
    ),
    "model-deleted-from-metrics": Broken(
        changed("metrics", 'delete_key(datapoint.attributes, "gen_ai.request.model")'),
        (IN_PROMETHEUS,),
        "arrived without the label gen_ai_request_model",
    ),
    "one-instance-for-all": Broken(
        changed("metrics", 'set(resource.attributes["service.instance.id"], "one")'),
        (IN_PROMETHEUS,),
        "the two processes share one series",
    ),
    "one-service-for-all": Broken(
        changed("metrics", 'set(resource.attributes["service.name"], "shop")'),
        (IN_PROMETHEUS,),
        "something on the way replaces service.name",
    ),
    "environment-deleted": Broken(
        changed("metrics", 'delete_key(resource.attributes, "deployment.environment.name")'),
        (IN_PROMETHEUS,),
        "budgets of test and production are mixed",
        variables=PRODUCTION,
    ),
    "metrics-renamed": Broken(
        changed("metrics", 'set(metric.name, Concat(["acme", metric.name], "."))'),
        (IN_PROMETHEUS,),
        "puts a prefix before the names of metrics",
    ),
    "histograms-dropped": Broken(
        dropped("metrics", "metric.type == METRIC_DATA_TYPE_HISTOGRAM"),
        (IN_PROMETHEUS,),
        "drops histograms",
    ),
    "gauges-dropped": Broken(
        dropped("metrics", "metric.type == METRIC_DATA_TYPE_GAUGE"),
        (IN_PROMETHEUS,),
        "some of the values did not arrive",
    ),
    "values-scaled": Broken(
        changed("metrics", 'scale_metric(1000.0) where metric.name == "budget.cost"'),
        (IN_PROMETHEUS,),
        "something on the way changed them",
    ),
    "inner-spans-dropped": Broken(
        dropped("traces", "span.kind == SPAN_KIND_INTERNAL"), (IN_JAEGER,), "filters them"
    ),
    "decision-deleted-from-spans": Broken(
        changed("traces", 'delete_key(span.attributes, "budget.decision")'),
        (IN_JAEGER,),
        "its budget.decision is gone",
    ),
    "tenant-deleted-from-spans": Broken(
        changed("traces", 'delete_key(span.attributes, "budget.tenant")'),
        (IN_JAEGER,),
        "its budget.tenant is gone",
    ),
    "tenant-hashed-on-spans": Broken(
        changed(
            "traces",
            'set(span.attributes["budget.tenant"], SHA256(span.attributes["budget.tenant"]))'
            ' where span.attributes["budget.tenant"] != nil',
        ),
        (IN_JAEGER,),
        "deletes or changes attributes of spans",
    ),
    "event-names-emptied": Broken(
        changed("logs", 'set(log.event_name, "")'), (IN_AUDIT,), "takes away their event name"
    ),
    "kind-deleted-from-events": Broken(
        changed("logs", 'delete_key(log.attributes, "budget.kind")'),
        (IN_AUDIT,),
        "takes away their event name or attributes",
    ),
    "tenant-deleted-from-events": Broken(
        changed("logs", 'delete_key(log.attributes, "budget.tenant")'),
        (IN_AUDIT,),
        "with budget.kind, budget.tenant and session.id",
    ),
    "soft-limits-filtered-by-severity": Broken(
        dropped("logs", "log.severity_number < SEVERITY_NUMBER_WARN"),
        (IN_AUDIT,),
        "2 of 2 soft limits are not in",
    ),
    "denials-filtered-by-severity": Broken(
        dropped("logs", "log.severity_number < SEVERITY_NUMBER_ERROR"), (IN_AUDIT,), "filters them"
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_verify_names_what_a_collector_does_wrong(
    stack: Stack, directory: Path, broken: Broken
) -> None:
    with beside(stack, directory, broken.text, broken.of_collector) as inner:
        options = []
        if "OTELCOL_AUDIT_FILE" in broken.of_collector:  # it reads without an end
            options = ["--audit-file", str(inner.directory / "none.jsonl")]
        result = verify(stack, *options, collector=inner, wait=4, **broken.variables)
    hops = failed(result, *broken.hops)
    first = hops[broken.hops[0]]
    assert broken.says in f"{first['detail']} {first['cause']} {first['remedy']}", first
