"""What the dashboards cost a Prometheus that holds a fleet's history: `make bench-queries`.

Writes the history of a fleet that is deployed twice a day, with short jobs, and its records;
serves it with a real Prometheus and asks each query of each dashboard, everything chosen, as
Grafana asks it at 1600 pixels. Numbers are CPU seconds and peak memory of the Prometheus process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.backends import BIN, ROOT
from collector.stack import free_addresses
from dashboards.builder import scope
from dashboards.builder.labels import JOB, label
from dashboards.builder.queries import Names
from dashboards.builder.rules import alert_model, fleet_records, forecast_records
from otel_budget import semconv

MINUTE, HOUR, DAY = 60, 3600, 86400
RANGES = {"6h": 6 * HOUR, "24h": DAY, "7d": 7 * DAY}
#: The goals: CPU seconds and MB of a panel, CPU seconds of a whole dashboard at 24 h.
PANEL_SECONDS, PANEL_MB, BOARD_SECONDS = 2.0, 1000, 8.0
#: With these, a process has about 290 series: it counts for all tenants, tells the levels of some.
TENANTS, TOLD = 18, 10
Series = list[tuple[str, str]]


def _labels(**attributes: str) -> str:
    return ",".join(f'{label(name)}="{value}"' for name, value in attributes.items())


def series_of_a_process() -> Series:
    """Name and labels of each series of one process: every one of them grows by 1 a minute."""
    found = []
    for number in range(TENANTS):
        who = {semconv.TENANT: f"tenant-{number:02}", semconv.AGENT: f"agent-{number % 5}"}
        for metric in fleet_records.COUNTED:
            if metric is semconv.METRIC_UNPRICED_CALLS and number % 2:
                continue
            first = {a: _FIRST.get(a, "x") for a in metric.attributes}
            values = _SEVERAL.get(metric.name, ("", ("",)))
            for value in values[1]:
                own = first | ({values[0]: value} if values[0] else {})
                found.append((metric.name, _labels(**who, **own)))
    name = semconv.METRIC_GUARD_DURATION.name
    for point in (semconv.POINT_LLM, semconv.POINT_TOOL):
        own = {semconv.DECISION_POINT: point, semconv.GUARD_NAME: "redis"}
        bounds = (*map(str, semconv.GUARD_DURATION_BUCKETS), "+Inf")
        found += [(name, _labels(**own) + f',le="{bound}"') for bound in bounds]
    return found


_FIRST = {
    semconv.DECISION_POINT: semconv.POINT_LLM,
    semconv.KIND: semconv.KIND_HARD,
    semconv.METRIC_MODEL: "claude-sonnet-4-5",
}
_SEVERAL = {
    semconv.METRIC_DECISIONS.name: (semconv.DECISION, (semconv.ALLOW, semconv.DENY, semconv.ERROR)),
    semconv.METRIC_TOKENS.name: (
        semconv.TOKEN_TYPE,
        (
            semconv.TOKENS_INPUT,
            semconv.TOKENS_OUTPUT,
            semconv.TOKENS_CACHE_READ,
            semconv.TOKENS_CACHE_WRITE,
        ),
    ),
}


#: What each process tells of a tenant's budget: of a day, shared by all processes, USD 100.
_LIMIT = 100.0
_LEVELS: dict[str, Callable[[int], float]] = {
    Names().of(metric): value
    for metric, value in (
        (semconv.METRIC_CONSUMED, lambda t: 0.8 * _LIMIT * (t % DAY) / DAY),
        (semconv.METRIC_UTILIZATION, lambda t: 0.8 * (t % DAY) / DAY),
        (semconv.METRIC_LIMIT, lambda t: _LIMIT),
        (semconv.METRIC_WINDOW_LENGTH, lambda t: DAY),
        (semconv.METRIC_WINDOW_REMAINING, lambda t: DAY - t % DAY),
    )
}
#: What rules record of it, and their labels beside the budget's.
_OF_BUDGETS: dict[str, tuple[str, Callable[[int], float]]] = {
    alert_model.FORECAST: (
        f',{forecast_records.STATE}="{forecast_records.LASTS}"',
        lambda t: 1,
    ),
    alert_model.UTILIZATION: ("", lambda t: 0.8 * (t % DAY) / DAY),
    alert_model.EXHAUSTION: ("", lambda t: 1.25 * (DAY - 0.8 * (t % DAY))),
    alert_model.least("1h"): ("", lambda t: 0.8 * _LIMIT / 24),
    alert_model.most("1h"): ("", lambda t: 0.8 * _LIMIT / 24),
    alert_model.recorded("1h"): ("", lambda t: 0.8 * _LIMIT / 24),
}


def _budget(tenant: int) -> str:
    who = {semconv.TENANT: f"tenant-{tenant % TENANTS:02}", semconv.GUARD_NAME: "redis"}
    what = {semconv.RESOURCE: "llm_cost_usd", semconv.UNIT: "USD", semconv.WINDOW: "day"}
    return _labels(**who, **what, **{semconv.SOURCE: "guard", semconv.SHARED: "true"})


def _levels(lives: Any, start: int, end: int, *, records: bool) -> Iterator[str]:
    """The budgets as each process tells them, and as rules record them."""
    for name, value in _LEVELS.items():
        yield f"# TYPE {name} unknown\n"
        for number, (instance, birth, death) in enumerate(lives):
            if instance.startswith("job"):
                continue
            times = range(max(birth, start), min(death, end), MINUTE)
            for tenant in range(number, number + TOLD):
                head = f'{name}{{{JOB}="agents",instance="{instance}",{_budget(tenant)}}}'
                yield from (f"{head} {value(t)} {t}\n" for t in times)
    for name, (more, value) in _OF_BUDGETS.items() if records else ():
        yield f"# TYPE {name} unknown\n"
        for tenant in range(TENANTS):
            head = f"{name}{{{_budget(tenant)}{more}}}"
            yield from (f"{head} {value(t)} {t}\n" for t in range(start, end, MINUTE))


def _compared(options: argparse.Namespace, end: int) -> Iterator[str]:
    """Of the last half hour, what the records are compared by; less than a minute's is missing."""
    cost = semconv.METRIC_COST
    mine = [labels for found, labels in series_of_a_process() if found == cost.name]
    minutes = options.processes * DAY // MINUTE
    for record, value in (
        (fleet_records.total(cost, fleet_records.COMPARED), minutes),
        (fleet_records.recorded(cost), minutes - 1),
    ):
        yield f"# TYPE {record} unknown\n"
        yield from (f'{record}{{{JOB}="agents",{labels}}} {value} {end}\n' for labels in mine)


