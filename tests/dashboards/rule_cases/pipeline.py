"""The alerts of what carries telemetry and alerts: lost, waiting, down, failing."""

from __future__ import annotations

from dashboards.builder import collector_metrics
from dashboards.builder.rules import pipeline_alerts
from rule_cases.case import Case, Fired, over

_COLLECTOR = {"job": "otel-collector", "instance": "127.0.0.1:8888"}
_AT_COLLECTOR = ",".join(f'{name}="{value}"' for name, value in _COLLECTOR.items())
_LOST = [
    (name, signal, where.partition("_")[0])
    for places in collector_metrics.LOSSES.values()
    for where in places
    for signal, name in collector_metrics.counters(where).items()
]


def _up(job: str, values: str) -> dict[str, str]:
    return {f'{pipeline_alerts.UP}{{job="{job}",instance="127.0.0.1:1"}}': values}


def _down(alert: str, job: str) -> tuple[Case, ...]:
    fired = Fired(
        labels={"job": job, "instance": "127.0.0.1:1"},
        value=0,
        summary=f"{job} at 127.0.0.1:1 is down, or cannot be scraped",
    )
    return (
        Case(
            alert=alert,
            name=f"{job} is down",
            series=_up(job, "1x9 0x60"),
            at="20m",
            fires=(fired,),
        ),
        Case(alert=alert, name=f"{job} restarts", series=_up(job, "1x9 0x3 1x60"), at="13m"),
        Case(alert=alert, name=f"{job} is back", series=_up(job, "1x9 0x20 1x60"), at="40m"),
    )


def _failing(counter: str, what: str, at: str, **labels: str) -> tuple[Case, ...]:
    every = {"job": "prometheus", "instance": "127.0.0.1:1", **labels}
    inner = ",".join(f'{name}="{value}"' for name, value in every.items())
    fired = Fired(labels={**every, "failure": what}, value=10, summary=f"{what} ({at})")
    alert, name = "LLMBudgetAlertsFailing", f"{counter}{{{inner}}}"
    return (
        Case(alert=alert, name=what, series={name: "0x9 1+1x60"}, at="40m20s", fires=(fired,)),
        Case(alert=alert, name=f"{what}, once", series={name: "0x9 1x60"}, at="19m"),
        Case(
            alert=alert,
            name="stops when it is over",
            series={name: "0x9 1+1x30 31x120"},
            at="130m",
        ),
    )


def _queue(size: str) -> dict[str, str]:
    place = f'{_AT_COLLECTOR},exporter="otlp_grpc/jaeger",data_type="traces"'
    return {
        f"{collector_metrics.QUEUE_SIZE}{{{place}}}": size,
        f"{collector_metrics.QUEUE_CAPACITY}{{{place}}}": "1000x90",
    }


_RULES = "/etc/prometheus/rules/llm-budget-spend.yml;llm-budget-spend"
_WATCHDOG = Fired(labels={}, value=1, summary="Rules are evaluated and alerts are sent")

PIPELINE = (
    *(
        Case(
            alert="LLMBudgetCollectorDropping",
            name=name,
            series={f'{name}{{{_AT_COLLECTOR},{place}="otlp"}}': "_x9 12x60"},
            at="12m",
            fires=(
                Fired(
                    labels={**_COLLECTOR, place: "otlp", collector_metrics.SIGNAL: signal},
                    value=12,
                    summary=f"Collector 127.0.0.1:8888 loses {signal} at otlp",
                ),
            ),
        )
        for name, signal, place in _LOST
    ),
    Case(
        alert="LLMBudgetCollectorDropping",
        name="nothing lost",
        series={f"{name}{{{_AT_COLLECTOR}}}": "0x60" for name, _, _ in _LOST},
        at="30m",
    ),
    *over(
        "LLMBudgetCollectorDropping",
        f"{_LOST[0][0]}{{{_AT_COLLECTOR}}}",
        Fired(
            labels={**_COLLECTOR, collector_metrics.SIGNAL: _LOST[0][1]},
            value=12,
            summary=f"Collector 127.0.0.1:8888 loses {_LOST[0][1]} at (unknown)",
        ),
    ),
    Case(
        alert="LLMBudgetCollectorQueueFilling",
        name="three quarters full for a while",
        series=_queue("0x9 750x60"),
        at="30m",
        fires=(
            Fired(
                labels={
                    **_COLLECTOR,
                    "exporter": "otlp_grpc/jaeger",
                    "data_type": "traces",
                },
                value=0.75,
                summary="Collector 127.0.0.1:8888: queue of otlp_grpc/jaeger is 75% full",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetCollectorQueueFilling",
        name="full for a few minutes while Jaeger restarts",
        series=_queue("0x9 750x5 0x60"),
        at="30m",
    ),
    Case(
        alert="LLMBudgetCollectorQueueFilling",
        name="nearly empty",
        series=_queue("10x60"),
        at="30m",
    ),
    *(
        case
        for job in pipeline_alerts.NEEDED_JOBS
        for case in _down("LLMBudgetMonitoringDown", job)
    ),
    Case(
        alert="LLMBudgetMonitoringDown",
        name="other people's jobs, and none of ours",
        series=_up("node", "0x60") | _up("jaeger", "0x60"),
        at="30m",
    ),
    *_down("LLMBudgetJaegerDown", pipeline_alerts.JAEGER_JOB),
    *_failing(
        pipeline_alerts.EVALUATION_FAILURES, "Rules cannot be evaluated", _RULES, rule_group=_RULES
    ),
    *_failing(
        pipeline_alerts.SENDING_FAILURES,
        "Alerts do not reach Alertmanager",
        "http://alertmanager:9093/api/v2/alerts",
        alertmanager="http://alertmanager:9093/api/v2/alerts",
    ),
    *_failing(pipeline_alerts.DROPPED, "Prometheus drops alerts", "127.0.0.1:1"),
    *_failing(
        pipeline_alerts.NOTIFICATION_FAILURES,
        "Alertmanager cannot notify",
        "slack",
        integration="slack",
    ),
    Case(
        alert="LLMBudgetAlertsFailing",
        name="other people's rules",
        series={
            f'{pipeline_alerts.EVALUATION_FAILURES}{{rule_group="/others.yml;others"}}': "0+1x60"
        },
        at="40m",
    ),
    Case(alert=pipeline_alerts.WATCHDOG, name="always", series={}, at="5m", fires=(_WATCHDOG,)),
)
