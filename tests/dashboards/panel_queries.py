"""Asking a Prometheus what a dashboard asks."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from support.probes import get_json

#: What Grafana puts in for an hour on a wide screen.
BUILT_IN = {"$__rate_interval": "4m", "$__range": "1h", "$__interval": "1m"}
ALL = ".*"


def fill_in(expr: str, chosen: Mapping[str, str] | None = None) -> str:
    """The query with everything chosen, or some values."""
    for name, value in BUILT_IN.items():
        expr = expr.replace(name, value)
    expr = re.sub(r"\$(\w+)", lambda found: (chosen or {}).get(found[1], ALL), expr)
    assert "$" not in expr.replace('"$1"', "")
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
