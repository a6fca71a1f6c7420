"""Asking a Prometheus what a dashboard asks."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from dashboards.builder import scope
from dashboards.builder.rules import fleet_records
from otel_budget import semconv
from support.probes import eventually, get_json, query

#: What Grafana puts in for an hour on a wide screen.
BUILT_IN = {
    "$__rate_interval": "4m",
    "$__range": "1h",
    "$__interval": "1m",
    scope.RECORDS: fleet_records.WINDOWS[0],
    "$__to": str(int(time.time() * 1000)),
}
ALL = ".*"


def fill_in(expr: str, chosen: Mapping[str, str] | None = None) -> str:
    """The query with everything chosen, or some values."""
    for name, value in BUILT_IN.items():
        expr = expr.replace(name, value)
    expr = re.sub(r"\$\{(\w+):regex\}", lambda found: (chosen or {}).get(found[1], ALL), expr)
    assert "$" not in expr.replace("$1", "")
    return expr


def ask(
    prometheus: str, target: Mapping[str, Any], chosen: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """A target's answer, as the panel would ask it: an error is an `OSError`.

    A range is asked up to now, where the youngest sample is, with a point every 15 seconds.
    """
    expr = fill_in(target["expr"], chosen)
    if target["instant"]:
        answer = get_json(f"{prometheus}/api/v1/query", {"query": expr})
    else:
        now = time.time()
        window = {"start": f"{now - 600:.3f}", "end": f"{now:.3f}", "step": "15"}
        answer = get_json(f"{prometheus}/api/v1/query_range", {"query": expr} | window)
    assert answer["status"] == "success"
    rows: list[dict[str, Any]] = answer["data"]["result"]
    return rows


def last(row: Mapping[str, Any]) -> float:
    """The value, or the last one."""
    return float((row["value"] if "value" in row else row["values"][-1])[1])


def recorded_decisions(prometheus: str, expected: float) -> float:
    """How many decisions the rules have recorded, once they are `expected`: within a minute.

    The rules' own: a made-up history brings records that have an instance.
    """
    record = fleet_records.total(semconv.METRIC_DECISIONS, fleet_records.WINDOWS[0])
    rows = eventually(
        lambda: query(prometheus, f'sum(sum_over_time({record}{{instance=""}}[1h]))'),
        lambda rows: bool(rows) and rows[0][1] >= expected,
        timeout=90,
    )
    return rows[0][1] if rows else 0.0
