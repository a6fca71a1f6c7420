"""Three replicas of Cortex or Thanos on loopback, from what is shipped, with certificates.

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
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from collector.backends import BIN
from collector.stack import FOLDER
from support.ports import free_port
from support.probes import eventually

REPLICAS = 3
_CORTEX = FOLDER / "cortex"
_THANOS = FOLDER / "thanos" / "thanos.sh"


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


class Store(ABC):
    """Started on entry, ready or not; `kill` and `launch` in between keep ports and data.

    Args:
        folder: For certificates, data, rules and logs.
        rules: Folder whose ``*.yml`` the rulers evaluate; None is none.
        variables: More of the shipped configuration, such as ``ALERTMANAGER_URL``.

    Attributes:
        certificates: Folder of `Client`'s and the Collector's certificates.
        client: Asks with them.
    """

    #: How many ports each of its processes needs.
    _PORTS: tuple[int, ...]

    def __init__(
        self,
        folder: Path,
        *,
        rules: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._rules = rules
        self.variables = dict(variables or {})
        self.certificates = folder / "certificates"
        self._ports = [[free_port() for _ in range(number)] for number in self._PORTS]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        subprocess.run(["sh", _CORTEX / "certificates.sh", self.certificates], check=True)
        self.client = Client(self.certificates)

    @abstractmethod
    def write_urls(self, replica: int = 0) -> tuple[str, str]:
        """Of a replica, for OTLP and for remote write."""

    @property
    @abstractmethod
    def asked(self) -> Sequence[int]:
        """Which of its processes answer queries, of those that have not been killed."""

    @abstractmethod
    def query_url(self, replica: int = 0) -> str:
        """What a Prometheus has at its root; only `client` gets an answer."""

    @abstractmethod
    def _command(self, number: int) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        """How a process is started, and its own variables."""

    @abstractmethod
    def _ready(self, number: int) -> bool:
        """Whether a process is ready."""

    @abstractmethod
    def __enter__(self) -> Self:
        """Start it."""

    def environment(self, replica: int = 0) -> dict[str, str]:
        """What the overlay ``distributed-store`` needs to write to a replica."""
        return {
            "STORE_METRICS_URL": self.write_urls(replica)[0],
            "STORE_CERTIFICATES": str(self.certificates),
        }

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
        command, own = self._command(replica)
        with self._log(replica).open("ab") as log:
            self._processes[replica] = subprocess.Popen(
                command,
                cwd=self._folder,
                env={"PATH": os.environ.get("PATH", ""), **self.variables, **own},
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
                ready = eventually(partial(self._alive_and_ready, replica), timeout=60)
            except OSError as error:
                raise AssertionError(f"{error}\n{self.last_lines(replica)}") from error
            assert ready, self.last_lines(replica)

    def _alive_and_ready(self, number: int) -> bool:
        assert self._processes[number].poll() is None, self.last_lines(number)
        return self._ready(number)

    def last_lines(self, replica: int) -> str:
        """The last of what a replica has written."""
        return self._log(replica).read_text(errors="replace")[-3000:]

    def _url(self, number: int) -> str:
        return f"https://127.0.0.1:{self._ports[number][0]}"

    def _log(self, number: int) -> Path:
        return self._folder / f"{number}.log"

    def _start(self, *numbers: int) -> None:
        """Start processes and wait until they are ready; if one is not, none is left."""
        try:
            for number in numbers:
                self.launch(number)
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for number in list(self._processes):
            self.kill(number)


class CortexStore(Store):
    """Three replicas that are all alike: each takes writes, answers and evaluates rules."""

    _PORTS = (3,) * REPLICAS  # HTTP, gRPC, gossip

    def write_urls(self, replica: int = 0) -> tuple[str, str]:
        base = f"{self._url(replica)}/api/v1"
        return f"{base}/otlp/v1/metrics", f"{base}/push"

    @property
    def asked(self) -> Sequence[int]:
        return sorted(self._processes)

    def query_url(self, replica: int = 0) -> str:
        return f"{self._url(replica)}/prometheus"

    def _command(self, number: int) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        http, grpc, gossip = self._ports[number]
        own = {
            "CORTEX_REPLICA": str(number + 1), "CORTEX_HTTP_PORT": str(http),
            "CORTEX_GRPC_PORT": str(grpc), "CORTEX_GOSSIP_PORT": str(gossip),
            "CORTEX_MEMBERS": json.dumps([f"127.0.0.1:{each[2]}" for each in self._ports]),
            "CORTEX_CERTIFICATES": str(self.certificates),
            "CORTEX_DATA": str(self._folder / f"data-{number}"),
            "CORTEX_BLOCKS": str(self._folder / "blocks"),
            "CORTEX_RULES": str(self._folder / "rules"),
        }  # fmt: skip
        file = _CORTEX / "cortex.yaml"
        return [BIN / "cortex", f"-config.file={file}", "-config.expand-env=true"], own

    def _ready(self, number: int) -> bool:
        self.query("vector(1)", number)
        told = self.client.get(f"{self._url(number)}/metrics").decode()
        members = re.search(
            r'^cortex_ring_members{name="ingester",state="ACTIVE"} (\d+)', told, re.M
        )
        # Each by itself is ready before it has found the others.
        return members is not None and int(members[1]) >= len(self._processes)

    def __enter__(self) -> Self:
        (self._folder / "rules").mkdir()
        if self._rules is not None:
            # What Cortex calls the tenant of a store that has one.
            shutil.copytree(self._rules, self._folder / "rules" / "fake")
        self._start(*range(REPLICAS))
        return self


class ThanosStore(Store):
    """Three receivers, 0 to 2, and behind them a querier and a ruler."""

    _QUERY, _RULE = REPLICAS, REPLICAS + 1

    _PORTS = (4,) * REPLICAS + (2, 2)  # HTTP, gRPC; of receivers also remote write and Cap'n Proto

    def write_urls(self, replica: int = 0) -> tuple[str, str]:
        base = f"https://127.0.0.1:{self._ports[replica][2]}/api/v1"
        return f"{base}/otlp", f"{base}/receive"

    @property
    def asked(self) -> Sequence[int]:
        return [self._QUERY]

    def query_url(self, replica: int = 0) -> str:
        return self._url(self._QUERY)

    def _command(self, number: int) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        addresses = [[f"127.0.0.1:{port}" for port in each] for each in self._ports]
        http, grpc, *more = addresses[number]
        stores = [*addresses[:REPLICAS], addresses[self._RULE]]
        own = {
            "THANOS_PROGRAM": str(BIN / "thanos"), "THANOS_REPLICA": str(number + 1),
            "THANOS_HTTP": http, "THANOS_GRPC": grpc,
            "THANOS_CERTIFICATES": str(self.certificates),
            "THANOS_DATA": str(self._folder / f"data-{number}"),
            "THANOS_RECEIVERS": ",".join(each[1] for each in addresses[:REPLICAS]),
            "THANOS_ENDPOINTS": ",".join(each[1] for each in stores),
            "THANOS_QUERY": addresses[self._QUERY][0],
            "THANOS_RULES": f"{self._rules}/*.yml",
        }  # fmt: skip
        if more:
            own |= {"THANOS_WRITE": more[0], "THANOS_CAPNP": more[1]}
        part = {self._QUERY: "query", self._RULE: "rule"}.get(number, "receive")
        return ["sh", _THANOS, part], own

    def _ready(self, number: int) -> bool:
        self.client.get(f"{self._url(number)}/-/ready")
        return True

    def __enter__(self) -> Self:
        self._start(*range(REPLICAS), self._QUERY, *([self._RULE] if self._rules else ()))
        return self
