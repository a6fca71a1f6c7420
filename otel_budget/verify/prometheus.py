"""The hop to Prometheus: the canary's exact values under the names that the queries use."""

from __future__ import annotations

import math

from otel_budget import semconv
from otel_budget.metric import Metric, prometheus_label
from otel_budget.verify import expected, http
from otel_budget.verify.hop import Hop, Problem

_NAME = "metrics in Prometheus"
_TENANT = prometheus_label(semconv.TENANT)
_SUFFIXES = "UnderscoreEscapingWithSuffixes"

Series = list[tuple[dict[str, str], float]]


def check(url: str | None, tenant: str, *, delta: bool, processes: int, wait: float) -> Hop:
    """Check the hop to Prometheus.

    Args:
        url: The base URL of Prometheus.
        tenant: The canary's tenant.
        delta: Whether the application exports deltas.
        processes: How many distinct instances sent the canary.
        wait: Seconds until what has not arrived counts as missing.
    """
    if url is None:
        return Hop(_NAME, "skipped", "pass --prometheus URL")
    url = url.rstrip("/")
    try:
        series = http.until(
            lambda: _series(url, f'{{{_TENANT}="{tenant}"}}'),
            lambda found: not _missing(found, processes),
            wait,
        )
        missing = _missing(series, processes)
        if not missing:
            names = len({metric.name for metric, _, _ in expected.VALUES})
            return Hop(_NAME, "passed", f"{names} metrics of {processes} processes, all exact")
        problem = _why(url, tenant, delta, series, missing, processes)
    except (OSError, ValueError, KeyError) as error:
        problem = http.unreachable("Prometheus", "--prometheus", url, error)
    return problem.hop(_NAME)


def _series(url: str, selector: str) -> Series:
    answer = http.get_json(f"{url}/api/v1/query", {"query": selector})
    return [(row["metric"], float(row["value"][1])) for row in answer["data"]["result"]]


def _values(series: Series, metric: Metric, attributes: dict[str, str]) -> list[float]:
    labels = {prometheus_label(name): value for name, value in attributes.items()}
    labels["__name__"] = metric.prometheus_name()
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


def _why(  # noqa: PLR0917
    url: str, tenant: str, delta: bool, series: Series, missing: list[str], processes: int
) -> Problem:
    detail = missing[0] + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
    names = {labels["__name__"] for labels, _ in series}
    if not series:
        # A backend that keeps dots in metric names also keeps them in labels.
        dotted = _series(url, f'{{"{semconv.TENANT}"="{tenant}"}}')
        names = {labels["__name__"] for labels, _ in dotted}
    bare = {m.prometheus_name(suffixes=False) for m, _, _ in expected.VALUES} | {
        m.name for m, _, _ in expected.VALUES
    }
    good = {m.prometheus_name() for m, _, _ in expected.VALUES}
    other_names = sorted(names & (bare - good))
    if other_names:
        return Problem(
            f"the canary arrived as {other_names[0]}",
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
            "made them cumulative",
            "leave OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE at cumulative, or add the "
            "delta_to_cumulative processor to the collector's metrics pipeline",
        )
    if not names:
        return _nothing_arrived(url, detail)
    found = {labels.get("instance") for labels, _ in series}
    if len(found) < processes:
        return Problem(
            detail,
            "the two processes share one series: there is no label for the instance",
            "with OTLP, Prometheus makes it from service.instance.id; with a scrape, set "
            "honor_labels",
        )
    return Problem(
        detail,
        "some of the values did not arrive, or something on the way changed them",
        "check what the pipeline filters, aggregates and renames",
    )


def _nothing_arrived(url: str, detail: str) -> Problem:
    if _otlp_status(url) in (404, 405):
        return Problem(
            f"{detail}; {http.shown(url)}/api/v1/otlp answers 404",
            "Prometheus runs without its OTLP receiver, so the collector's exporter is refused",
            "start it with --web.enable-otlp-receiver, or let it scrape the collector "
            "(collector/overlays/scrape.yaml)",
        )
    return Problem(
        detail,
        "the collector accepted the metrics, but they have not arrived yet, or its metrics "
        "pipeline leads elsewhere",
        "look in the collector's log for its metrics exporter; with a scrape, wait longer with "
        "--timeout",
    )


def _otlp_status(url: str) -> int:
    answer = http.ask(
        f"{url}/api/v1/otlp/v1/metrics",
        data=b"",
        headers={"Content-Type": "application/x-protobuf"},
    )
    return answer.status
