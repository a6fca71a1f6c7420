"""The hops to Prometheus: the canary's exact values, and whether late samples are taken."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from otel_budget import semconv
from otel_budget.metric import Metric, prometheus_label
from otel_budget.verify import expected, http, metric_faults
from otel_budget.verify.hop import Hop, Why
from otel_budget.verify.series import Sender, Series, labels_of, otlp_status, query

_NAME: Final = "metrics in Prometheus"
_LATE: Final = "late samples taken"


def check(url: str | None, sender: Sender, wait: float, why: Why) -> Hop:
    """Check that the canary is there under the names that the queries use.

    Args:
        url: The base URL of Prometheus.
        sender: Who sent the canary.
        wait: Seconds until what has not arrived counts as missing.
        why: Asked if nothing arrived.
    """
    if url is None:
        return Hop(_NAME, "skipped", "pass --prometheus URL")
    url = url.rstrip("/")
    processes = len(sender.instances)
    try:
        series = http.until(
            lambda: query(url, f'{{{prometheus_label(semconv.TENANT)}="{sender.tenant}"}}', sender),
            lambda found: not _missing(found, processes),
            wait,
        )
        missing = _missing(series, processes)
        problem = (
            metric_faults.why_missing(url, sender, series, missing, why)
            if missing
            else metric_faults.beside_the_values(url, sender, series)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = http.unreachable("Prometheus", "--prometheus", url, error)
    if problem is not None:
        return problem.hop(_NAME)
    names = len({metric.name for metric, _, _ in expected.VALUES})
    return Hop(_NAME, "passed", f"{names} metrics of {processes} processes, all exact")


def check_late_samples(url: str | None) -> Hop:
    """Whether Prometheus takes what the Collector kept for it while it was down."""
    if url is None:
        return Hop(_LATE, "skipped", "pass --prometheus URL")
    url = url.rstrip("/")
    try:
        if otlp_status(url) in (404, 405):
            return Hop(_LATE, "skipped", "it has no OTLP receiver: what it scrapes is never late")
        configuration = str(http.get_json(f"{url}/api/v1/status/config")["data"]["yaml"])
    except (OSError, ValueError, KeyError, TypeError):
        return Hop(_LATE, "skipped", "this backend does not show its configuration")
    window = re.search(r"^ +out_of_order_time_window: (\S+)", configuration, flags=re.MULTILINE)
    if window is not None and window[1] != "0s":
        return Hop(_LATE, "passed", f"up to {window[1]} old")
    return Hop(
        _LATE,
        "failed",
        "Prometheus has no out_of_order_time_window",
        "without it, what waits in the collector while Prometheus is down is refused afterwards: "
        "totals recover, but the time of the outage stays empty",
        "set storage.tsdb.out_of_order_time_window: 12h, as collector/prometheus/prometheus.yml "
        "does",
    )


def _values(series: Series, metric: Metric, attributes: Mapping[str, str]) -> list[float]:
    labels = labels_of(metric, attributes)
    return [value for found, value in series if labels.items() <= found.items()]


def _missing(series: Series, processes: int) -> list[str]:
    """Missing and wrong values, each in a few words."""
    problems = []
    for metric, attributes, value in expected.VALUES:
        values = _values(series, metric, attributes)
        name = metric.prometheus_name()
        # Each process has its own series; if two share an instance id, only one series shows.
        if not values:
            problems.append(f"{name} is missing")
        elif len(values) != processes:
            problems.append(f"{name} has {len(values)} series for {processes} processes")
        elif not all(math.isclose(found, value) for found in values):
            shown = ", ".join(f"{found:g}" for found in values)
            problems.append(f"{name} is {shown} instead of {value:g}")
    return list(dict.fromkeys(problems))
