"""Runs `otel-budget verify` against a stack, and reads what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from collector.stack import Stack

Hops = dict[str, dict[str, Any]]


def verify(
    stack: Stack,
    *options: str,
    collector: Stack | None = None,
    endpoint: str | None = None,
    wait: float = 15,
    **variables: str,
) -> tuple[int, Hops]:
    """Exit code and hops of `verify` with every address of `stack`, or of another collector."""
    collector = collector or stack
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    if "PYTHONPATH" in variables:
        variables["PYTHONPATH"] = _before_others(variables["PYTHONPATH"])
    command = [
        *(sys.executable, "-c", "from otel_budget.cli import main; main()", "verify", "--json"),
        *("--collector-health", collector.collector_health),
        *("--collector-metrics", collector.collector_metrics),
        *("--prometheus", stack.prometheus),
        *("--jaeger", stack.jaeger),
        *("--audit-file", str(collector.audit_file)),
        *("--timeout", str(wait)),
        *options,
    ]
    result = subprocess.run(
        command,
        env=kept
        | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint or collector.otlp_http,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3",  # seconds; the faults then show sooner
        }
        | variables,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        cwd=stack.directory,
    )
    assert result.stdout, result.stderr
    answer = json.loads(result.stdout)
    assert answer["ok"] == (result.returncode == 0)
    return result.returncode, {hop["name"]: hop for hop in answer["hops"]}


def by_status(hops: Hops, status: str) -> set[str]:
    return {name for name, hop in hops.items() if hop["status"] == status}


def failed(result: tuple[int, Hops], *names: str) -> Hops:
    """Check that exactly these hops failed, each with a cause and a remedy; return all hops."""
    code, hops = result
    assert (code, by_status(hops, "failed")) == (1, set(names)), hops
    for name in names:
        assert hops[name]["cause"]
        assert hops[name]["remedy"]
    return hops


SENT = ("traces sent", "metrics sent", "log events sent")
ARRIVED = {"metrics in Prometheus", "trace in Jaeger", "event in the audit file"}


def overlay(directory: Path, text: str) -> Path:
    file = directory / "overlay.yaml"
    file.write_text(textwrap.dedent(text))
    return file


#: Python reads this file at start: every process of `verify` then has another time.
ANOTHER_TIME = """
    import time
    ahead = SECONDS
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + ahead
    time.time_ns = lambda: now_ns() + ahead * 10**9
"""


def another_time(directory: Path, seconds: int) -> dict[str, str]:
    """The variables of a process whose clock is so far ahead, by `sitecustomize.ahead`."""
    file = directory / "sitecustomize.py"
    file.write_text(textwrap.dedent(ANOTHER_TIME).replace("SECONDS", str(seconds)))
    return {"PYTHONPATH": _before_others(str(directory))}


def _before_others(folder: str) -> str:
    return os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
