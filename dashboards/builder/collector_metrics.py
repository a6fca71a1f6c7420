"""Names that other programs give: the Collector's own metrics and Prometheus' rule series."""

from __future__ import annotations

from typing import Final

#: The Collector's signals, as its own metrics name them.
SIGNALS: Final = ("spans", "metric_points", "log_records")

#: Where items are lost: refused by a full sending queue; given up by an exporter (with retries for
#: ever only what the receiver of the data called wrong); refused or failed on arrival.
LOSSES: Final = {
    "did not fit into a queue": ("exporter_enqueue_failed",),
    "given up by an exporter": ("exporter_send_failed",),
    "refused or failed on arrival": ("receiver_refused", "receiver_failed"),
}
QUEUE_SIZE: Final = "otelcol_exporter_queue_size"
QUEUE_CAPACITY: Final = "otelcol_exporter_queue_capacity"
#: Labels that say where in a Collector an item was lost; `signal` is added by our queries.
SIGNAL: Final = "signal"
PLACE: Final = ("job", "instance", "exporter", "receiver", SIGNAL)


def counters(where: str) -> dict[str, str]:
    """The counters of one kind of loss: signal -> metric."""
    return {signal: f"otelcol_{where}_{signal}_total" for signal in SIGNALS}
