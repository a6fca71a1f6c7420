"""Alerts about what carries telemetry and alerts: Collector, Prometheus, Alertmanager, Jaeger."""

from __future__ import annotations

from typing import Final

from dashboards.builder import collector_metrics, queries
from dashboards.builder.labels import INSTANCE, JOB
from dashboards.builder.rules.alert_model import (
    AT_ONCE,
    CRITICAL,
    KEPT,
    NO_SEVERITY,
    RECENT,
    WARNING,
    Alert,
    lately,
)
from dashboards.builder.thresholds import Thresholds

#: The alert that always fires.
WATCHDOG: Final = "LLMBudgetWatchdog"
#: Jobs of the shipped prometheus.yml: without these, alerts are not made or not sent.
NEEDED_JOBS: Final = ("prometheus", "otelcol", "alertmanager")
JAEGER_JOB: Final = "jaeger"
UP: Final = "up"
#: Counters of Prometheus and Alertmanager about alerts that do not get through.
EVALUATION_FAILURES: Final = "prometheus_rule_evaluation_failures_total"
SENDING_FAILURES: Final = "prometheus_notifications_errors_total"
DROPPED: Final = "prometheus_notifications_dropped_total"
NOTIFICATION_FAILURES: Final = "alertmanager_notifications_failed_total"
_FAILURE: Final = "failure"
_WHERE: Final = (JOB, INSTANCE, _FAILURE, "rule_group", "alertmanager", "integration")


def pipeline(thresholds: Thresholds) -> list[Alert]:
    """Lost, waiting or down on the way; alerts that fail; and one that always fires."""
    queue = f"{collector_metrics.QUEUE_SIZE} / {collector_metrics.QUEUE_CAPACITY}"
    lost = "\nor ".join(
        queries.marked(queries.happened(name, RECENT), collector_metrics.SIGNAL, signal)
        for places in collector_metrics.LOSSES.values()
        for where in places
        for signal, name in collector_metrics.counters(where).items()
    )
    return [
        Alert(
            alert="LLMBudgetCollectorDropping",
            expr=queries.by("sum", collector_metrics.PLACE, f"\n{lost}\n"),
            severity=CRITICAL,
            summary="Collector {{ $labels.instance }} loses {{ $labels.signal }} at "
            "{{ or $labels.exporter $labels.receiver `(unknown)` }}",
            description=f"{lately('items')}: refused on arrival, did not fit into a queue, or "
            "given up. Metrics recover by themselves (they are cumulative); spans and log events "
            "are gone.",
            keep_firing_for=KEPT,
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetCollectorQueueFilling",
            expr=f"{queue} > {thresholds.collector_queue}",
            severity=WARNING,
            summary="Collector {{ $labels.instance }}: queue of {{ $labels.exporter }} is "
            "{{ $value | humanizePercentage }} full",
            description="What it sends to cannot keep up or does not answer. When the queue is "
            "full, telemetry is lost.",
            for_="10m",
            because="a restart of Jaeger or Prometheus fills a queue for a few minutes, and "
            "it\nempties again; that is what the queue is for.",
        ),
        _down(
            "LLMBudgetMonitoringDown",
            NEEDED_JOBS,
            CRITICAL,
            "While it is down, spend is not seen here and no alert can be relied on. Budgets are "
            "still enforced: guards need none of it. Start it again; counters recover by "
            "themselves.",
        ),
        _down(
            "LLMBudgetJaegerDown",
            (JAEGER_JOB,),
            WARNING,
            "Traces cannot be searched; they wait in the Collector's queue. Numbers, alerts and "
            "the audit file need no Jaeger.",
        ),
        Alert(
            alert="LLMBudgetAlertsFailing",
            expr=queries.by("sum", _WHERE, f"\n{_failures()}\n"),
            severity=CRITICAL,
            summary=f"{{{{ $labels.{_FAILURE} }}}} ({{{{ or $labels.rule_group "
            "$labels.alertmanager $labels.integration $labels.instance }})",
            description=f"{lately('times')}. An alert that should fire may reach nobody: look at "
            "Prometheus' and Alertmanager's own pages and logs.",
            for_="10m",
            keep_firing_for=KEPT,
            because="Prometheus sends again, and Alertmanager tries again: a restart of either "
            "fails once.",
        ),
        Alert(
            alert=WATCHDOG,
            expr="vector(1)",
            severity=NO_SEVERITY,
            summary="Rules are evaluated and alerts are sent",
            description="It always fires. Send it to a dead man's switch, which tells somebody "
            "when it no longer comes: nothing here can tell that it is itself gone.",
            because="it is sent as long as anything is.",
        ),
    ]


def _down(alert: str, jobs: tuple[str, ...], severity: str, description: str) -> Alert:
    of_job = f'{JOB}="{jobs[0]}"' if len(jobs) == 1 else f'{JOB}=~"{"|".join(jobs)}"'
    return Alert(
        alert=alert,
        # Where nobody scrapes these jobs there is no series, and nothing fires.
        expr=f"{queries.selector(UP, of_job)} == 0",
        severity=severity,
        summary=f"{{{{ $labels.{JOB} }}}} at {{{{ $labels.{INSTANCE} }}}} is down, or cannot be "
        "scraped",
        description=description,
        for_="5m",
        because="a restart takes less.",
    )


def _failures() -> str:
    ours = queries.selector(EVALUATION_FAILURES, 'rule_group=~".*;llm-budget-.+"')
    counters = {
        "Rules cannot be evaluated": ours,
        "Alerts do not reach Alertmanager": SENDING_FAILURES,
        "Prometheus drops alerts": DROPPED,
        "Alertmanager cannot notify": NOTIFICATION_FAILURES,
    }
    return "\nor ".join(
        queries.marked(queries.happened(counter, RECENT), _FAILURE, what)
        for what, counter in counters.items()
    )
