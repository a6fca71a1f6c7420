"""The Collector's hop: its health, and the refusals and queues in its own metrics."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from otel_budget.verify import http
from otel_budget.verify.hop import Hop, Problem

_LINE = re.compile(r"^(otelcol_\w+?)(?:\{(.*)\})?\s+([-+0-9.eE]+)$")
_NAME: Final = "collector healthy"
_RECEIVED: Final = re.compile("otelcol_receiver_(accepted|refused|failed)_")
_LIMITED: Final = "otelcol_processor_memory_limiter_refused_"
_REFUSED: Final = "otelcol_receiver_refused_"
_FAILED: Final = "otelcol_exporter_(enqueue|send)_failed_"
#: What the Collector calls the items of each signal.
_ITEMS: Final = {"traces": "spans", "metrics": "metric_points", "logs": "log_records"}


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

    def waiting(self, signal: str) -> list[str]:
        """The exporters in whose queues something of a signal waits."""
        return [
            _component(labels)
            for (name, labels), size in self.values.items()
            if name == "otelcol_exporter_queue_size" and size and f'"{signal}"' in labels
        ]


class Witness:
    """What the Collector's own metrics say of the canary.

    Args:
        url: Of these metrics; None if nobody named it.
    """

    def __init__(self, url: str | None) -> None:
        self.url = url
        self.before = CollectorMetrics()
        if url is not None:
            with suppress(OSError):  # the collector's own hop reports it
                self.before = metrics(url)

    def why(self, signal: str, detail: str) -> Problem | None:
        """Why a signal was refused, or does not get on; None if these metrics do not say."""
        if self.url is None:
            return None
        try:
            after = metrics(self.url)
        except OSError:
            return None
        found = _refusal(after, self.before, detail, f"{_ITEMS[signal]}$")
        if found is not None:
            return found
        waiting = after.waiting(signal)
        if not waiting:
            return None
        return Problem(
            f"{detail}; it waits in the collector's queue of {waiting[0]}",
            f"what {waiting[0]} sends to does not answer, or does not speak its protocol",
            "correct its address, TLS and login in the collector's configuration; the collector's "
            "log says what it tried, and what waits is sent by itself",
        )

    def check(self, health: str | None, *, sent: bool) -> Hop:
        """The Collector's hop.

        Args:
            health: URL of its health_check extension.
            sent: Whether it took any of the canary.
        """
        if not health and not self.url:
            return Hop(_NAME, "skipped", "pass --collector-health URL and --collector-metrics URL")
        if health:
            try:
                http.get(health)
            except (OSError, ValueError) as error:
                option = "--collector-health"
                return http.unreachable("the collector", option, health, error).hop(_NAME)
        if not self.url:
            shown = http.shown(health or "")
            return Hop(_NAME, "passed", f"{shown} is healthy; its queues were not checked")
        try:
            after = metrics(self.url)
        except OSError as error:
            what, option = "the collector's metrics endpoint", "--collector-metrics"
            return http.unreachable(what, option, self.url, error).hop(_NAME)
        if not after.values:
            return Problem(
                f"{http.shown(self.url)} has no metric of a collector",
                "another program's metrics are there",
                "correct --collector-metrics (the collector's usual port is 8888)",
            ).hop(_NAME)
        if sent and not after.grown(self.before, _RECEIVED):
            return Hop(_NAME, "skipped", "these metrics are those of another collector")
        refusal = _refusal(after, self.before, "")
        if refusal is not None:
            return refusal.hop(_NAME)
        full = after.full_queues()
        if full:
            return Problem(
                "queues nearly full: " + ", ".join(full),
                "a backend behind the collector is slow or down",
                "fix the backend; the queue then empties by itself",
            ).hop(_NAME)
        return Hop(_NAME, "passed", "nothing refused, nothing failed, queues have room")


def metrics(url: str) -> CollectorMetrics:
    """The Collector's metrics now. Raises OSError."""
    return CollectorMetrics.parse(http.get(url).decode(errors="replace"))


def _refusal(
    after: CollectorMetrics, before: CollectorMetrics, detail: str, items: str = ""
) -> Problem | None:
    """What the Collector refused or could not send, if anything; `items` ends the names."""

    def grown(pattern: str) -> dict[tuple[str, str], float]:
        return after.grown(before, re.compile(pattern + (f".*{items}" if items else "")))

    limited, failed, refused = grown(_LIMITED), grown(_FAILED), grown(_REFUSED)
    if limited:
        return Problem(
            detail or "refused during the check: " + _listed(limited),
            "the collector is at its memory limit",
            "raise limit_mib (and its memory), or add collectors",
        )
    if failed:
        listed = "could not be sent during the check: " + _listed(failed)
        files = [where for _, labels in failed if (where := _component(labels)).startswith("file")]
        if files:
            return Problem(
                f"{detail}; {listed}" if detail else listed,
                f"{files[0]} cannot write: the disk is full or read-only, or the collector may not "
                "write there",
                "make room, or correct OTELCOL_AUDIT_FILE; the collector's log has the system's "
                "words. Applications try again for two minutes, then denials are lost from it",
            )
        return Problem(
            f"{detail}; {listed}" if detail else listed,
            "a backend behind the collector is down, refuses the data, or its queue is full",
            "look in the collector's log for the exporter named here",
        )
    if refused:
        return Problem(
            detail or "refused during the check: " + _listed(refused),
            "the end of a pipeline refuses data",
            "the collector's log names the exporter and why",
        )
    return None


def _listed(grown: dict[tuple[str, str], float]) -> str:
    return ", ".join(
        f"{int(value)} {name.removeprefix('otelcol_')} ({_component(labels)})"
        for (name, labels), value in sorted(grown.items())
    )


def _component(labels: str) -> str:
    match = re.search(r'(?:exporter|receiver|processor)="([^"]*)"', labels)
    return match[1] if match else labels
