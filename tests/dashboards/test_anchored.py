"""Dashboards and rules written with `--anchored`, on a real Prometheus that stores start times.

Known histories of two days are sent by OTLP, with start times as the Collector's overlay
`start-times` passes them on, and asked in both forms.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.stack import Stack, free_addresses
from collector.stack.services import START_TIMES
from dashboards.builder import output, thresholds
from dashboards.builder import queries as q
from dashboards.builder.__main__ import main
from otel_budget import semconv as sc
from panel_queries import ask, last
from process_histories import BORN, DAY, EXACT, LENGTH, RESTARTS, RUNS, History, history
from promtool import backend, promtool
from support import probes
from support.applications import Application, Scripted
from support.probes import eventually, get_json, query
from test_dashboards import panels

#: What waited in the Collector's queue for 75 minutes, and came when the rest had come.
_LATE = range(2400, 2475)
HISTORIES = EXACT | RESTARTS | BORN | RUNS | {"late": history(range(LENGTH))}
#: Minutes after which a silent process is not recognised: those of `ANCHORED_MEMORY`, and the five
#: that Prometheus looks back.
_MEMORY = 65
WINDOWS = {"1m": 1, "10m": 10, "1h": 60, "6h": 360, "1d": DAY}
FORMS = {"portable": q.Names(), "anchored": q.Names(anchored=True)}
FILES = output.files(thresholds.load(), anchored=True)
#: Every 23 minutes of the second day, 20 seconds after the minute.
_INSTANTS, _AFTER = range(DAY + 11, LENGTH - 1, 23), 20
Answers = Mapping[str, Mapping[int, float]]


def _points(
    name: str, minutes: Collection[int], base: int, *, late: bool = False
) -> Iterator[dict[str, Any]]:
    told = HISTORIES[name]
    for minute in minutes:
        if minute in told.samples and (name == "late" and minute in _LATE) == late:
            life = told.lives[minute]
            start = base - 7200 if life is None else base + 60 * life - 1
            yield {
                "asDouble": told.samples[minute],
                "timeUnixNano": str((base + 60 * minute) * 10**9),
                "startTimeUnixNano": str(start * 10**9),
                "attributes": [{"key": "name", "value": {"stringValue": name}}],
            }


def _send(url: str, points: list[dict[str, Any]]) -> None:
    metric = {"name": "x", "sum": {"aggregationTemporality": 2, "isMonotonic": True}}
    metric["sum"]["dataPoints"] = points  # type: ignore[index]
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
    answer = probes.ask(
        f"{url}/api/v1/otlp/v1/metrics",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert answer.status == 200, answer.body


@pytest.fixture(scope="module")
def base() -> int:
    """When (Unix time) the histories begin: two days ago."""
    return int(time.time()) // 60 * 60 - 60 * LENGTH


@pytest.fixture(scope="module")
def told(base: int) -> Iterator[str]:
    """A Prometheus that was told the histories, and nothing later."""
    program, address = backend("prometheus"), free_addresses()["PROMETHEUS_ADDRESS"]
    with tempfile.TemporaryDirectory() as directory:
        configuration = Path(directory) / "prometheus.yml"
        configuration.write_text("storage: {tsdb: {out_of_order_time_window: 12h}}")
        command = [program, f"--config.file={configuration}", "--web.enable-otlp-receiver"]
        command += [f"--storage.tsdb.path={directory}/data", f"--web.listen-address={address}"]
        command += [f"--enable-feature={','.join(START_TIMES)}", "--log.level=error"]
        with subprocess.Popen(command) as server:
            try:
                url = f"http://{address}"
                eventually(lambda: query(url, "vector(1)"))
                for start in range(0, LENGTH, 30):
                    minutes = range(start, start + 30)
                    _send(url, [p for name in HISTORIES for p in _points(name, minutes, base)])
                _send(url, list(_points("late", _LATE, base, late=True)))
                yield url
            finally:
                server.terminate()


def _ask(prometheus: str, expr: str, base: int) -> Answers:
    """By history the value at each of the instants (minutes) at which there is one."""
    start, end = (base + 60 * m + _AFTER for m in (_INSTANTS[0], _INSTANTS[-1]))
    asked = {"query": expr, "start": start, "end": end, "step": 60 * _INSTANTS.step}
    rows = get_json(f"{prometheus}/api/v1/query_range", {k: str(v) for k, v in asked.items()})
    return {
        row["metric"]["name"]: {int(t - base) // 60: float(v) for t, v in row["values"]}
        for row in rows["data"]["result"]
    }


@pytest.fixture(scope="module")
def answers(told: str, base: int) -> dict[tuple[str, str], Answers]:
    """What each form answers for each window."""
    return {
        (form, window): _ask(told, names.total("x_total", window), base)
        for form, names in FORMS.items()
        for window in WINDOWS
    }


def _is_right(found: float | None, truth: float) -> bool:
    """Within 1 % of the truth; where nothing arrived, absent or 0."""
    if found is None:
        return truth < 1e-9
    return abs(found - truth) <= 0.01 * truth + 1e-4


def _not_recognised(told: History, start: float, end: float) -> float:
    """What the first sample of a window told of a silence that is longer than the memory."""
    inside = [minute for minute in told.samples if start < minute <= end]
    before = [minute for minute in told.samples if start - _MEMORY < minute <= start]
    if before or not inside or told.lives[inside[0]] == inside[0]:
        return 0.0
    return told.arrived[inside[0]]


@pytest.mark.parametrize("name", HISTORIES)
def test_anchored_totals_lack_only_what_a_long_silence_hid(
    answers: Mapping[tuple[str, str], Answers], name: str
) -> None:
    """Exact over births, restarts, late samples, rare exports, and silences of up to an hour."""
    for window, minutes in WINDOWS.items():
        found = answers["anchored", window].get(name, {})
        for minute in _INSTANTS:
            now = minute + _AFTER / 60
            truth = HISTORIES[name].counted(now - minutes, now)
            truth -= _not_recognised(HISTORIES[name], now - minutes, now)
            assert _is_right(found.get(minute), truth), (window, minute, truth)


def _wrong(answers: Mapping[tuple[str, str], Answers], form: str, name: str) -> dict[str, int]:
    """At how many of the instants each window is wrong, if at any."""
    counted = {
        window: sum(
            not _is_right(
                answers[form, window].get(name, {}).get(minute),
                HISTORIES[name].counted(minute + _AFTER / 60 - minutes, minute + _AFTER / 60),
            )
            for minute in _INSTANTS
        )
        for window, minutes in WINDOWS.items()
    }
    return {window: number for window, number in counted.items() if number}


#: What the documents say of each form: where it is an estimate, or lacks something.
ESTIMATES = {
    "portable": {*RESTARTS, *RUNS} - {"restarted at one o'clock"},
    "anchored": {
        "Collector away for 75 minutes",
        "asleep for two hours",
        "asleep for the night",
        "frozen between bursts",
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_exact_where_the_documents_say_so(
    answers: Mapping[tuple[str, str], Answers], form: str
) -> None:
    wrong = {name: _wrong(answers, form, name) for name in HISTORIES}
    assert {name for name, found in wrong.items() if found} == ESTIMATES[form], wrong


def test_a_process_that_has_ended_is_unknown_and_not_0(told: str, base: int) -> None:
    found = _ask(told, FORMS["anchored"].total("x_total", "1h"), base)["a job that exports once"]
    (export,) = HISTORIES["a job that exports once"].samples
    assert found
    assert all(export <= minute < export + 60 for minute in found)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Collector and Prometheus with start times, after five jobs that exported $0.75 once."""
    for program in ("otelcol", "prometheus"):
        backend(program)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(
            Path(directory), overlays=["start-times"], programs=["prometheus", "otelcol"]
        ) as running,
    ):
        for instance in JOBS:
            with Application(
                running.otlp_grpc, "jobs", attributes={"service.instance.id": instance}
            ) as app:
                guard = app.instrument(Scripted())
                guard.check_before_llm("s", 10)
                guard.record_after_llm("s", USAGE)
            time.sleep(1.1 if instance == "used twice" else 0)
        cost = sc.METRIC_COST.prometheus_name()
        counted = f"count_over_time({cost}[5m])"
        told = {
            (labels["instance"], n)
            for labels, n in eventually(
                lambda: query(running.prometheus, counted),
                lambda rows: sum(n for _, n in rows) == 5,
            )
        }
        assert told == {("used once", 1), ("another", 1), ("a third", 1), ("used twice", 2)}
        yield running


