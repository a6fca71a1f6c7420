"""Names that other programs give: the Collector's own metrics and Prometheus' rule series."""

from __future__ import annotations

from typing import Final

#: The Collector's signals, as its own metrics name them.
SIGNALS: Final = ("spans", "metric_points", "log_records")

#: Items lost: refused by a full sending queue, given up by an exporter (with retries for ever
#: only what the receiver of the data called wrong), refused or failed on arrival.
LOST: Final = tuple(
    f"otelcol_{where}_{signal}_total"
    for where in (
        "exporter_enqueue_failed",
        "exporter_send_failed",
        "receiver_refused",
        "receiver_failed",
    )
    for signal in SIGNALS
)
QUEUE_SIZE: Final = "otelcol_exporter_queue_size"
QUEUE_CAPACITY: Final = "otelcol_exporter_queue_capacity"
#: Labels that say where in a Collector an item was lost.
PLACE: Final = ("job", "instance", "exporter", "receiver")
