"""Our own Redis server, on a free loopback port, in a folder that is removed afterwards."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from support.missing import skip_or_fail
from support.ports import free_port


def program_missing() -> list[str]:
    """Redis, if it is not installed."""
    return [] if shutil.which("redis-server") else ["redis-server"]


def needed() -> None:
    """Skip, or fail in CI, where there is no Redis."""
    if program_missing():
        skip_or_fail("redis-server is not installed; run examples/setup.sh")


class RedisServer:
    """Started on entry and removed on exit; `kill` and `start` in between keep port and data.

    Every write is on disk before it is acknowledged (``appendfsync always``).

    Args:
        options: More of the server's, such as ``{"replicaof": "127.0.0.1 6379"}``.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self._options = dict(options or {})
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = tempfile.TemporaryDirectory(prefix="otel-budget-redis-")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import redis  # of an extra, which not every test that starts a server needs

        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": self._folder.name,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "daemonize": "no",
            **self._options,
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        log = Path(self._folder.name, "log")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["redis-server", *arguments], stdout=output, stderr=output
            )
        deadline = time.monotonic() + 20
        with redis.Redis.from_url(self.url, socket_timeout=1.0) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(
                            f"redis-server did not start: {log.read_text()}"
                        ) from None
                    time.sleep(0.05)

    def kill(self) -> None:
        """End it like a crash: it cannot write anything first."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        self.kill()
        self._folder.cleanup()


class LosingProxy:
    """A proxy before Redis that loses a reply on request, after the script has run."""

    def __init__(self, port: int) -> None:
        self._redis = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"
        self.losing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._redis)) as server:
            while request := client.recv(65_536):
                server.sendall(request)
                reply = server.recv(65_536)
                if self.losing:
                    self.losing = False
                    return
                client.sendall(reply)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


class LaggingLink:
    """A proxy between a master and its replica, which hands each reply on so many seconds later.

    What it has not handed on when it is left is lost, as with the machine of the master.
    """

    def __init__(self, port: int, lag: float) -> None:
        self._master, self._lag = port, lag
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._cut = threading.Event()
        self._links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._cut.is_set():
            try:
                replica, _ = self._server.accept()
                master = socket.create_connection(("127.0.0.1", self._master))
            except OSError:
                return
            self._links += [replica, master]
            for source, target, lag in ((replica, master, 0.0), (master, replica, self._lag)):
                held: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
                for work in (self._read, self._hand_on):
                    threading.Thread(
                        target=work, args=(source, target, lag, held), daemon=True
                    ).start()

    def _read(self, source: socket.socket, _: Any, lag: float, held: Any) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                held.put((time.monotonic() + lag, data))

    def _hand_on(self, _: Any, target: socket.socket, lag: float, held: Any) -> None:
        with suppress(OSError):
            while True:
                due, data = held.get()
                if self._cut.wait(max(0.0, due - time.monotonic())):
                    return
                target.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cut.set()
        for one in (self._server, *self._links):
            one.close()