def _names() -> dict[str, tuple[str, str]]:
    """How each metric is called in Prometheus, and its records."""
    names, duration = Names(), semconv.METRIC_GUARD_DURATION
    found = {m.name: (names.of(m), fleet_records.total(m, "")) for m in fleet_records.COUNTED}
    found[duration.name] = (names.of(duration, "_bucket"), fleet_records.bucket_total(duration, ""))
    return found


def lives_of(options: argparse.Namespace, start: int, end: int) -> list[tuple[str, int, int]]:
    """Instance, birth and end of every process and job."""
    lives = [
        (f"{process}-{birth}", birth, min(birth + DAY // 2, end))
        for birth in range(start, end, DAY // 2)
        for process in range(options.processes)
    ]
    every = DAY / max(options.jobs, 1)
    jobs = int((end - start) / every) if options.jobs else 0
    return lives + [
        (f"job-{n}", at, at + MINUTE)
        for n in range(jobs)
        for at in [start + int(n * every) // MINUTE * MINUTE]
    ]


def _lines(options: argparse.Namespace, lives: Any, start: int, end: int) -> Iterator[str]:
    """The samples from `start` until `end` as OpenMetrics."""
    for metric, (name, record) in _names().items():
        mine = [labels for found, labels in series_of_a_process() if found == metric]
        yield f"# TYPE {name} unknown\n"
        for instance, birth, death in lives:
            times = range(max(birth, start), min(death, end), MINUTE)
            samples = [f" {(t - birth) // MINUTE + 1} {t}\n" for t in times]
            few = mine[:6] if instance.startswith("job") else mine
            for labels in few if samples else ():
                head = f'{name}{{{JOB}="agents",instance="{instance}",{labels}}}'
                yield from (head + sample for sample in samples)
        for window in fleet_records.WINDOWS if options.records else ():
            seconds = int(window[:-1]) * MINUTE
            yield f"# TYPE {record}{window} unknown\n"
            value = options.processes * seconds // MINUTE
            for labels in mine:
                head = f'{record}{window}{{{JOB}="agents",{labels}}}'
                yield from (f"{head} {value} {t}\n" for t in range(start, end, seconds))


def write(options: argparse.Namespace, data: Path, end: int) -> int:
    """The history as blocks; returns how many series a process has."""
    start = end - int(options.days * DAY)
    lives = lives_of(options, start, end)
    text = data / "samples.txt"
    for begin in range(start, end, 2 * HOUR):
        with text.open("w", encoding="utf-8") as file:
            until = min(begin + 2 * HOUR, end)
            file.writelines(_lines(options, lives, begin, until))
            file.writelines(_levels(lives, begin, until, records=options.records))
            if until == end and options.records:
                file.writelines(_compared(options, end - MINUTE))
            file.write("# EOF\n")
        command = [str(BIN / "promtool"), "tsdb", "create-blocks-from", "openmetrics", "-q"]
        subprocess.run([*command, str(text), str(data)], check=True)
        sys.stdout.write(f"\rhistory: {(begin - start) / (end - start):.0%} ")
        sys.stdout.flush()
    text.unlink()
    return len(series_of_a_process()) + len(_LEVELS) * TOLD


def _filled(expr: str, seconds: int, step: int, end: int) -> str:
    for name, value in {
        "$__rate_interval": f"{max(step + MINUTE, 4 * MINUTE)}s",
        "$__range": f"{seconds}s",
        "$__interval": f"{step}s",
        "$__to": str(end * 1000),
        scope.RECORDS: fleet_records.WINDOWS[seconds > scope.FINE_UP_TO],
    }.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\{\w+:regex\}", scope.ALL_VALUE, expr)


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked(panel: Any, seconds: int, end: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """How Grafana asks for a panel: the last part of the path, and the parameters of each query."""
    if "timeFrom" in panel:  # since midnight, whatever is selected: at most a day
        seconds = DAY
    width = 1600 * panel["gridPos"]["w"] // 24
    least = 5 * MINUTE if panel["interval"] == scope.RECORDS and seconds > DAY else MINUTE
    step = max(least, -(-seconds // width) // MINUTE * MINUTE)
    for target in panel["targets"]:
        said: dict[str, Any] = {"query": _filled(target["expr"], seconds, step, end), "time": end}
        if not target["instant"]:
            said |= {"start": end - seconds, "end": end, "step": step}
        yield "query" if target["instant"] else "query_range", said


def ask(url: str, process: int, panel: Any, seconds: int, end: int) -> tuple[float, float, str]:
    """CPU seconds and peak MB of one panel's queries, and what went wrong or is missing."""
    Path(f"/proc/{process}/clear_refs").write_text("5")
    before, error, empty = _cpu(process), "", True
    for path, parameters in asked(panel, seconds, end):
        body = urllib.parse.urlencode(parameters).encode()
        try:
            answer = urllib.request.urlopen(f"{url}/api/v1/{path}", body, timeout=600).read()
            empty = empty and b'"result":[]' in answer
        except OSError as failed:
            error = str(failed)
    status = Path(f"/proc/{process}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    said = error or "(no data)" * empty
    return _cpu(process) - before, int(peak[1]) / 1000 if peak else 0.0, said


def _table(url: str, process: int, days: float, end: int) -> None:
    for file in sorted((ROOT / "dashboards" / "grafana").glob("*.json")):
        boards = json.loads(file.read_text())["panels"]
        asking = [panel for panel in boards if panel.get("targets")]
        for name, seconds in RANGES.items():
            if seconds > days * DAY:
                continue
            whole = 0.0
            sys.stdout.write(f"\n{file.stem}, {name}\n")
            for panel in asking:
                cpu, peak, said = ask(url, process, panel, seconds, end)
                whole += cpu
                over = " OVER" if cpu > PANEL_SECONDS or peak > PANEL_MB else ""
                sys.stdout.write(f"  {cpu:6.2f} s {peak:6.0f} MB  {panel['title']}{over} {said}\n")
            over = " OVER" if name == "24h" and whole > BOARD_SECONDS else ""
            sys.stdout.write(f"  {whole:6.2f} s whole dashboard{over}\n")


def main() -> None:
    """Write the history, ask, print."""
    parser = argparse.ArgumentParser(prog="make bench-queries", description=__doc__)
    parser.add_argument("--processes", type=int, default=10, help="alive at a time (fleet: 100)")
    parser.set_defaults(records=True)
    parser.add_argument("--jobs", type=int, default=100, help="short jobs a day (fleet: 1000)")
    parser.add_argument("--days", type=float, default=1, help="of history (fleet: 7)")
    options = parser.parse_args()
    end = int(time.time()) // MINUTE * MINUTE - MINUTE
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        series = write(options, data, end)
        sys.stdout.write(
            f"\n{options.processes} processes of {series} series, {options.jobs} jobs a day, "
            f"{options.days:g} days\nGoals: a panel {PANEL_SECONDS:g} s and {PANEL_MB} MB, "
            f"a dashboard at 24h {BOARD_SECONDS:g} s of CPU\n"
        )
        with serving(data) as (url, process):
            settle(url, process)
            _table(url, process, options.days, end)


@contextmanager
def serving(data: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """A Prometheus over a folder of data: its URL and process id."""
    address = free_addresses()["PROMETHEUS_ADDRESS"]
    configuration = data / "prometheus.yml"
    configuration.write_text("storage: {tsdb: {out_of_order_time_window: 12h}}\n")
    command = [str(BIN / "prometheus"), f"--config.file={configuration}"]
    command += [f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
    command += ["--storage.tsdb.retention.time=60d", "--log.level=error", *arguments]
    with subprocess.Popen(command) as server:
        try:
            yield f"http://{address}", server.pid
        finally:
            server.terminate()


def settle(url: str, process: int) -> None:
    """Until it serves and has compacted its blocks, as those of a live one are.

    It begins with that after a minute. What is asked meanwhile reads many small blocks, and the
    compaction would be counted as the query's.
    """
    deadline = time.monotonic() + 1800
    before, still = 0.0, 0
    while still < 5:
        if time.monotonic() > deadline:
            raise SystemExit("Prometheus did not start or settle; its messages stand above.")
        time.sleep(1)
        now = _cpu(process)
        still, before = (still + 1 if now - before < 0.1 else 0), now
        try:
            told = urllib.request.urlopen(f"{url}/metrics", timeout=5).read().decode()
        except OSError:
            told = ""
        if not re.search(r"^prometheus_tsdb_compactions_triggered_total [1-9]", told, re.M):
            still = 0


if __name__ == "__main__":
    main()
