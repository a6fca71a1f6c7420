"""What the real Collector says of its losses: the names that our rules and panels ask."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import history
from collector.stack import PROGRAMS, Stack
from dashboards.builder import collector_metrics
from promtool import backend
from support.probes import eventually, get_json, query


def post(stack: Stack, signal: str, payload: dict[str, Any]) -> None:
    """Send, whether or not the Collector takes it."""
    request = urllib.request.Request(
        f"{stack.otlp_http}/v1/{signal}",
        json.dumps(payload).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()


def some_spans(count: int) -> dict[str, Any]:
    now = str(time.time_ns())
    times = {"startTimeUnixNano": now, "endTimeUnixNano": now}
    ids = ({"traceId": f"{7:032x}", "spanId": f"{i + 1:016x}"} for i in range(count))
    spans = [{"name": "x" * 100, "kind": 1, **span_ids, **times} for span_ids in ids]
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def test_what_is_given_up_or_does_not_fit_is_counted_and_alerted() -> None:
    for program in PROGRAMS:
        backend(program)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(Path(directory), interval=1, environment={"OTELCOL_QUEUE_BYTES": "60000"}) as stack,
    ):
        # An empty Prometheus takes anything: let it have something of today.
        assert eventually(lambda: query(stack.prometheus, "up"))
        # Prometheus calls samples of five days ago wrong: the exporter gives them up.
        post(stack, "metrics", next(history.payloads(time.time() - 5 * 86400)))
        # Jaeger is gone, and the queue has room for 60 kB.
        stack.kill("jaeger")
        for _ in range(60):
            post(stack, "traces", some_spans(20))

        def firing() -> set[tuple[str | None, str | None]]:
            alerts = get_json(f"{stack.prometheus}/api/v1/alerts")["data"]["alerts"]
            return {
                (alert["labels"].get("exporter"), alert["labels"].get(collector_metrics.SIGNAL))
                for alert in alerts
                if alert["labels"]["alertname"] == "LLMBudgetCollectorDropping"
            }

        expected = {("otlp_http/prometheus", "metric_points"), ("otlp_grpc/jaeger", "spans")}
        assert eventually(firing, lambda found: expected <= found, timeout=60) >= expected
        full = query(
            stack.prometheus,
            f"max({collector_metrics.QUEUE_SIZE} / {collector_metrics.QUEUE_CAPACITY})",
        )
        assert 0.8 < full[0][1] <= 1.1
        enqueue = collector_metrics.counters("exporter_enqueue_failed")["spans"]
        assert query(stack.prometheus, enqueue)
        for where in ("receiver_refused", "receiver_failed"):
            for signal in ("spans", "metric_points"):
                assert query(stack.prometheus, collector_metrics.counters(where)[signal]), (
                    where,
                    signal,
                )
