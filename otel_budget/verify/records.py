"""The hops to Jaeger and to the audit file: each denial, where people will look for it."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

from otel_budget import semconv
from otel_budget.audit_file import AuditFile, read
from otel_budget.verify import http
from otel_budget.verify.hop import Hop

_JAEGER = "trace in Jaeger"
_AUDIT = "event in the audit file"


def check_jaeger(url: str | None, denials: list[dict[str, Any]], wait: float) -> Hop:
    """Check that Jaeger has each process's denial: its span with its event.

    Args:
        url: The base URL of Jaeger.
        denials: ``trace_id`` and ``sampled`` of each denial, the only one of its trace.
        wait: Seconds until what has not arrived counts as missing.
    """
    if url is None:
        return Hop(_JAEGER, "skipped", "pass --jaeger URL")
    url = url.rstrip("/")
    sampled = [denial for denial in denials if denial["sampled"]]
    if not sampled:
        return Hop(_JAEGER, "skipped", "the sampler kept none of the canary's traces")
    try:
        spans = http.until(
            lambda: [_span(url, denial) for denial in sampled],
            lambda found: all(span is not None and _has_event(span) for span in found),
            wait,
        )
    except (OSError, ValueError, KeyError) as error:
        return http.unreachable("Jaeger", "--jaeger", url, error).hop(_JAEGER)
    if any(span is None for span in spans):
        return Hop(
            _JAEGER,
            "failed",
            f"the denial in trace {sampled[0]['trace_id']} was not found",
            "the collector accepted it but sends traces elsewhere, or a tail sampler dropped it: "
            "a denial that comes after its trace was judged is lost there",
            "look in the collector's log for its traces exporter; with tail sampling, let denials "
            "bypass the sampler, as collector/overlays/tail-sampling.yaml does",
        )
    if not all(span is not None and _has_event(span) for span in spans):
        return Hop(
            _JAEGER,
            "failed",
            f"the denial's span has no event {semconv.SPAN_EVENT_THRESHOLD_HIT}",
            "OTEL_PYTHON_BUDGET_EVENTS is logs, or something on the way removes span events",
            "set OTEL_PYTHON_BUDGET_EVENTS=both, or look at the collector's processors",
        )
    return Hop(_JAEGER, "passed", f"{len(spans)} denials, each with its event")


def _span(url: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
    try:
        answer = http.get_json(f"{url}/api/traces/{wanted['trace_id']}")
    except urllib.error.HTTPError as error:
        if error.code == 404:  # Jaeger does not have the trace yet
            return None
        raise
    for trace in answer["data"] or ():
        for span in trace["spans"]:
            tags = {tag["key"]: tag["value"] for tag in span["tags"]}
            if tags.get(semconv.DECISION) == semconv.DENY:
                found: dict[str, Any] = span
                return found
    return None


def _has_event(span: dict[str, Any]) -> bool:
    return any(
        field["value"] == semconv.SPAN_EVENT_THRESHOLD_HIT
        for log in span["logs"]
        for field in log["fields"]
        if field["key"] == "event"
    )


def check_audit_file(file: Path | None, denials: list[dict[str, Any]], wait: float) -> Hop:
    """Check that the file has each process's denial: its log event, found by its trace."""
    if file is None:
        return Hop(_AUDIT, "skipped", "pass --audit-file PATH")
    wanted = {denial["trace_id"] for denial in denials}
    try:
        audit = http.until(
            lambda: _audited(file), lambda found: wanted <= _denied_traces(found), wait
        )
    except OSError as error:
        return Hop(
            _AUDIT,
            "failed",
            f"{file} could not be read ({error.strerror})",
            "the collector writes elsewhere, has written nothing yet, or you may not read it",
            "pass --audit-file the path in the collector's OTELCOL_AUDIT_FILE",
        )
    skipped = f" ({audit})" if str(audit) else ""
    missing = wanted - _denied_traces(audit)
    if missing:
        return Hop(
            _AUDIT,
            "failed",
            f"{len(missing)} of {len(wanted)} denials are not in {file}{skipped}",
            "the collector accepted the log events, but its logs pipeline leads elsewhere, or "
            "filters them",
            f"keep records whose event name is {semconv.LOG_EVENT_THRESHOLD_HIT}, as "
            "collector/config.yaml does",
        )
    return Hop(_AUDIT, "passed", f"{len(wanted)} denials{skipped}")


def _audited(file: Path) -> AuditFile:
    try:
        return read(file)
    except FileNotFoundError:  # it is created with the first event
        if not file.parent.is_dir():
            raise
        return AuditFile()


def _denied_traces(audit: AuditFile) -> set[str]:
    """The trace ids of the denials in the file."""
    return {
        event.get("traceId", "")
        for event in audit.events
        if event["attributes"].get(semconv.KIND) == semconv.KIND_HARD
    }
