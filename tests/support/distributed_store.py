"""Three replicas of Cortex on loopback, from the shipped configuration and certificates.

with CortexStore(folder) as store:
    stack = Stack(..., overlays=["distributed-store"], environment=store.environment(0))
    store.kill(1); store.launch(1)
    store.total("sum(budget_decisions_total)", replica=2)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from collector.backends import BIN
from collector.stack import FOLDER
from support.ports import free_port
from support.probes import eventually

REPLICAS = 3
_CORTEX = FOLDER / "cortex"


class Client:
    """Asks with the certificates of a folder, as the Collector, Grafana and people do."""

    def __init__(self, certificates: Path) -> None:
        self.context = ssl.create_default_context(cafile=certificates / "ca.crt")
        self.context.load_cert_chain(certificates / "client.crt", certificates / "client.key")

    def get(self, url: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The answer to a GET; an error status is an `OSError` with what was said."""
        address = f"{url}?{urllib.parse.urlencode(parameters or {})}"
        try:
            with urllib.request.urlopen(address, timeout=30, context=self.context) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise OSError(f"{error.code} {error.read().decode(errors='replace')}") from error

    def get_json(self, url: str, parameters: Mapping[str, str] | None = None) -> Any:
        return json.loads(self.get(url, parameters))


class CortexStore:
    """Started on entry, ready or not; `kill` and `launch` in between keep ports and data.

    Args:
        folder: For certificates, data, rules and logs.
        rules: Folder whose ``*.yml`` the rulers evaluate; None is none.
        variables: More of ``cortex.yaml``, such as ``ALERTMANAGER_URL``.

    Attributes:
        certificates: Folder of `Client`'s and the Collector's certificates.
        client: Asks with them.
        urls: Base URL of each replica.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rules: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._variables = dict(variables or {})
        self.certificates = folder / "certificates"
        ports = [[free_port() for _ in range(3)] for _ in range(REPLICAS)]
        self.urls = [f"https://127.0.0.1:{http}" for http, _, _ in ports]
        self._ports = ports
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._rules = rules
        subprocess.run(["sh", _CORTEX / "certificates.sh", self.certificates], check=True)
        self.client = Client(self.certificates)

    def environment(self, replica: int = 0) -> dict[str, str]:
        """What the overlay ``distributed-store`` needs to write to a replica."""
        return {
            "STORE_METRICS_URL": f"{self.urls[replica]}/api/v1/otlp/v1/metrics",
            "STORE_CERTIFICATES": str(self.certificates),
        }

    def query_url(self, replica: int = 0) -> str:
        """What a Prometheus has at its root; only `client` gets an answer."""
        return f"{self.urls[replica]}/prometheus"

    def query(self, expression: str, replica: int = 0) -> list[tuple[dict[str, str], float]]:
        """An instant query: labels and value of every series of the answer."""
        asked = {"query": expression}
        answer = self.client.get_json(f"{self.query_url(replica)}/api/v1/query", asked)
        return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]

    def total(self, expression: str, replica: int = 0) -> float | None:
        """The sum of the values that an instant query returns; None if it returns none."""
        rows = self.query(expression, replica)
        return sum(value for _, value in rows) if rows else None

    def launch(self, replica: int) -> None:
        """Start a replica (again)."""
        http, grpc, gossip = self._ports[replica]
        own = {
            "CORTEX_REPLICA": str(replica + 1), "CORTEX_HTTP_PORT": str(http),
            "CORTEX_GRPC_PORT": str(grpc), "CORTEX_GOSSIP_PORT": str(gossip),
            "CORTEX_MEMBERS": json.dumps([f"127.0.0.1:{each[2]}" for each in self._ports]),
            "CORTEX_CERTIFICATES": str(self.certificates),
            "CORTEX_DATA": str(self._folder / f"data-{replica}"),
            "CORTEX_BLOCKS": str(self._folder / "blocks"),
            "CORTEX_RULES": str(self._folder / "rules"),
        }  # fmt: skip
        with self._log(replica).open("ab") as log:
            self._processes[replica] = subprocess.Popen(
                [
                    BIN / "cortex",
                    f"-config.file={_CORTEX / 'cortex.yaml'}",
                    "-config.expand-env=true",
                ],
                cwd=self._folder,
                env={"PATH": os.environ.get("PATH", ""), **self._variables, **own},
                stdout=log,
                stderr=log,
            )

    def kill(self, replica: int) -> None:
        """``kill -9`` one replica and wait until it is gone."""
        process = self._processes.pop(replica)
        process.kill()
        process.wait(10)

    def wait_ready(self) -> None:
        """Wait until each replica that runs takes writes and answers queries."""
        for replica in self._processes:
            try:
                ready = eventually(partial(self._ready, replica), timeout=60)
            except OSError as error:
                raise AssertionError(f"{error}\n{self.last_lines(replica)}") from error
            assert ready, self.last_lines(replica)

    def _ready(self, replica: int) -> bool:
        assert self._processes[replica].poll() is None, self.last_lines(replica)
        self.query("vector(1)", replica)
        told = self.client.get(f"{self.urls[replica]}/metrics").decode()
        members = re.search(
            r'^cortex_ring_members{name="ingester",state="ACTIVE"} (\d+)', told, re.M
        )
        # Each by itself is ready before it has found the others.
        return members is not None and int(members[1]) >= len(self._processes)

    def last_lines(self, replica: int) -> str:
        """The last of what a replica has written."""
        return self._log(replica).read_text(errors="replace")[-3000:]

    def _log(self, replica: int) -> Path:
        return self._folder / f"cortex-{replica}.log"

    def __enter__(self) -> Self:
        (self._folder / "rules").mkdir()
        if self._rules is not None:
            # What Cortex calls the tenant of a store that has one.
            shutil.copytree(self._rules, self._folder / "rules" / "fake")
        try:
            for replica in range(REPLICAS):
                self.launch(replica)
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for replica in list(self._processes):
            self.kill(replica)
