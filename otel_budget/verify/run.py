"""Checks all hops in turn."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from otel_budget.verify import clocks, collector, expected, processes, prometheus, records
from otel_budget.verify.hop import Hop, Problem, Why, timed
from otel_budget.verify.series import Sender

_SIGNALS: Final = ("traces", "metrics", "logs")
_PROMETHEUS: Final = "Prometheus"


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
    witness = collector.Witness(pipeline.collector_metrics)
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
    yield processes.identity(reports)
    yield processes.call_path(reports[0])
    started = time.monotonic()
    ahead = clocks.ahead_of(_programs(pipeline, reports[0]))
    yield timed(clocks.check(ahead), started)

    def why(signal: str) -> Why:
        def ask(detail: str) -> Problem | None:
            disk = records.disk_problem(pipeline.audit_file, detail) if signal == "logs" else None
            elsewhere = processes.elsewhere(reports[0], signal, detail)
            return disk or elsewhere or witness.why(signal, detail)

        return ask

    arrived: dict[str, Hop] = {}
    for signal in _SIGNALS:
        started = time.monotonic()
        hop = processes.sent(reports[0], signal, why(signal))
        if hop.status == "passed":  # it may have failed in the other process
            hop = processes.sent(reports[1], signal, why(signal))
        arrived[signal] = hop if hop.seconds else timed(hop, started)
        yield arrived[signal]
    yield from _in_backends(pipeline, reports, arrived, ahead.get(_PROMETHEUS), why)
    started = time.monotonic()
    yield timed(prometheus.check_late_samples(pipeline.prometheus), started)
    # Last, because only now does it know what it failed to send.
    started = time.monotonic()
    sent = any(hop.status == "passed" for hop in arrived.values())
    yield timed(witness.check(pipeline.collector_health, sent=sent), started)


def _programs(pipeline: Pipeline, report: dict[str, Any]) -> dict[str, str | None]:
    collectors = (pipeline.collector_health, pipeline.collector_metrics, processes.otlp_url(report))
    return {
        "the collector": next((url for url in collectors if url), None),
        _PROMETHEUS: pipeline.prometheus,
        "Jaeger": pipeline.jaeger,
    }


def _in_backends(
    pipeline: Pipeline,
    reports: list[dict[str, Any]],
    arrived: dict[str, Hop],
    ahead: float | None,
    why: Callable[[str], Why],
) -> Iterator[Hop]:
    denials = [processes.denial(report) for report in reports]
    wait = pipeline.timeout

    def metrics() -> Hop:
        described = reports[0]["signals"]["metrics"]
        sender = Sender(
            pipeline.tenant,
            processes.instances(reports),
            described["resource"],
            delta="delta" in described["temporality"],
            ahead=ahead,
        )
        return prometheus.check(pipeline.prometheus, sender, wait, why("metrics"))

    backends: dict[str, Callable[[], Hop]] = {
        "metrics": metrics,
        "traces": lambda: records.check_jaeger(
            pipeline.jaeger, pipeline.tenant, denials, wait, why("traces")
        ),
        "logs": lambda: records.check_audit_file(
            pipeline.audit_file, pipeline.tenant, len(reports), wait, why("logs")
        ),
    }
    for signal, check in backends.items():
        started = time.monotonic()
        if arrived[signal].status == "passed":
            yield timed(check(), started)
        else:
            yield Hop(_BEHIND[signal], "skipped", f"not reached: {arrived[signal].name}")


_BEHIND = {
    "metrics": "metrics in Prometheus",
    "traces": "trace in Jaeger",
    "logs": "event in the audit file",
}
