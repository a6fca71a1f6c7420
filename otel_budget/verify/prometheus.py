"""The hop to Prometheus: the canary's exact values under the names that the queries use."""

from __future__ import annotations

import math
import urllib.error
import urllib.request

from otel_budget import semconv
from otel_budget.verify import ask, expected
from otel_budget.verify.hop import Hop, Problem

_NAME = "metrics in Prometheus"
_TENANT = semconv.prometheus_label(semconv.TENANT)
_SUFFIXES = "UnderscoreEscapingWithSuffixes"

Series = list[tuple[dict[str, str], float]]


def check(url: str | None, tenant: str, *, delta: bool, processes: int, wait: float) -> Hop:
    """The hop.

    Args:
        url: Prometheus' base URL.
        tenant: The canary's.
        delta: Whether the application exports deltas.
        processes: How many distinct instances sent the canary.
        wait: Seconds until it is missing.
    """
    if url is None:
        return Hop(_NAME, "skipped", "pass --prometheus URL")
    url = url.rstrip("/")
    try:
        series = ask.until(
            lambda: _series(url, f'{{{_TENANT}="{tenant}"}}'),
            lambda found: not _missing(found, processes),
            wait,
        )
        missing = _missing(series, processes)
        if not missing:
            names = len({metric.name for metric, _, _ in expected.VALUES})
            return Hop(_NAME, "passed", f"{names} metrics, exact, of {processes} processes")
        problem = _why(url, tenant, delta, series, missing, processes)
    except (OSError, ValueError, KeyError) as error:
        problem = ask.unreachable("Prometheus", "--prometheus", url, error)
    return problem.hop(_NAME)


def _series(url: str, selector: str) -> Series:
    answer = ask.get_json(f"{url}/api/v1/query", {"query": selector})
    return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]


def _values(series: Series, metric: semconv.Metric, attributes: dict[str, str]) -> list[float]:
    labels = {semconv.prometheus_label(name): value for name, value in attributes.items()}
    labels["__name__"] = metric.prometheus_name()
    return [value for found, value in series if labels.items() <= found.items()]


def _missing(series: Series, processes: int) -> list[str]:
    """What is not there as it should be, as sentences."""
    wrong = []
    for metric, attributes, value in expected.VALUES:
        values = _values(series, metric, attributes)
        name = metric.prometheus_name()
        # Every series is one process's. Of two that share an instance id only one is seen.
        if not values:
            wrong.append(f"{name} is not there")
        elif len(values) != processes:
            wrong.append(f"{name} is there {len(values)} times, for {processes} processes")
        elif not all(math.isclose(one, value) for one in values):
            shown = ", ".join(f"{one:g}" for one in values)
            wrong.append(f"{name} is {shown} instead of {value:g}")
    return list(dict.fromkeys(wrong))


def _why(  # noqa: PLR0917
    url: str, tenant: str, delta: bool, series: Series, missing: list[str], processes: int
) -> Problem:
    detail = missing[0] + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
    names = {labels["__name__"] for labels, _ in series}
    if not series:
        # A backend that keeps the dots keeps those of the labels, too.
        dotted = _series(url, f'{{"{semconv.TENANT}"="{tenant}"}}')
        names = {labels["__name__"] for labels, _ in dotted}
    bare = {m.prometheus_name(suffixes=False) for m, _, _ in expected.VALUES} | {
        m.name for m, _, _ in expected.VALUES
    }
    good = {m.prometheus_name() for m, _, _ in expected.VALUES}
    other_names = sorted(names & (bare - good))
    if other_names:
        return Problem(
            f"the canary is there as {other_names[0]}",
            "this backend names metrics without the suffixes of unit and type, so the shipped "
            "queries, dashboards and alerts find nothing",
            f"set translation_strategy to {_SUFFIXES} (Prometheus: under otlp; Collector: in "
            "the prometheus exporter; Mimir: its OTLP suffixes option)",
        )
    counters = {m.prometheus_name() for m, _, _ in expected.VALUES if m.kind == "counter"}
    if delta and not names & counters:
        return Problem(
            detail,
            "the application exports delta metrics, which Prometheus drops; nothing on the way "
            "turned them cumulative",
            "leave OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE at cumulative, or add the "
            "delta_to_cumulative processor to the collector's metrics pipeline",
        )
    if not names:
        return _nothing_arrived(url, detail)
    found = {labels.get("instance") for labels, _ in series}
    if len(found) < processes:
        return Problem(
            detail,
            "the two processes fell on one series: the instance is not among the labels",
            "by OTLP Prometheus makes it of service.instance.id; for a scrape set honor_labels",
        )
    return Problem(
        detail,
        "some of the values did not arrive, or something between changes them",
        "look at what the pipeline filters, aggregates and renames",
    )


def _nothing_arrived(url: str, detail: str) -> Problem:
    if _otlp_status(url) in (404, 405):
        return Problem(
            f"{detail}; {url}/api/v1/otlp answers 404",
            "Prometheus runs without its OTLP receiver, so the collector's exporter is refused",
            "start it with --web.enable-otlp-receiver, or let it scrape the collector "
            "(collector/overlays/scrape.yaml)",
        )
    return Problem(
        detail,
        "the collector took the metrics and they have not come through yet, or its metrics "
        "pipeline leads elsewhere",
        "look at the collector's log for its metrics exporter; for a scrape wait longer with "
        "--timeout",
    )


def _otlp_status(url: str) -> int:
    request = urllib.request.Request(  # noqa: S310
        f"{url}/api/v1/otlp/v1/metrics",
        data=b"",
        headers={"Content-Type": "application/x-protobuf"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
