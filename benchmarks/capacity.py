"""What a store needs for a fleet: ``make bench-capacity``; docs/operating/capacity.md has results.

All of it is counted (series, samples, bytes), so other programs on the machine do not disturb it:
what one process exports, by the adapter itself; a head and blocks of Prometheus with the history of
`benchmarks.queries`, with jobs and without, with records and without; and how many samples the
panels read of each.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader

from benchmarks import queries
from benchmarks.queries import DAY, HOUR, MINUTE
from collector.backends import ROOT
from otel_budget import FlatRates, SessionInfo, TokenUsage, instrument
from otel_budget.guards import Limit, WindowGuard
from otel_budget.telemetry.hubs import poll_levels

#: What a head holds before it is written to a block: Prometheus writes at three hours.
HEAD_HOURS = 3
MB = 1e6


def _exported(tenants: int, agents: int = 1, models: int = 1) -> int:
    """The series in Prometheus of a process that has served these, each within budget."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    rates = FlatRates(input=3.0, output=15.0)
    inner = WindowGuard(Limit(1e6), session_info=_who, prices=rates)
    guard = instrument(inner, session_info=_who, prices=rates, meter_provider=provider)
    usage = TokenUsage(prompt_tokens=100, completion_tokens=20, total_tokens=120)
    for tenant in range(tenants):
        for agent in range(agents):
            for model in range(models):
                session = f"tenant-{tenant}/agent-{agent}/model-{model}"
                guard.check_before_llm(session, 100)
                guard.record_after_llm(session, usage)
            guard.check_before_tool(session, "search")
    poll_levels()
    data: Any = reader.get_metrics_data()
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    found = 1  # target_info
    for metric in metrics:
        for point in metric.data.data_points:
            histogram = isinstance(metric.data, Histogram)
            # Each bound and +Inf, the sum and the count.
            found += len(point.explicit_bounds) + 3 if histogram else 1
    provider.shutdown()
    return found


def _who(session: str) -> SessionInfo:
    tenant, agent, model = session.split("/")
    return SessionInfo(tenant=tenant, agent=agent, model=model, provider="openai")


def adapter() -> None:
    """Series of a process, and of each tenant, agent and model more."""
    one = _exported(1)
    _say(f"a process with one tenant, agent and model: {one} series")
    _say(f"each tenant more, with an agent: {(_exported(11) - one) / 10:g}")
    _say(f"each agent more of a tenant: {(_exported(1, 11) - one) / 10:g}")
    _say(f"each model more of an agent: {(_exported(1, 1, 11) - one) / 10:g}")


def _requests(options: argparse.Namespace, end: int) -> Iterator[bytes]:
    """What the living processes and jobs of the head's hours export, minute by minute."""
    start = end - HEAD_HOURS * HOUR
    lives = queries.lives_of(options, start, end)
    mine = queries.series_of_a_process()
    few = [
        one
        for name in dict.fromkeys(name for name, _ in mine)
        for one in [m for m in mine if m[0] == name][:6]
    ]
    for now in range(start, end, MINUTE):
        points: dict[str, list[dict[str, Any]]] = {}
        for instance, birth, death in lives:
            if not birth <= now < death:
                continue
            for name, labels in few if instance.startswith("job") else mine:
                pairs = [*re.findall(r'(\w+)="([^"]*)"', labels), ("process", instance)]
                point = {
                    "asDouble": (now - birth) // MINUTE + 1,
                    "timeUnixNano": str(now * 10**9),
                    "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in pairs],
                }
                points.setdefault(name, []).append(point)
        metrics = [
            {
                "name": name,
                "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": p},
            }
            for name, p in points.items()
        ]
        body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
        yield json.dumps(body).encode()


