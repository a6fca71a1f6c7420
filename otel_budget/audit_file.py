"""The Collector's audit file: its events, each once, and how many records a full disk has torn."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from otel_budget import semconv

#: What every record begins with. Inside a record's texts the quotes have backslashes.
_START: Final = '{"resourceLogs"'


@dataclass(slots=True)
class AuditFile:
    """What was read of an audit file.

    Attributes:
        events: Its log events as OTLP JSON has them, but with ``attributes``, and the ``resource``,
            as dictionaries.
        torn: Records that are not whole, and are left out; the Collector goes on writing behind
            them, on the same line.
        repeated: Copies of events that were sent again, and are left out: a Collector that did not
            answer in time had written them.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    torn: int = 0
    repeated: int = 0

    def __str__(self) -> str:
        """What was left out; empty if nothing was."""
        parts = [
            f"{count} {what}{'' if count == 1 else 's'} skipped"
            for count, what in ((self.torn, "torn record"), (self.repeated, "repeated event"))
            if count
        ]
        return ", ".join(parts)


def read(*files: Path) -> AuditFile:
    """Read an audit file, or its rotated parts in their order.

    Raises:
        OSError: A file cannot be read.
    """
    audit = AuditFile()
    seen: set[str] = set()
    for file in files:
        # Only "\n" ends a line: `splitlines` would also end it within a text.
        *lines, unfinished = file.read_text(encoding="utf-8", errors="replace").split("\n")
        for line in lines:
            for record in _records(line):
                if record is None:
                    audit.torn += 1
                else:
                    _add(audit, record, seen)
        for record in _records(unfinished):  # its end may still be on the way
            if record is not None:
                _add(audit, record, seen)
    return audit


def _records(line: str) -> Iterator[dict[str, Any] | None]:
    """The records of a line, None for one that is torn."""
    first, *others = line.split(_START)
    for text in ([first] if first.strip() else []) + [_START + other for other in others]:
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        yield record if isinstance(record, dict) else None


def _add(audit: AuditFile, record: Mapping[str, Any], seen: set[str]) -> None:
    for event in _events(record):
        uid = event["attributes"].get(semconv.LOG_RECORD_UID)
        if uid in seen:
            audit.repeated += 1
            continue
        if uid is not None:
            seen.add(uid)
        audit.events.append(event)


def _events(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in record.get("resourceLogs", ()):
        for scope in resource.get("scopeLogs", ()):
            for log in scope.get("logRecords", ()):
                yield log | {
                    "attributes": plain_attributes(log.get("attributes", ())),
                    "resource": plain_attributes(
                        resource.get("resource", {}).get("attributes", ())
                    ),
                }


def plain_attributes(attributes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes of OTLP's JSON as a dictionary; int64 values are strings there."""
    plain = {}
    for attribute in attributes:
        for kind, value in attribute.get("value", {}).items():
            plain[attribute["key"]] = int(value) if kind == "intValue" else value
    return plain
