"""The hops to Jaeger and to the audit file: each denial, where people will look for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from otel_budget import semconv
from otel_budget.audit_file import AuditFile, read
from otel_budget.verify import expected, http
from otel_budget.verify.hop import Hop, Problem, Why

_JAEGER: Final = "trace in Jaeger"
_AUDIT: Final = "event in the audit file"


def check_jaeger(
    url: str | None, tenant: str, denials: list[dict[str, Any]], wait: float, why: Why
) -> Hop:
    """Check that Jaeger has each process's denial: its span with its event.

    Args:
        url: The base URL of Jaeger.
        tenant: The canary's tenant.
        denials: ``trace_id`` and ``sampled`` of each denial, the only one of its trace.
        wait: Seconds until what has not arrived counts as missing.
        why: Asked if a denial is missing.
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
    except (OSError, ValueError, KeyError, TypeError) as error:
        return http.unreachable("Jaeger", "--jaeger", url, error).hop(_JAEGER)
    arrived = [span for span in spans if span is not None]
    if len(arrived) < len(spans):
        detail = f"the denial in trace {sampled[0]['trace_id']} was not found"
        problem = why(detail) or Problem(
            detail,
            "the collector accepted it but sends traces elsewhere, filters them, or a tail sampler "
            "dropped it: a denial that comes after its trace was judged is lost there",
            "look in the collector's log for its traces exporter, and at its processors; with tail "
            "sampling, let denials bypass the sampler, as collector/overlays/tail-sampling.yaml "
            "does",
        )
        return problem.hop(_JAEGER)
    if not all(_has_event(span) for span in arrived):
        return Hop(
            _JAEGER,
            "failed",
            f"the denial's span has no event {semconv.SPAN_EVENT_THRESHOLD_HIT}",
            "OTEL_PYTHON_BUDGET_EVENTS is logs, OTEL_SPAN_EVENT_COUNT_LIMIT is 0, or something on "
            "the way removes span events",
            "set OTEL_PYTHON_BUDGET_EVENTS=both, or look at the collector's processors",
        )
    wanted = {
        semconv.TENANT: tenant,
        semconv.DECISION: semconv.DENY,
        semconv.DECISION_POINT: semconv.POINT_LLM,
        semconv.RESOURCE: expected.RESOURCE,
    }
    for span in arrived:
        tags = _tags(span)
        for attribute, value in wanted.items():
            if tags.get(attribute) != value:
                told = f"{tags[attribute]!r} instead of {value!r}" if attribute in tags else "gone"
                return Hop(
                    _JAEGER,
                    "failed",
                    f"the denial's span is there, but its {attribute} is {told}",
                    "something on the way deletes or changes attributes of spans, or an "
                    "OTEL_*_LIMIT variable cuts them: searches by tenant and decision, and the "
                    "links of the dashboards, find nothing",
                    "let the collector's processors leave it as it is, and unset "
                    "OTEL_ATTRIBUTE_* and OTEL_SPAN_ATTRIBUTE_* limits",
                )
    return Hop(_JAEGER, "passed", f"{len(spans)} denials, each with its event")


def _span(url: str, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The denial's span, the last check of its trace; None if Jaeger does not have it yet."""
    try:
        answer = http.get_json(f"{url}/api/traces/{wanted['trace_id']}")
    except http.ErrorStatus as error:
        # Jaeger says that it does not know the trace; anything else would say it in other words.
        if error.answer.status == 404 and "errors" in json.loads(error.answer.body):
            return None
        raise
    checks = [
        span
        for trace in answer["data"] or ()
        for span in trace["spans"]
        if span["operationName"] == semconv.SPAN_CHECK_BEFORE_LLM
    ]
    decided = [span for span in checks if semconv.DECISION in _tags(span)]
    denied = [span for span in decided if _tags(span)[semconv.DECISION] == semconv.DENY]
    if denied:
        return dict(denied[0])
    # Without the attribute that tells them apart, both checks must have come.
    nameless = [span for span in checks if span not in decided]
    return max(nameless, key=lambda span: int(span["startTime"])) if len(nameless) > 1 else None


def _tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def _has_event(span: dict[str, Any]) -> bool:
    return any(
        field["value"] == semconv.SPAN_EVENT_THRESHOLD_HIT
        for log in span["logs"]
        for field in log["fields"]
        if field["key"] == "event"
    )


def disk_problem(file: Path | None, detail: str) -> Problem | None:
    """The problem of a disk on which the audit file cannot be written, if it is on this machine."""
    if file is None or not hasattr(os, "statvfs"):
        return None
    try:
        disk = os.statvfs(file.parent)
    except OSError:
        return None
    if disk.f_bavail and not disk.f_flag & os.ST_RDONLY:
        return None
    state = "full" if not disk.f_bavail else "read-only"
    return Problem(
        detail,
        f"the disk of the audit file {file} is {state}",
        "make room, or point OTELCOL_AUDIT_FILE elsewhere; applications try again for two minutes, "
        "then denials are lost from it",
    )


def check_audit_file(file: Path | None, tenant: str, processes: int, wait: float, why: Why) -> Hop:
    """Check that the file has the soft limit and the denial of each process.

    Args:
        file: The audit file.
        tenant: The canary's tenant.
        processes: How many processes sent it.
        wait: Seconds until what has not arrived counts as missing.
        why: Asked if an event is missing.
    """
    if file is None:
        return Hop(_AUDIT, "skipped", "pass --audit-file PATH")
    try:
        audit = http.until(
            lambda: _audited(file), lambda found: not _missing(found, tenant, processes), wait
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
    missing = _missing(audit, tenant, processes)
    if missing:
        detail = f"{missing} not in {file}{skipped}"
        problem = why(detail) or Problem(
            detail,
            "the collector accepted the log events, but its logs pipeline leads elsewhere, filters "
            "them, or takes away their event name or attributes (an OTEL_*_LIMIT variable of the "
            "application cuts these)",
            f"keep records whose event name is {semconv.LOG_EVENT_THRESHOLD_HIT}, whatever their "
            f"severity, with {semconv.KIND}, {semconv.TENANT} and {semconv.SESSION_ID}, as "
            "collector/config.yaml does",
        )
        return problem.hop(_AUDIT)
    return Hop(_AUDIT, "passed", f"{processes} denials and {processes} soft limits{skipped}")


def _missing(audit: AuditFile, tenant: str, processes: int) -> str:
    """In words, which of the canary's events are missing; empty if none is."""
    for kind, words in ((semconv.KIND_HARD, "denials"), (semconv.KIND_SOFT, "soft limits")):
        # Of each process one; an event may come twice, and a session's id may have become a hash.
        sessions = {
            event["attributes"].get(semconv.SESSION_ID)
            for event in audit.events
            if event.get("eventName") == semconv.LOG_EVENT_THRESHOLD_HIT
            and event["attributes"].get(semconv.KIND) == kind
            and event["attributes"].get(semconv.TENANT) == tenant
        }
        if len(sessions) < processes:
            return f"{processes - len(sessions)} of {processes} {words} are"
    return ""


def _audited(file: Path) -> AuditFile:
    try:
        return read(file)
    except FileNotFoundError:  # it is created with the first event
        if not file.parent.is_dir():
            raise
        return AuditFile()
