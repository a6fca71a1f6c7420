"""What arrived: small questions to Prometheus, Jaeger and the audit file of a `Stack`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from otel_budget import audit_file
from otel_budget.verify import collector
from otel_budget.verify.http import ask, get_json, until

__all__ = [
    "ask", "audit", "audit_events", "eventually", "get_json", "query", "sent_spans", "spans",
    "total", "traces",
]  # fmt: skip

T = TypeVar("T")


def eventually(
    probe: Callable[[], T], wanted: Callable[[T], bool] = bool, *, timeout: float = 30
) -> T:
    """Ask until the answer is as wanted; an `OSError` counts as no answer yet.

    Args:
        probe: Asks.
        wanted: Whether an answer is the wanted one; by default any true value is.
        timeout: Seconds.

    Returns:
        The last answer, wanted or not, so that an assertion can show it.
    """

    def attempt() -> tuple[Any, OSError | None]:
        try:
            return probe(), None
        except OSError as error:
            return None, error

    answer: T
    answer, error = until(attempt, lambda last: last[1] is None and wanted(last[0]), timeout)
    if error is not None:
        raise error
    return answer


def query(prometheus: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """An instant query: labels and value of every series of the answer."""
    answer = get_json(f"{prometheus}/api/v1/query", {"query": expression})
    return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]


def total(prometheus: str, expression: str) -> float | None:
    """The sum of the values that an instant query returns; None if it returns none."""
    rows = query(prometheus, expression)
    return sum(value for _, value in rows) if rows else None


def spans(jaeger: str, service: str, **tags: str) -> list[dict[str, Any]]:
    """The spans of a service with these tags (``__`` in a name stands for a dot).

    Each has Jaeger's ``traceID``, ``spanID``, ``operationName`` and ``logs``, and ``tags`` as a
    dictionary. The tags are looked up by Jaeger and then compared here, since it answers with
    whole traces.
    """
    wanted = {name.replace("__", "."): value for name, value in tags.items()}
    found = []
    for trace in traces(jaeger, service, wanted):
        for span in trace["spans"]:
            span["tags"] = {tag["key"]: tag["value"] for tag in span["tags"]}
            if all(str(span["tags"].get(name)) == value for name, value in wanted.items()):
                found.append(span)
    return found


def traces(jaeger: str, service: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Jaeger's answer to a search for a service and these tags, of spans or of their events."""
    now = time.time()
    parameters = {"service": service, "limit": "20000", "lookback": "custom"}
    # A log that is replayed has its own times.
    parameters |= {"start": str(int(1.5e15)), "end": str(int((now + 86400) * 1e6))}
    if tags:
        parameters["tags"] = json.dumps(dict(tags))
    answer: list[dict[str, Any]] = get_json(f"{jaeger}/api/traces", parameters, timeout=60)["data"]
    return answer


def sent_spans(collector_metrics: str) -> float:
    """How many spans a Collector has sent; Jaeger keeps one that comes twice only once."""
    values = collector.metrics(collector_metrics).values
    return sum(n for (name, _), n in values.items() if name == "otelcol_exporter_sent_spans")


def audit(file: Path) -> audit_file.AuditFile:
    """An audit file with its rotated parts."""
    return audit_file.read(*sorted(file.parent.glob(f"{file.stem}*{file.suffix}")))


def audit_events(file: Path) -> list[dict[str, Any]]:
    """The log events of an audit file and of its rotated parts, each once."""
    return audit(file).events
