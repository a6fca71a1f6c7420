"""`otel-budget replay --otlp` through the shipped stack: what is in the log arrives."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from collector.stack import Stack
from otel_budget import semconv
from support import probes

pytestmark = pytest.mark.backend
LOG = Path(str(files("otel_budget") / "data" / "azure_llm_2023_code_excerpt.csv"))
JOB = '{job="otel-budget-replay"}'


def replay(stack: Stack, *options: str) -> dict[str, object]:
    command = Path(sys.executable).with_name("otel-budget")
    answer = subprocess.run(
        [command, "replay", LOG, "--otlp", stack.otlp_http, "--json", *options],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert answer.returncode == 0, answer.stderr
    report: dict[str, object] = json.loads(answer.stdout)
    return report


def test_every_token_of_a_log_is_in_prometheus(start_stack: Callable[..., Stack]) -> None:
    stack = start_stack()
    replay(stack)
    with LOG.open() as file:
        rows = list(csv.DictReader(file))
    wanted = {
        "input": sum(int(row["ContextTokens"]) for row in rows),
        "output": sum(int(row["GeneratedTokens"]) for row in rows),
    }
    tokens = semconv.METRIC_TOKENS.prometheus_name()

    def arrived() -> dict[str, float]:
        by_type = f"sum by (budget_token_type) (last_over_time({tokens}{JOB}[1h]))"
        found = {
            labels["budget_token_type"]: value
            for labels, value in probes.query(stack.prometheus, by_type)
        }
        return {kind: found.get(kind, 0) for kind in wanted}

    assert probes.eventually(arrived, lambda found: found == wanted) == wanted


def test_every_denial_of_a_replay_is_in_jaeger_and_in_the_audit_file_once(
    start_stack: Callable[..., Stack],
) -> None:
    stack = start_stack()
    with LOG.open() as file:
        half = sum(int(row["ContextTokens"]) for row in csv.DictReader(file)) // 2
    refused = replay(stack, "--limit-tokens", str(half))["refused_calls"]
    assert isinstance(refused, int)
    assert refused > 10

    def denied(**more: str) -> list[str]:
        spans = probes.spans(
            stack.jaeger, "otel-budget-replay", budget__decision=semconv.DENY, **more
        )
        return sorted(span["spanID"] for span in spans)

    found = probes.eventually(denied, lambda spans: len(spans) == refused)
    assert len(found) == len(set(found)) == refused
    records = [
        event
        for event in probes.audit_events(stack.audit_file)
        if event["attributes"][semconv.KIND] == semconv.KIND_HARD
    ]
    assert sorted(event["spanId"] for event in records) == found
    sessions = {event["attributes"][semconv.SESSION_ID] for event in records}
    by_session = [span for session in sessions for span in denied(session__id=session)]
    assert sorted(by_session) == found
