"""Our own PostgreSQL server, on a free loopback port, in a folder that is removed afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from support.missing import skip_or_fail
from support.paths import ROOT
from support.ports import free_port


def _programs() -> Path | None:
    """The folder of initdb and postgres; Debian keeps it out of PATH."""
    found = shutil.which("initdb")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).resolve().parent if found else versions[-1].parent if versions else None


def needed() -> None:
    """Skip, or fail in CI, where there is no PostgreSQL."""
    if _programs() is None:
        skip_or_fail("PostgreSQL's server is not installed; run examples/setup.sh")


class PostgresServer:
    """Started on entry and removed on exit; `kill` and `start` in between keep port and data."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="otel-budget-postgres-")
        self._data = Path(self._folder.name, "data")
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count()
        self._as_user: list[str] = []
        if os.getuid() == 0:  # which PostgreSQL refuses
            user = pwd.getpwnam("postgres")
            os.chown(self._folder.name, user.pw_uid, user.pw_gid)
            self._as_user = [
                *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
            ]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a database with the guard's tables and functions."""
        import psycopg

        name = f"budgets{next(self._databases)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(self.url(name)) as connection:
            connection.execute((ROOT / "examples" / "postgres_guard.sql").read_bytes())
        return self.url(name)

    def start(self) -> None:
        import psycopg  # of an extra, which not every test needs

        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            # After a kill, the server does not start before its last process has gone.
            if self._process is None or self._process.poll() is not None:
                self._process = self._popen("postgres", *self._options())
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()}")

    def kill(self) -> None:
        """End it like a crash."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        words = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
        if self._popen("initdb", "-D", str(self._data), "--no-sync", *words).wait(60):
            raise RuntimeError(f"initdb failed: {self._log.read_text()}")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self.signal(signal.SIGQUIT)  # at once, and its other processes with it
            self._process.wait(10)
        self._folder.cleanup()

    @property
    def _log(self) -> Path:
        return Path(self._folder.name, "log")

    def _options(self) -> list[str]:
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "max_connections": 50}
        options |= {"unix_socket_directories": ""}
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return ["-D", str(self._data), *settings]

    def _popen(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        folder = _programs()
        assert folder is not None
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [*self._as_user, str(folder / program), *words],
                cwd=self._folder.name,
                stdout=output,
                stderr=output,
            )
