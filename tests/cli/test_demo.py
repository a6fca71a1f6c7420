"""`otel-budget demo`: what it draws is what was reported."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from otel_budget.cli import demo
from otel_budget.cli.excerpt import excerpt
from support.cli_runs import assert_one_sentence, command, in_process
from support.otlp_receiver import receiver
from support.paths import ROOT
from support.ports import free_port

#: Published rates in USD per million input and output tokens.
RATES = {
    "claude-sonnet-4-5": (3.0, 15.0),
    "gpt-4.1": (2.0, 8.0),
    "claude-haiku-4-5": (1.0, 5.0),
    "gpt-4.1-mini": (0.4, 1.6),
}


@pytest.fixture(scope="module")
def drawn() -> str:
    result = command("demo")
    assert (result.code, result.err) == (0, "")
    return result.out


def by_hand() -> dict[str, dict[str, float]]:
    """What half a dollar per tenant does to the excerpt, computed without the guard."""
    tenants: dict[str, dict[str, float]] = {}
    for call in excerpt():
        assert call.usage is not None
        assert call.tenant is not None
        assert call.model is not None
        row = tenants.setdefault(call.tenant, Counter())
        if row["cost_usd"] >= 0.5:
            row["denials"] += 1
            continue
        row["soft_hits"] += row["cost_usd"] >= 0.45
        given, generated = RATES[call.model]
        row["calls"] += 1
        row["tokens"] += call.usage.prompt_tokens + call.usage.completion_tokens
        row["cost_usd"] += (
            call.usage.prompt_tokens * given + call.usage.completion_tokens * generated
        ) / 1e6
        row["denials"] += call.tool == "shell"
    return tenants


def test_numbers_are_those_computed_without_the_guard(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = json.loads(in_process(capsys, "demo", "--json").out)
    expected = by_hand()
    assert {row["tenant"] for row in result["tenants"]} == set(expected)
    for row in result["tenants"]:
        for what in ("calls", "tokens", "cost_usd", "soft_hits", "denials"):
            assert row[what] == pytest.approx(expected[row["tenant"]][what]), (row["tenant"], what)
        (level,) = row["levels"]
        assert level["consumed"] == pytest.approx(row["cost_usd"])
        assert (level["limit"], level["window"], level["unit"]) == (0.5, "day", "USD")
    assert result["recorded_calls"] + result["refused_calls"] == 400
    assert result["refused_calls"] > 0
    assert result["soft_hits"] > 0
    denied = sum(row["denials"] for row in result["tenants"])
    assert sum(row["calls"] for row in result["denials"]) == denied
    reasons = {row["reason"] for row in result["denials"]}
    assert "Tool 'shell' is on this guard's deny-list." in reasons
    assert any("of 0.50 USD today (resets at 2023-11-17 00:00 UTC)" in reason for reason in reasons)


def test_metrics_have_their_names_in_prometheus(capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(in_process(capsys, "demo", "--json").out)
    values = {row["name"]: row["value"] for row in result["metrics"]}
    assert values["budget_tokens_total"] == sum(row["tokens"] for row in result["tenants"])
    assert values["budget_cost_USD_total"] == pytest.approx(result["cost_usd"])
    assert values["budget_calls_total"] == result["recorded_calls"]
    assert values["budget_limit"] == 0.5
    assert values["budget_guard_duration_seconds_count"] == sum(
        (
            values["budget_decisions_total"],
            values["budget_calls_total"],
        )
    )


def test_nothing_is_drawn_but_what_was_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "instrument", lambda guard, **options: guard)
    result = json.loads(in_process(capsys, "demo", "--json").out)
    assert (result["recorded_calls"], result["refused_calls"]) == (0, 0)
    assert result["tenants"] == result["denials"] == result["metrics"] == []


def test_it_needs_no_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the demo connects")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    assert in_process(capsys, "demo").code == 0


def test_the_drawing_has_every_part_and_fits_80_columns(drawn: str) -> None:
    for part in (
        "400 real model calls",
        "CC-BY 4.0",
        "they are assigned here",
        "By tenant",
        "Denied",
        "One session's trace",
        "budget_cost_USD_total",
    ):
        assert part in drawn
    assert "\x1b" not in drawn
    assert max(len(line) for line in drawn.splitlines()) <= 80
    acme = next(line for line in drawn.splitlines() if line.startswith("acme"))
    assert "████████ 100% of $0.50/day" in acme
    umbrella = next(line for line in drawn.splitlines() if line.startswith("umbrella"))
    assert "░░░░░░░░   8% of $0.50/day" in umbrella


def test_the_trace_is_one_session_with_its_soft_limit_and_denial(drawn: str) -> None:
    lines = drawn[drawn.index("One session's trace") :].splitlines()
    assert lines[1].startswith("budget.session  session ")
    tree = "\n".join(lines[: lines.index("")])
    for span in (
        "budget.check_before_llm  allow",
        "budget.check_before_llm  soft_limit",
        "budget.check_before_llm  deny",
        "budget.record_after_llm",
        "│   └── budget_threshold_hit",
    ):
        assert span in tree


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_on_a_terminal_there_is_live_progress() -> None:
    our_end, child_end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "from otel_budget.cli import main; main()", "demo"],
        stdout=child_end,
        stderr=child_end,
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    ) as child:
        os.close(child_end)
        shown = b"".join(_read(our_end)).decode()
    os.close(our_end)
    assert child.returncode == 0
    assert "400/400" in shown
    assert "/s" in shown[: shown.index("By tenant")]


def _read(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 65_536)
        except OSError:  # on Linux, the other end is closed
            return
        if not chunk:
            return
        yield chunk


def test_otlp_sends_the_same_to_a_collector() -> None:
    with receiver() as collector:
        result = command("demo", "--json", "--otlp", collector.url)
        assert (result.code, result.err) == (0, "")
        report = json.loads(result.out)
        names = Counter(span.name for span in collector.spans())
        assert names["budget.record_after_llm"] == report["recorded_calls"]
        assert names["budget.check_before_llm"] == 400
        (tokens,) = collector.sums("budget.tokens").values()
        assert sum(tokens[-16:]) == sum(report["tokens"].values())
        assert {resource["service.name"] for resource in collector.resources()} == {
            "otel-budget-demo"
        }


@pytest.mark.parametrize("url", ["http://[bad", "http://127.0.0.1:99999", "http://:4318"])
def test_otlp_to_a_malformed_url_is_one_sentence(url: str) -> None:
    assert_one_sentence(command("demo", "--otlp", url), f"--otlp {url} is not a URL such as")


def test_otlp_without_a_collector_says_so() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert_one_sentence(command("demo", "--otlp", url), "nothing listens at", url)
    # Without a URL, that of the variable is used.
    result = command("demo", "--otlp", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert_one_sentence(result, "nothing listens at", url)


def test_otlp_to_a_collector_that_refuses_reports_what_is_lost() -> None:
    with receiver() as collector:
        collector.status = dict.fromkeys(("/v1/traces", "/v1/metrics", "/v1/logs"), 400)
        result = command("demo", "--otlp", collector.url)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "did not accept everything" in result.err
    assert "spans" in result.err


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED=true", "OTEL_METRICS_EXPORTER=none"])
def test_otlp_with_telemetry_switched_off_says_so(variable: str) -> None:
    with receiver() as collector:
        name, _, value = variable.partition("=")
        result = command("demo", "--json", "--otlp", collector.url, **{name: value})
    assert_one_sentence(result, "metrics", "unset")


def test_without_the_extra_it_says_how_to_install_it() -> None:
    for module in ("typer", "rich", "opentelemetry.sdk"):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import sys; sys.modules[{module!r}] = None\n"
                "from otel_budget.cli import main; main()",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr == (
            f"otel-budget: the command needs {module}, which is not installed; "
            "install it with: pip install 'otel-budget[cli]'\n"
        )


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("demo", "replay", "verify", "spend", "files"):
        result = in_process(capsys, name, "--help")
        assert result.code == 0
        assert not re.search(r"<(bool|str|float|list)", result.out), result.out
        assert f"Example: otel-budget {name}" in result.out
    assert in_process(capsys).out == in_process(capsys, "--help").out
    assert in_process(capsys, "--version").out.startswith("otel-budget ")
    assert in_process(capsys, "-V").out == in_process(capsys, "--version").out


def test_it_runs_as_a_module_and_completes_in_a_shell() -> None:
    completing = {
        "_OTEL_BUDGET_COMPLETE": "complete_bash",
        "COMP_WORDS": "otel-budget replay --win",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-m", "otel_budget"],
        env={**os.environ, **completing},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("--window\n", "")


def test_usage_errors_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_sentence(in_process(capsys, "demmo"), "'demmo'", "otel-budget --help")
    assert_one_sentence(in_process(capsys, "demo", "--nope"), "--nope", "demo --help")


def test_the_excerpt_is_shipped_with_its_licence_and_is_an_excerpt() -> None:
    folder = files("otel_budget") / "data"
    notice = (folder / "NOTICE.md").read_text("utf-8")
    for part in ("CC-BY 4.0", "Microsoft", "Splitwise", "first 400 rows", "Changes"):
        assert part in notice
    with (folder / "azure_llm_2023_code_excerpt.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 400
