"""Why metrics are missing from Prometheus, or say the wrong thing of who sent them."""

from __future__ import annotations

from typing import Final

from otel_budget import semconv
from otel_budget.metric import prometheus_label
from otel_budget.verify import clocks, expected, http
from otel_budget.verify.hop import Problem, Why
from otel_budget.verify.series import Sender, Series, labels_of, otlp_status, query

_TENANT: Final = prometheus_label(semconv.TENANT)
_SUFFIXES: Final = "UnderscoreEscapingWithSuffixes"
_ENVIRONMENT: Final = "deployment.environment.name"
_METRICS: Final = tuple(dict.fromkeys(metric for metric, _, _ in expected.VALUES))
_NAMES: Final = frozenset(metric.prometheus_name() for metric in _METRICS)
#: Seconds that parts of one export may be apart, where something on the way splits it.
_SPLIT: Final = 2.0
_LEAVE: Final = "let the collector's processors leave it as it is"


def beside_the_values(url: str, sender: Sender, series: Series) -> Problem | None:
    """What is wrong although every value arrived: whose they are, or what has no tenant."""
    job = _another(series, "job", sender.job)
    if job:
        return Problem(
            job,
            "something on the way replaces service.name, or Prometheus scrapes without "
            "honor_labels: services cannot be told apart",
            "leave service.name and service.namespace as they are; with a scrape, set "
            "honor_labels: true",
        )
    label = prometheus_label(_ENVIRONMENT)
    environment = _another(series, label, sender.resource.get(_ENVIRONMENT))
    if environment:
        return Problem(
            environment,
            "Prometheus does not make a label of this resource attribute, or something on the way "
            "changes it: budgets of test and production are mixed",
            f"set otlp.promote_resource_attributes: [{_ENVIRONMENT}] in prometheus.yml",
        )
    buckets = f"{semconv.METRIC_GUARD_DURATION.prometheus_name()}_bucket"
    guard = f'{prometheus_label(semconv.GUARD_NAME)}="{expected.NAME}"'
    wanted = {labels.get("instance") for labels, _ in series}
    measured = http.until(
        lambda: {
            labels.get("instance") for labels, _ in query(url, f"{buckets}{{{guard}}}", sender)
        },
        lambda found: wanted <= found,
        _SPLIT,
    )
    if not wanted <= measured:
        return Problem(
            f"{buckets} is missing",
            "something on the way drops histograms, or the backend keeps them in another form: "
            "the guard's latency, and the alert on it, stay empty",
            "let the pipeline pass histograms with their explicit buckets",
        )
    return None


def _another(series: Series, label: str, wanted: str | None) -> str:
    """In words, which other value a label has somewhere; empty if none, or if any will do."""
    others = [labels.get(label) for labels, _ in series if labels.get(label) != wanted]
    return f"the label {label} is {others[0]!r} instead of {wanted!r}" if wanted and others else ""


def why_missing(url: str, sender: Sender, series: Series, missing: list[str], why: Why) -> Problem:
    """The likely cause of values that are missing or wrong.

    Args:
        url: The base URL of Prometheus.
        sender: Who sent the canary.
        series: What has the canary's tenant.
        missing: What is missing or wrong, in words.
        why: Asked if nothing arrived.
    """
    detail = missing[0] + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
    if sender.ahead is not None and abs(sender.ahead) > clocks.TOLERATED:
        return clocks.problem(sender.ahead, detail)
    names = {labels["__name__"] for labels, _ in series}
    if not series:
        # A backend that keeps dots in metric names also keeps them in labels.
        dotted = query(url, f'{{"{semconv.TENANT}"="{sender.tenant}"}}', sender)
        names = {labels["__name__"] for labels, _ in dotted}
    other_names = _other_names(names)
    if other_names is not None:
        return other_names
    counters = {metric.prometheus_name() for metric in _METRICS if metric.kind == "counter"}
    if sender.delta and not names & counters:
        return Problem(
            detail,
            "the application exports delta metrics, which Prometheus drops; nothing on the way "
            "made them cumulative",
            "leave OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE at cumulative, or add the "
            "delta_to_cumulative processor to the collector's metrics pipeline",
        )
    if not names:
        return _another_tenant(url, sender) or _nothing_arrived(url, detail, why)
    if len({labels.get("instance") for labels, _ in series}) < len(sender.instances):
        return Problem(
            detail,
            "the two processes share one series: the label of the instance is missing, or the "
            "same for both",
            "leave service.instance.id as it is: with OTLP, Prometheus makes the label instance "
            "of it; with a scrape, set honor_labels",
        )
    return _label_missing(series) or Problem(
        detail,
        "some of the values did not arrive, or something on the way changed them",
        "check what the pipeline filters, aggregates and renames",
    )


