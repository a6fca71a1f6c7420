"""The Collector's own metrics: what it loses, and how full its queues are."""

from __future__ import annotations

from typing import Final

#: The Collector's signals, as its own metrics name them.
SIGNALS: Final = ("spans", "metric_points", "log_records")

#: Where items are lost: refused by a full sending queue; given up by an exporter (which retries for
#: ever, so only what the receiver rejects as invalid); refused or failed on arrival.
LOSSES: Final = {
    "did not fit into a queue": ("exporter_enqueue_failed",),
    "given up by an exporter": ("exporter_send_failed",),
    "refused or failed on arrival": ("receiver_refused", "receiver_failed"),
}
QUEUE_SIZE: Final = "otelcol_exporter_queue_size"
QUEUE_CAPACITY: Final = "otelcol_exporter_queue_capacity"
#: What collector/config.yaml makes of what it receives: how far a process' clock is ahead of it.
CLOCK_AHEAD: Final = "budget_clock_ahead_seconds"
#: Labels that say where in a Collector an item was lost; our queries add `signal`.
SIGNAL: Final = "signal"
PLACE: Final = ("job", "instance", "exporter", "receiver", SIGNAL)


def counters(where: str) -> dict[str, str]:
    """The counters of one kind of loss: signal -> metric."""
    return {signal: f"otelcol_{where}_{signal}_total" for signal in SIGNALS}
