"""The Collector's audit file, read by ours and by the shipped jq filter: torn and sent twice."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from collector.stack import FOLDER
from otel_budget import audit_file, semconv
from otel_budget.verify.records import check_audit_file
from support.missing import skip_or_fail


def record(*events: tuple[str, str], time: int = 1) -> str:
    """A line of the file as the Collector writes it: uid and message of each event."""
    logs = [
        {
            "timeUnixNano": f"17960236691078542{time:02}",
            "attributes": [
                {"key": name, "value": {"stringValue": value}}
                for name, value in ((semconv.LOG_RECORD_UID, uid), (semconv.MESSAGE, message))
                if value
            ],
        }
        for uid, message in events
    ]
    return json.dumps(
        {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}, separators=(",", ":")
    )


ONE, TWO = record(("a", "one")), record(("b", "two"), time=2)
ODD = 'a "{"resourceLogs"\u2028 in a text'
#: Each with its events, and how many of its records are torn, and of its events repeated.
FILES: dict[str, tuple[str, list[str], int, int]] = {
    "whole": (record(("a", "one"), ("b", ODD)) + "\n", ["one", ODD], 0, 0),
    "torn, and written behind": (ONE[:50] + ONE + "\n" + TWO + "\n", ["one", "two"], 1, 0),
    "torn in its first word": ('{"reso' + ONE + "\n", ["one"], 1, 0),
    "without the end of its line": (ONE * 2 + TWO + "\n", ["one", "two"], 0, 1),
    "sent twice": ((ONE + "\n" + TWO + "\n") * 2, ["one", "two"], 0, 2),
    "without ids": (record(("", "one"), ("", "two")) + "\n", ["one", "two"], 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_torn_records_and_copies_are_left_out_and_counted(name: str, tmp_path: Path) -> None:
    content, messages, torn, repeated = FILES[name]
    file = tmp_path / "threshold-hits.jsonl"
    file.write_text(content, encoding="utf-8")
    audit = audit_file.read(file)
    assert [event["attributes"][semconv.MESSAGE] for event in audit.events] == messages
    assert (audit.torn, audit.repeated) == (torn, repeated)
    assert bool(str(audit)) == bool(torn or repeated)


def test_a_record_that_is_being_written_is_not_torn(tmp_path: Path) -> None:
    file = tmp_path / "threshold-hits.jsonl"
    file.write_text(record(("a", "one")) + "\n" + record(("b", "two"))[:50])
    audit = audit_file.read(file)
    assert (len(audit.events), audit.torn) == (1, 0)


def test_what_was_left_out_is_said_in_words() -> None:
    assert str(audit_file.AuditFile([], 1, 2)) == "1 torn record skipped, 2 repeated events skipped"


def test_verify_says_what_it_left_out(tmp_path: Path) -> None:
    def record(kind: str) -> str:
        attributes = {semconv.KIND: kind, semconv.TENANT: "t", semconv.SESSION_ID: "s"}
        log = {
            "eventName": semconv.LOG_EVENT_THRESHOLD_HIT,
            "attributes": [
                {"key": key, "value": {"stringValue": value}} for key, value in attributes.items()
            ],
        }
        logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [log]}]}]}
        return json.dumps(logs, separators=(",", ":")) + "\n"

    denial = record(semconv.KIND_HARD)
    file = tmp_path / "threshold-hits.jsonl"
    file.write_text(record(semconv.KIND_SOFT) + denial[:60] + denial)
    hop = check_audit_file(file, "t", 1, 0, lambda _: None)
    assert (hop.status, hop.detail) == (
        "passed", "1 denials and 1 soft limits (1 torn record skipped)",
    )  # fmt: skip
    hop = check_audit_file(file, "t", 2, 0, lambda _: None)
    assert hop.detail == f"1 of 2 denials are not in {file} (1 torn record skipped)"


@pytest.mark.parametrize("name", FILES)
def test_the_jq_filter_reads_the_same(name: str, tmp_path: Path) -> None:
    if shutil.which("jq") is None:
        skip_or_fail("jq is not installed")
    content, messages, torn, _ = FILES[name]
    file = tmp_path / "threshold-hits.jsonl"
    file.write_text(content, encoding="utf-8")
    command: list[Any] = ["jq", "-cnRf", FOLDER / "hits.jq", file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert [event[semconv.MESSAGE] for event in events] == messages
    assert done.stderr.count("a torn record is skipped") == torn
