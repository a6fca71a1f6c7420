"""One history in a Prometheus and in a distributed store, with the shipped rules in both."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from collector.backends import BIN
from collector.stack import FOLDER, Stack, free_addresses, passwords
from support.distributed_store import Store

#: How often rules are evaluated, and how far behind those are that wait for late samples.
EVERY, BEHIND = "3s", "6s"
OF_A_PACE = ("llm-budget-ledgers", "llm-budget-spend")
#: The Collector behind the other measures no clocks: it would measure them a second time.
_NO_CLOCKS = {"processors": {"filter/clocks": {"metric_conditions": ['metric.name != ""']}}}


class World(NamedTuple):
    """What both hold.

    Attributes:
        stack: With Prometheus; its Collector passes everything on.
        behind: The Collector with the shipped overlay, and the Alertmanager of the store's rulers.
        store: Three replicas.
    """

    stack: Stack
    behind: Stack
    store: Store


def _passes_on(collector: str) -> dict[str, Any]:
    """What makes a Collector send its metrics to another one, too."""
    both = ["otlp_http/prometheus", "otlp_http/other"]
    return {
        "exporters": {"otlp_http/other": {"endpoint": collector, "sending_queue": {}}},
        "service": {
            "pipelines": {
                "metrics": {"exporters": [*both, "forward/clocks"]},
                "metrics/clocks": {"exporters": both},
            }
        },
    }


def hasten(folder: Path) -> None:
    """Nobody waits here: rules are evaluated every few seconds, and alerts fire at once.

    But for those of a pace, which is another for who looks a second later.
    """
    for file in sorted((FOLDER / "prometheus" / "rules").glob("*.yml")):
        rules = yaml.safe_load(file.read_text())
        for group in rules["groups"]:
            group["interval"] = EVERY
            if "query_offset" in group:
                group["query_offset"] = BEHIND
            for rule in group["rules"] if group["name"] not in OF_A_PACE else ():
                rule.pop("for", None)
        (folder / file.name).write_text(yaml.safe_dump(rules))


def _agent(stack: Stack, store: Store, folder: Path) -> subprocess.Popen[bytes]:
    """Scrapes what the stack's Prometheus scrapes, and writes it to the store."""
    shipped = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())
    remote = yaml.safe_load((FOLDER / "cortex" / "remote-write.yml").read_text())
    (to_store,) = remote["remote_write"]
    to_store["url"] = store.write_urls()[1]
    to_store["tls_config"] = {
        key: str(store.certificates / Path(file).name)
        for key, file in to_store["tls_config"].items()
    }
    every = {"global": {"scrape_interval": EVERY}, "scrape_configs": shipped["scrape_configs"]}
    # Beside the targets and the password that it names.
    file = stack.directory / "prometheus" / "agent.yml"
    file.write_text(yaml.safe_dump(every | remote))
    with (folder / "agent.log").open("wb") as log:
        return subprocess.Popen(
            [
                BIN / "prometheus", "--agent", f"--config.file={file}",
                f"--storage.agent.path={folder / 'agent'}",
                f"--web.listen-address={free_addresses()['PROMETHEUS_ADDRESS']}",
            ],
            stdout=log,
            stderr=log,
        )  # fmt: skip


@contextmanager
def running(kind: type[Store]) -> Iterator[World]:
    """Start everything, with a store of one kind."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "store").mkdir()
        addresses = free_addresses()
        passes_on, no_clocks = folder / "passes-on.yaml", folder / "no-clocks.yaml"
        other = f"http://{addresses['OTELCOL_OTLP_HTTP']}"
        passes_on.write_text(yaml.safe_dump(_passes_on(other)))
        no_clocks.write_text(yaml.safe_dump(_NO_CLOCKS))
        stack = Stack(folder / "stack", overlays=[passes_on], interval=3)
        rules = stack.directory / "prometheus" / "rules"
        store = kind(folder / "store", rules=rules)
        behind = Stack(
            folder / "behind",
            addresses=addresses,
            overlays=["distributed-store", no_clocks],
            environment=store.environment(),
            programs=["alertmanager", "otelcol"],
        )
        password = passwords.write(behind.directory / "login", behind.password).with_name(
            "password"
        )
        store.variables |= {
            "CORTEX_EVALUATION": EVERY,
            "ALERTMANAGER_ADDRESS": addresses["ALERTMANAGER_ADDRESS"],
            "ALERTMANAGER_URL": f"http://{addresses['ALERTMANAGER_ADDRESS']}",
            "ALERTMANAGER_USER": passwords.USER,
            "ALERTMANAGER_PASSWORD": behind.password,
            "ALERTMANAGER_PASSWORD_FILE": str(password),
        }
        with behind, stack:
            hasten(rules)
            stack.terminate("prometheus")
            stack.launch("prometheus")
            with store:
                agent = _agent(stack, store, folder)
                try:
                    yield World(stack, behind, store)
                finally:
                    agent.kill()
                    agent.wait(10)
