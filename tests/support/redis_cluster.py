"""Our own Redis Cluster on loopback: three masters, each with a replica."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from support.ports import free_port


class RedisCluster:
    """Started on entry and removed on exit.

    Attributes:
        urls: Of all nodes.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="otel-budget-cluster-")
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        #: By a node's port, where it speaks with the others.
        self._buses: dict[int, int] = {}
        self.urls: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._form()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _form(self) -> None:
        ports = [free_port() for _ in range(6)]
        for port in ports:
            self._nodes[port] = self._start(port)
        self.urls = [f"redis://127.0.0.1:{port}" for port in ports]
        self._until(lambda: all(self._answers(port) for port in ports))
        create = ["redis-cli", "--cluster", "create", "--cluster-replicas", "1", "--cluster-yes"]
        addresses = [f"127.0.0.1:{port}" for port in ports]
        subprocess.run([*create[:3], *addresses, *create[3:]], check=True, capture_output=True)
        self._until(lambda: all(self._knows_all(port) for port in self._nodes))
        self._until(lambda: sum(self._follows(port) for port in self._nodes) == 3)

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        directory = Path(self._folder.name, str(port))
        directory.mkdir(exist_ok=True)
        self._buses.setdefault(port, free_port())
        options = {
            "port": port, "bind": "127.0.0.1", "dir": directory, "save": "", "appendonly": "yes",
            "cluster-enabled": "yes", "cluster-port": self._buses[port],
            "cluster-node-timeout": 1500, "repl-diskless-sync-delay": 0,
        }  # fmt: skip
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        with Path(directory, "log").open("ab") as log:
            return subprocess.Popen(["redis-server", *words], stdout=log, stderr=log)

    def _answers(self, port: int) -> bool:
        import redis

        try:
            with _client(port) as node:
                return bool(node.ping())
        except redis.RedisError:
            return False

    def _knows_all(self, port: int) -> bool:
        """Whether a node knows of a master and a replica for all slots."""
        with _client(port) as node:
            slots = node.execute_command("CLUSTER SLOTS")
            state = node.execute_command("CLUSTER INFO")
        # First and last slot, the master, the replica.
        return bool(state["cluster_state"] == "ok") and [len(one) for one in slots] == [4] * 3

    def _follows(self, port: int) -> bool:
        with _client(port) as node:
            return bool(node.info("replication").get("master_link_status") == "up")

    def _until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not ready():
            assert time.monotonic() < deadline, "the cluster did not come up"
            time.sleep(0.2)

    def port_of(self, key: str) -> int:
        """The port of the master that has a key."""
        import redis

        running = next(port for port, node in self._nodes.items() if node.poll() is None)
        with redis.RedisCluster.from_url(f"redis://127.0.0.1:{running}") as client:
            return int(client.get_node_from_key(key).port)

    def slots_of(self, port: int) -> frozenset[int]:
        """The slots whose master a node is."""
        with _client(port) as node:
            ranges = node.execute_command("CLUSTER SLOTS")
        return frozenset(
            slot
            for first, last, master, *_ in ranges
            if int(master[1]) == port
            for slot in range(first, last + 1)
        )

    def wait_moved(self, key: str, port: int) -> None:
        """Wait until another node than that one is the master that has a key."""
        self._until(lambda: self.port_of(key) != port)

    def signal(self, port: int, number: signal.Signals) -> None:
        """Send a node a signal; a killed one has gone when this returns."""
        self._nodes[port].send_signal(number)
        if number == signal.SIGKILL:
            self._nodes[port].wait(10)

    def restart(self, port: int) -> None:
        """Start a node that was killed, with its data: it follows whoever is master now."""
        self._nodes[port] = self._start(port)
        self._until(lambda: self._answers(port) and self._follows(port))

    def __exit__(self, *_: object) -> None:
        for node in self._nodes.values():
            node.kill()
            node.wait(10)
        self._folder.cleanup()


def _client(port: int) -> Any:
    import redis

    return redis.Redis(port=port, decode_responses=True)