def head(options: argparse.Namespace, end: int) -> tuple[int, float]:
    """Series in the head of a Prometheus after its hours, and the bytes that they hold."""
    with (
        tempfile.TemporaryDirectory() as folder,
        queries.serving(Path(folder), "--web.enable-otlp-receiver") as (url, _),
    ):
        _until_ready(url)
        empty = _held(url)
        for body in _requests(options, end):
            request = urllib.request.Request(
                f"{url}/api/v1/otlp/v1/metrics", body, {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=60).close()
        return int(_metric(url, "prometheus_tsdb_head_series")), _held(url) - empty


def _until_ready(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("Prometheus did not start; its messages stand above.")


def _metric(url: str, name: str) -> float:
    told = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    found = re.search(rf"^{name} (\S+)", told, re.M)
    if found is None:
        raise SystemExit(f"Prometheus does not tell {name}.")
    return float(found[1])


def _held(url: str) -> float:
    """Bytes in use after a collection of garbage, which a heap profile asks for."""
    for _ in range(2):
        urllib.request.urlopen(f"{url}/debug/pprof/heap?gc=1", timeout=60).read()
    return _metric(url, "go_memstats_heap_inuse_bytes")


def _on_disk(data: Path) -> tuple[int, int, int, int]:
    """Series and samples of all blocks, and the bytes of their chunks and their indexes."""
    total: Counter[str] = Counter()
    for meta in data.glob("*/meta.json"):
        stats = json.loads(meta.read_text())["stats"]
        total["series"] += stats["numSeries"]
        total["samples"] += stats["numSamples"]
        total["chunks"] += sum(file.stat().st_size for file in meta.parent.glob("chunks/*"))
        total["index"] += (meta.parent / "index").stat().st_size
    return total["series"], total["samples"], total["chunks"], total["index"]


def _read(url: str, seconds: int, end: int) -> dict[str, tuple[int, int]]:
    """By dashboard, the samples that a refresh reads, and the most at once of a query."""
    found = {}
    for file in sorted((ROOT / "dashboards" / "grafana").glob("*.json")):
        read = most = 0
        for panel in json.loads(file.read_text())["panels"]:
            for path, parameters in (
                queries.asked(panel, seconds, end) if "targets" in panel else ()
            ):
                body = urllib.parse.urlencode(parameters | {"stats": "all"}).encode()
                with urllib.request.urlopen(f"{url}/api/v1/{path}", body, timeout=600) as answer:
                    samples = json.loads(answer.read())["data"]["stats"]["samples"]
                read += samples["totalQueryableSamples"]
                most = max(most, samples["peakSamples"])
        found[file.stem] = (read, most)
    return found


def history(options: argparse.Namespace, end: int) -> None:
    """What a day of history takes on disk, compacted, and what the panels read of it."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        queries.write(options, data, end)
        with queries.serving(data) as (url, process):
            queries.settle(url, process)
            series, samples, chunks, index = _on_disk(data)
            read = _read(url, DAY, end) if options.records else {}
    _say(
        f"\n{_named(options)}: {series:,} series and {samples / MB:.2f} M samples on disk in "
        f"{chunks / MB:.1f} MB of chunks and {index / MB:.1f} MB of index"
    )
    for board, (all_of_it, most) in read.items():
        _say(f"  {board}, 24 h: reads {all_of_it / MB:.1f} M samples, at most {most:,} at once")


def _named(options: argparse.Namespace) -> str:
    records = "" if options.records else ", no records"
    return f"{options.processes} processes, {options.jobs} jobs a day{records}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench-capacity", description=__doc__)
    parser.add_argument("--processes", type=int, default=10, help="alive at a time")
    parser.add_argument("--jobs", type=int, default=1000, help="short jobs a day")
    chosen = parser.parse_args()
    adapter()
    end = int(time.time()) // MINUTE * MINUTE - MINUTE
    for jobs, records in ((0, False), (0, True), (chosen.jobs, True), (10 * chosen.jobs, True)):
        options = argparse.Namespace(processes=chosen.processes, jobs=jobs, days=1, records=records)
        if records:
            series, held = head(options, end)
            _say(
                f"\n{_named(options)}: {series:,} series in the head after {HEAD_HOURS} hours, "
                f"{held / MB:.1f} MB"
            )
        history(options, end)


if __name__ == "__main__":
    main()