def _other_names(names: set[str]) -> Problem | None:
    """The problem of metrics that arrived under names that no query knows."""
    bare = {metric.prometheus_name(suffixes=False) for metric in _METRICS}
    bare |= {metric.name for metric in _METRICS}
    without = sorted(names & (bare - _NAMES))
    if without:
        return Problem(
            f"the canary arrived as {without[0]}",
            "this backend names metrics without the suffixes of unit and type, so the shipped "
            "queries, dashboards and alerts find nothing",
            f"set translation_strategy to {_SUFFIXES} (Prometheus: under otlp; Collector: in "
            "the prometheus exporter; Mimir: its OTLP suffixes option)",
        )
    prefixed = sorted(name for name in names - _NAMES if name.endswith(tuple(_NAMES)))
    if prefixed and not names & _NAMES:
        return Problem(
            f"the canary arrived as {prefixed[0]}",
            "something on the way puts a prefix before the names of metrics, so the shipped "
            "queries, dashboards and alerts find nothing",
            "remove it: it is the namespace of the collector's prometheus exporter, or a processor",
        )
    return None


def _another_tenant(url: str, sender: Sender) -> Problem | None:
    """The problem of series that came without the canary's tenant, or under another."""
    name = semconv.METRIC_THRESHOLD_HITS.prometheus_name()
    resource = f'{prometheus_label(semconv.RESOURCE)}="{expected.RESOURCE}"'
    stray = [
        labels
        for labels, _ in query(url, f"{name}{{{resource}}}", sender)
        if labels.get("instance") in sender.instances
    ]
    if not stray:
        return None
    tenant = stray[0].get(_TENANT)
    return Problem(
        f"{name} arrived "
        + (f"with the tenant {tenant!r}" if tenant else f"without the label {_TENANT}"),
        f"something on the way deletes or changes the attribute {semconv.TENANT} of metrics: "
        "nobody's spend can be told from another's",
        _LEAVE,
    )


def _label_missing(series: Series) -> Problem | None:
    """The problem of a metric that arrived without one of its labels."""
    for metric, attributes, _ in expected.VALUES:
        named = [labels for labels, _ in series if labels["__name__"] == metric.prometheus_name()]
        wanted = labels_of(metric, attributes)
        absent = [key for key in wanted if not any(key in labels for labels in named)]
        if named and absent:
            return Problem(
                f"{metric.prometheus_name()} arrived without the label {absent[0]}",
                "something on the way deletes this attribute of metrics, or adds its series up",
                _LEAVE,
            )
    return None


def _nothing_arrived(url: str, detail: str, why: Why) -> Problem:
    if otlp_status(url) in (404, 405):
        return Problem(
            f"{detail}; {http.shown(url)}/api/v1/otlp answers 404",
            "Prometheus runs without its OTLP receiver, so the collector's exporter is refused",
            "start it with --web.enable-otlp-receiver, or let it scrape the collector "
            "(collector/overlays/scrape.yaml)",
        )
    return why(detail) or Problem(
        detail,
        "the collector accepted the metrics, but they have not arrived yet, or its metrics "
        "pipeline leads elsewhere",
        "look in the collector's log for its metrics exporter; with a scrape, wait longer with "
        "--timeout",
    )
