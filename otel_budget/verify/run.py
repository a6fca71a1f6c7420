"""Checks all hops in turn."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_budget.verify import collector, expected, processes, prometheus, records
from otel_budget.verify.hop import Hop, Problem, timed

_SIGNALS = ("traces", "metrics", "logs")


def _new_tenant() -> str:
    return f"{expected.NAME}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The user's pipeline; a hop is skipped if its address is None.

    Attributes:
        setup: ``package.module:callable`` that sets up telemetry; empty to use the variables.
        collector_health: URL of the Collector's health_check extension.
        collector_metrics: URL of the Collector's own metrics.
        prometheus: Base URL.
        jaeger: Base URL.
        audit_file: Where the Collector writes threshold events.
        timeout: Seconds until something counts as missing in a backend.
        tenant: The canary's tenant, unique.
    """

    setup: str = ""
    collector_health: str | None = None
    collector_metrics: str | None = None
    prometheus: str | None = None
    jaeger: str | None = None
    audit_file: Path | None = None
    timeout: float = 30.0
    tenant: str = field(default_factory=_new_tenant)


def run(pipeline: Pipeline) -> Iterator[Hop]:
    """Send the canary and yield each hop as soon as it has been checked."""
    before = None
    if pipeline.collector_metrics:
        with suppress(OSError):  # the collector's own hop reports it
            before = collector.metrics(pipeline.collector_metrics)
    started = time.monotonic()
    try:
        reports = processes.run_canaries(pipeline.tenant, pipeline.setup, os.environ)
    except Problem as problem:
        yield timed(problem.hop("SDK set up"), started)
        return
    set_up = timed(processes.set_up(reports[0], pipeline.setup), started)
    yield set_up
    if any("signals" not in report for report in reports):
        return
    identity = processes.identity(reports)
    yield identity
    yield processes.call_path(reports[0])
    arrived: dict[str, Hop] = {}
    for signal in _SIGNALS:
        started = time.monotonic()
        hop = processes.sent(reports[0], signal)
        if hop.status == "passed":  # it may have failed in the other process
            hop = processes.sent(reports[1], signal)
        arrived[signal] = hop if hop.seconds else timed(hop, started)
        yield arrived[signal]
    yield from _behind_the_endpoint(pipeline, reports, arrived, identity, before)


def _behind_the_endpoint(
    pipeline: Pipeline,
    reports: list[dict[str, Any]],
    arrived: dict[str, Hop],
    identity: Hop,
    before: collector.CollectorMetrics | None,
) -> Iterator[Hop]:
    denials = [processes.denial(report) for report in reports]
    delta = "delta" in reports[0]["signals"].get("metrics", {}).get("temporality", ())
    instances = len(reports) if identity.status == "passed" else 1
    wait = pipeline.timeout
    backends: dict[str, Callable[[], Hop]] = {
        "metrics": lambda: prometheus.check(
            pipeline.prometheus, pipeline.tenant, delta=delta, processes=instances, wait=wait
        ),
        "traces": lambda: records.check_jaeger(pipeline.jaeger, denials, wait),
        "logs": lambda: records.check_audit_file(pipeline.audit_file, denials, wait),
    }
    for signal, check in backends.items():
        started = time.monotonic()
        if arrived[signal].status == "passed":
            yield timed(check(), started)
        else:
            yield Hop(_BEHIND[signal], "skipped", f"not reached: {arrived[signal].name}")
    # Last, because only now does it know what it failed to send.
    started = time.monotonic()
    yield timed(
        collector.check(pipeline.collector_health, pipeline.collector_metrics, before), started
    )


_BEHIND = {
    "metrics": "metrics in Prometheus",
    "traces": "trace in Jaeger",
    "logs": "event in the audit file",
}
