"""One denial and one threshold: adapter -> Collector -> Prometheus -> Alertmanager -> webhook."""

from __future__ import annotations

import http.server
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import scenario
from collector.stack import PROGRAMS, Stack
from otel_budget import semconv as sc
from promtool import backend
from rule_cases import prom
from support.paths import ROOT
from support.probes import eventually, get_json

CONFIG = ROOT / "collector" / "alertmanager" / "alertmanager.yml"


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A receiver: its address, and what it was sent."""
    received: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def alertmanager(address: str, receiver: str, directory: Path) -> Iterator[None]:
    """The shipped configuration with a webhook in its receivers and no patience."""
    config = yaml.safe_load(CONFIG.read_text())
    for entry in config["receivers"]:
        if entry["name"] != "nobody":
            entry["webhook_configs"] = [{"url": f"{receiver}{entry['name']}"}]
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "5s"}
    file = directory / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [
            backend("alertmanager"),
            f"--config.file={file}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def hurry(stack: Stack) -> None:
    """Take the `for` out of the thresholds' rule: nobody waits five minutes here."""
    file = stack.directory / "prometheus" / "rules" / "llm-budget-limits.yml"
    rules = yaml.safe_load(file.read_text())
    for rule in rules["groups"][0]["rules"]:
        rule["for"] = "0s"
    file.write_text(yaml.safe_dump(rules))
    stack.terminate("prometheus")
    stack.launch("prometheus")


@pytest.mark.timeout(180)
def test_a_denial_and_a_threshold_reach_a_person() -> None:
    for program in PROGRAMS:
        backend(program)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        webhook() as (address, received),
        Stack(Path(name), interval=1, programs=["jaeger", "prometheus", "otelcol"]) as stack,
        alertmanager(stack.addresses["ALERTMANAGER_ADDRESS"], address, Path(name)),
    ):
        hurry(stack)
        books = scenario.Books()
        process = scenario.Process(stack.otlp_grpc, books, {"acme": 0.1, "globex": 1.0})
        # 0.6 USD each: more than half of one budget, and more than the other.
        for session in ("globex/coder", "acme/researcher"):
            usage = {"input": 150_000, "output": 10_000}
            process.call(f"{session}/claude-sonnet-4-5/s", usage)
        process.call("acme/researcher/claude-sonnet-4-5/s", {"input": 1, "output": 1})
        process.flush()

        def told(alert: str) -> dict[str, Any]:
            for message in received:
                if message["commonLabels"].get("alertname") == alert:
                    return message
            return {}

        try:
            denial = eventually(lambda: told("LLMBudgetExhausted"), timeout=60)
            reached = eventually(lambda: told("LLMBudgetThresholdReached"), timeout=60)
            rules = get_json(f"{stack.prometheus}/api/v1/rules")["data"]["groups"]
        finally:
            process.close()

    assert denial["receiver"] == "page"
    (alert,) = denial["alerts"]
    assert alert["status"] == "firing"
    assert alert["labels"] == {
        "alertname": "LLMBudgetExhausted",
        "severity": "critical",
        "deployment_environment_name": scenario.ENVIRONMENT,
        **prom({sc.TENANT: "acme", sc.AGENT: "researcher", sc.RESOURCE: "llm_cost_usd"}),
    }
    assert (
        alert["annotations"]["summary"]
        == "Tenant acme, agent researcher: llm_cost_usd is exhausted, calls are refused"
    )
    assert alert["annotations"]["description"].startswith("1 refusals in 10m when it last")
    assert alert["annotations"]["runbook_url"] == "docs/runbooks/LLMBudgetExhausted.md"

    assert reached["receiver"] == "info"
    (alert,) = reached["alerts"]
    assert alert["annotations"]["summary"] == "Tenant globex: 50% of llm_cost_usd (day) is used"
    # Every rule was evaluated without an error.
    # The records of all processes are made once in one or five minutes: see test_fleet.py.
    soon = [group for group in rules if "-fleet-" not in group["name"]]
    every = [rule for group in soon for rule in group["rules"]]
    assert len(every) > 25
    assert {rule["health"] for rule in every} == {"ok"}
    firing = {rule["name"] for rule in every if rule.get("state") == "firing"}
    assert firing == {
        "LLMBudgetExhausted",
        "LLMBudgetThresholdReached",
        "LLMBudgetWatchdog",
    }
