"""The Collector's hop: its health, and the refusals and queues in its own metrics."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from otel_budget.verify import http
from otel_budget.verify.hop import Hop

_LINE = re.compile(r"^(otelcol_\w+?)(?:\{(.*)\})?\s+([-+0-9.eE]+)$")
_REFUSED = re.compile(r"otelcol_(receiver|processor_memory_limiter)_refused_")
_FAILED = re.compile(r"otelcol_exporter_(enqueue|send)_failed_")


@dataclass
class CollectorMetrics:
    """The Collector's own metrics at one moment: value by name and labels."""

    values: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> CollectorMetrics:
        """Read the Prometheus text format, as far as the Collector writes it."""
        found = cls()
        for line in text.splitlines():
            match = _LINE.match(line)
            if match:
                found.values[match[1].removesuffix("_total"), match[2] or ""] = float(match[3])
        return found

    def grown(
        self, before: CollectorMetrics, pattern: re.Pattern[str]
    ) -> dict[tuple[str, str], float]:
        """The matching values that grew since `before`, and by how much."""
        return {
            key: value - before.values.get(key, 0.0)
            for key, value in self.values.items()
            if pattern.match(key[0]) and value > before.values.get(key, 0.0)
        }

    def full_queues(self, share: float = 0.8) -> list[str]:
        """The queues that are more than `share` full."""
        full = []
        for (name, labels), size in self.values.items():
            capacity = self.values.get((name.replace("_size", "_capacity"), labels), 0.0)
            if name == "otelcol_exporter_queue_size" and capacity and size > share * capacity:
                full.append(f"{_component(labels)} {size / capacity:.0%}")
        return full


def metrics(url: str) -> CollectorMetrics:
    """The Collector's metrics now. Raises OSError."""
    return CollectorMetrics.parse(http.get(url).decode(errors="replace"))


def check(health: str | None, url: str | None, before: CollectorMetrics | None) -> Hop:
    """The Collector's hop.

    Args:
        health: URL of its health_check extension.
        url: URL of its own metrics.
        before: Its metrics before the canary.
    """
    name = "collector healthy"
    if not health and not url:
        return Hop(name, "skipped", "pass --collector-health URL and --collector-metrics URL")
    if health:
        try:
            http.get(health)
        except (OSError, ValueError) as error:
            return http.unreachable("the collector", "--collector-health", health, error).hop(name)
    if not url:
        return Hop(name, "passed", f"{health} is healthy; its queues were not checked")
    try:
        after = metrics(url)
    except (OSError, ValueError) as error:
        return http.unreachable(
            "the collector's metrics endpoint", "--collector-metrics", url, error
        ).hop(name)
    before = before or CollectorMetrics()
    refused, failed = after.grown(before, _REFUSED), after.grown(before, _FAILED)
    full = after.full_queues()
    if refused:
        return Hop(
            name,
            "failed",
            "refused during the check: " + _listed(refused),
            "the memory limiter is at its limit, or the end of a pipeline refuses data",
            "raise limit_mib, or add collectors",
        )
    if failed:
        return Hop(
            name,
            "failed",
            "could not be sent during the check: " + _listed(failed),
            "a backend behind the collector is down, refuses the data, or its queue is full",
            "look in the collector's log for the exporter named here",
        )
    if full:
        return Hop(
            name,
            "failed",
            "queues nearly full: " + ", ".join(full),
            "a backend behind the collector is slow or down",
            "fix the backend; the queue then empties by itself",
        )
    return Hop(name, "passed", "nothing refused, nothing failed, queues have room")


def _listed(grown: dict[tuple[str, str], float]) -> str:
    return ", ".join(
        f"{int(value)} {name.removeprefix('otelcol_')} ({_component(labels)})"
        for (name, labels), value in sorted(grown.items())
    )


def _component(labels: str) -> str:
    match = re.search(r'(?:exporter|receiver|processor)="([^"]*)"', labels)
    return match[1] if match else labels
