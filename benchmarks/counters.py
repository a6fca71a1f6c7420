"""What counting costs a Prometheus in the portable form and in the one for start times.

`python -m benchmarks.counters` sends the history of processes that are deployed twice a day, with
start times, and prints by query the ratio of CPU seconds, anchored to portable, asked in turn.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.queries import DAY, HOUR, MINUTE, ask
from collector.backends import BIN
from collector.stack import free_addresses
from collector.stack.services import START_TIMES
from dashboards.builder import queries

PROCESSES, SERIES, HOURS, ROUNDS = 20, 30, 26, 5
#: What is asked: the window, whether at one time only, and how many times over.
ASKED = {
    "a total over 24 hours": ("$__range", True, 2),
    "a chart over 24 hours, a point a minute": ("$__interval", False, 1),
    "an alert's ten minutes": ("10m", True, 20),
}


def _request(start: int, time_of: int) -> bytes:
    """What every process says at one time: each series has grown by 1 a minute."""
    life = start + (time_of - start) // (DAY // 2) * (DAY // 2)
    points = [
        {
            "asDouble": (time_of - life) // MINUTE + 1,
            "timeUnixNano": str(time_of * 10**9),
            "startTimeUnixNano": str((life - 1) * 10**9),
            "attributes": [
                {"key": key, "value": {"stringValue": str(value)}}
                for key, value in (("process", f"{process}-{life}"), ("series", series))
            ],
        }
        for process in range(PROCESSES)
        for series in range(SERIES)
    ]
    counter = {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points}
    metrics = {"scopeMetrics": [{"metrics": [{"name": "x", "sum": counter}]}]}
    return json.dumps({"resourceMetrics": [metrics]}).encode()


def _send(url: str, end: int) -> None:
    start = end - HOURS * HOUR
    for now in range(start, end + 1, MINUTE):
        request = urllib.request.Request(
            f"{url}/api/v1/otlp/v1/metrics",
            _request(start, now),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()


def _compare(url: str, process: int, end: int) -> None:
    for what, (window, instant, times) in ASKED.items():
        ratios = []
        for _ in range(ROUNDS):
            cpu = []
            for names in (queries.Names(), queries.Names(anchored=True)):
                expr = queries.by("sum", (), names.total("x_total", window))
                targets = [{"expr": expr, "instant": instant}] * times
                panel = {"gridPos": {"w": 12}, "interval": None, "targets": targets}
                seconds, _, said = ask(url, process, panel, DAY, end)
                if said:
                    raise SystemExit(f"{what}: {said}")
                cpu.append(seconds)
            ratios.append(cpu[1] / cpu[0])
        middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
        sys.stdout.write(f"{middle:5.2f} ({low:.2f} to {high:.2f})  {what}\n")


def main() -> None:
    """Send, ask, print."""
    address = free_addresses()["PROMETHEUS_ADDRESS"]
    url, end = f"http://{address}", int(time.time()) // MINUTE * MINUTE - MINUTE
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "prometheus.yml"
        configuration.write_text("global: {}\n")
        command = [str(BIN / "prometheus"), f"--config.file={configuration}", "--log.level=error"]
        command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
        command += ["--web.enable-otlp-receiver", f"--enable-feature={','.join(START_TIMES)}"]
        with subprocess.Popen(command) as server:
            try:
                _wait(url)
                _send(url, end)
                _compare(url, server.pid, end)
            finally:
                server.terminate()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("Prometheus did not start; its messages stand above.")


if __name__ == "__main__":
    main()
