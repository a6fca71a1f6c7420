"""Keeps the calls of a log on disk: each once, in order of time, in little memory."""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Final

from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.cli.terminal import CommandError
from otel_budget.contract import TokenUsage

_FIELDS: Final = tuple(TokenUsage.model_fields)
_BATCH: Final = 2_000
_LARGEST: Final = 2**63 - 1
#: The repeated rows; of one key, the largest stands: a log of a stream repeats growing counts.
_REPEATED: Final = """
DELETE FROM calls WHERE n IN (
    SELECT n FROM (
        SELECT n, row_number() OVER (PARTITION BY key ORDER BY size DESC, n) AS place
        FROM calls WHERE key IS NOT NULL
    ) WHERE place > 1
)"""

_IN_TIME: Final = "SELECT data FROM calls ORDER BY at, n"
_AS_READ: Final = "SELECT data FROM calls ORDER BY n"


class Spool:
    """Calls in a temporary database, which is gone when the process ends.

    Attributes:
        reordered: Whether calls came out of the order of their times.
        untimed: Rows without a time.
        calls: For how many calls the rows stand, repeated ones included.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # a file without a name
        for setting in ("journal_mode = OFF", "cache_size = -16000", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE calls (n INTEGER PRIMARY KEY, at REAL, key BLOB, size INTEGER, data BLOB)"
        )
        self._waiting: list[tuple[Any, ...]] = []
        self.reordered = False
        self.untimed = self.calls = 0
        self._last = float("-inf")

    def add(self, call: LoggedCall) -> None:
        """Keep a call."""
        if call.at is None:
            self.untimed += 1
        else:
            self.reordered |= call.at < self._last
            self._last = call.at
        self.calls += call.calls
        usage = call.usage
        key = None
        if call.key is not None:
            key = blake2b(call.key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        data = (
            None if usage is None else tuple(map(usage.__dict__.__getitem__, _FIELDS)),
            call.at, call.session, call.tenant, call.user, call.agent, call.model, call.provider,
            call.tool, call.cost, call.calls, None, call.file, call.line,
        )  # fmt: skip
        size = 0 if usage is None else min(usage.total_tokens, _LARGEST)
        self._waiting.append((call.at, key, size, marshal.dumps(data)))
        if len(self._waiting) >= _BATCH:
            self._write()

    def _write(self) -> None:
        with _explained():
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO calls (at, key, size, data) VALUES (?, ?, ?, ?)", self._waiting
            )
            self._database.execute("COMMIT")
        self._waiting = []

    def drop_repeated(self) -> int:
        """Let go of all but one call of each key; how many these were."""
        self._write()
        with _explained():
            return self._database.execute(_REPEATED).rowcount

    def span(self) -> tuple[float, float] | None:
        """The first and the last time; None if no call has one."""
        first, last = self._database.execute("SELECT min(at), max(at) FROM calls").fetchone()
        return None if first is None else (first, last)

    def __iter__(self) -> Iterator[LoggedCall]:
        """The calls in order of time, those without one first; equal times in the log's order."""
        select = _IN_TIME if self.reordered or self.untimed else _AS_READ
        with _explained():
            for (data,) in self._database.execute(select):
                counts, *rest = marshal.loads(data)  # noqa: S302 - written above
                usage = None
                if counts is not None:
                    usage = TokenUsage.model_construct(
                        None, **dict(zip(_FIELDS, counts, strict=True))
                    )
                yield LoggedCall(usage, *rest)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CommandError(
            f"the temporary file of the log cannot be used ({error}): make room, or name another "
            "folder in SQLITE_TMPDIR."
        ) from None
