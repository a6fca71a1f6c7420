"""Prometheus and Alertmanager want a login: who has it, and who is told that it is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.backends import BIN
from collector.stack import PROGRAMS, Stack
from otel_budget.verify.http import shown
from support import probes
from support.applications import Application, Scripted

pytestmark = pytest.mark.backend


def amtool(stack: Stack, *options: str) -> subprocess.CompletedProcess[str]:
    url = f"--alertmanager.url={shown(stack.alertmanager)}"
    return subprocess.run(
        [BIN / "amtool", url, *options, "alert", "query", "alertname=LLMBudgetWatchdog"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_prometheus_and_amtool_have_that_of_alertmanager(stack: Stack) -> None:
    told = probes.eventually(lambda: probes.get_json(f"{stack.alertmanager}/api/v2/alerts"))
    assert "LLMBudgetWatchdog" in {alert["labels"]["alertname"] for alert in told}
    secrets = stack.directory / "prometheus" / "secrets"
    answer = amtool(stack, f"--http.config.file={secrets / 'amtool.yml'}")
    assert (answer.returncode, "LLMBudgetWatchdog" in answer.stdout) == (0, True), answer.stderr
    answer = amtool(stack)
    assert (answer.returncode, "401" in answer.stderr) == (1, True)


def test_the_password_is_its_owners_alone(stack: Stack) -> None:
    secrets = stack.directory / "prometheus" / "secrets"
    assert {file.name: file.stat().st_mode & 0o777 for file in (secrets, *secrets.iterdir())} == {
        "secrets": 0o700, "password": 0o600, "amtool.yml": 0o600, "web.yml": 0o600,
    }  # fmt: skip
    stack.kill("prometheus")  # then the Collector writes into its log where it cannot send
    with Application(stack.otlp_grpc, "logins") as application:
        application.instrument(Scripted()).check_before_tool("s", "shell")
        application.flush()
    assert probes.eventually(lambda: "otlp_http/prometheus" in stack.log("otelcol"))
    stack.launch("prometheus")
    for name in PROGRAMS:
        process = stack._process(name)
        assert stack.password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert stack.password not in stack.log(name)


def test_verify_says_that_a_login_is_missing_or_wrong(stack: Stack) -> None:
    wrong = stack.prometheus.replace(stack.password, "wrong")
    for url in (shown(stack.prometheus), wrong):
        answer = subprocess.run(
            [
                *(sys.executable, "-c", "from otel_budget.cli import main; main()"),
                *("verify", "--prometheus", url),
            ],
            env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert answer.returncode == 1
        assert f"{shown(stack.prometheus)} answered 401" in answer.stdout
        assert "http://user:password@host" in answer.stdout
        assert "wrong@" not in answer.stdout