#: The instance ids of jobs that export once.
JOBS = ("used once", "used twice", "another", "used twice", "a third")
#: $0.75 at the tests' prices.
USAGE = {"prompt_tokens": 50_000, "completion_tokens": 40_000, "total_tokens": 90_000}
GRAFANA = {
    path.removeprefix("dashboards/grafana/").removesuffix(".json"): json.loads(text)
    for path, text in FILES.items()
    if path.startswith("dashboards/grafana/")
}
ASKED = {
    f"{name}: {panel['title']}": panel["targets"]
    for name, board in GRAFANA.items()
    for panel in panels(board)
    if panel["type"] != "text"
}
RULES = {path: text for path, text in FILES.items() if path.startswith("collector/prometheus/")}


@pytest.mark.parametrize("where", ASKED)
def test_prometheus_answers_every_query_of_a_panel(stack: Stack, where: str) -> None:
    for target in ASKED[where]:
        ask(stack.prometheus, target)


@pytest.mark.parametrize("path", RULES)
def test_prometheus_answers_every_query_of_a_rule(stack: Stack, path: str) -> None:
    (group,) = yaml.safe_load(RULES[path])["groups"]
    for rule in group["rules"]:
        query(stack.prometheus, rule["expr"])


def test_what_jobs_spent_by_their_only_export_is_counted(stack: Stack) -> None:
    """The start that the SDK tells is within a millisecond or two; the overlay's is before it."""
    for target in ASKED["overview: Spend, selected time"]:
        (row,) = ask(stack.prometheus, target)
        assert last(row) == pytest.approx(3.75)


def test_promtool_accepts_the_rules_that_the_builder_writes(tmp_path: Path) -> None:
    assert main(["--anchored", "--out", str(tmp_path)]) == 0
    written = [tmp_path / path for path in RULES]
    assert [path.read_text() for path in written] == list(RULES.values())
    done = promtool("check", "rules", "--lint=all", *written)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_is_told_with_start_times_is_asked_so() -> None:
    """Nothing of ours is asked in the portable form, and nothing of the Collector's in the other.

    *Today* stays portable: no modifier begins at midnight.
    """
    asked = {where: " ".join(target["expr"] for target in ASKED[where]) for where in ASKED}
    asked |= RULES
    counters = "|".join(m.prometheus_name() for m in sc.METRICS if m.kind != "gauge")
    for where, text in asked.items():
        assert not re.search(rf"min_over_time\(({counters})", text), where
        assert not re.search(r"increase\(otelcol[^)]* anchored", text), where
    assert sum(q.ANCHORED in text for text in asked.values()) > 10
