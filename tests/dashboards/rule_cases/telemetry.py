"""The alerts of the telemetry: what is missing, unpriced or lost."""

from __future__ import annotations

from dashboards.builder import collector_metrics
from dashboards.builder.rules import alert_model
from otel_budget import semconv as sc
from rule_cases.case import ACME, SERVICE, Case, Fired, decision, over, prom, series

_UNPRICED = {
    sc.METRIC_MODEL: "llama-local",
    sc.METRIC_PROVIDER: "ollama",
    sc.REASON: sc.UNKNOWN_MODEL,
}
_UNPRICED_CALLS = series(sc.METRIC_UNPRICED_CALLS, {**ACME, **_UNPRICED})
_NO_PRICE = Fired(
    labels={**SERVICE, **prom(_UNPRICED)},
    value=4,
    summary="agents: calls of model llama-local have no price (unknown_model)",
)
_UNCOUNTED = {sc.METRIC_MODEL: "claude-sonnet-4-5", sc.REASON: sc.NOT_REPORTED}
_EXPECTED = f'{alert_model.EXPECTED}{{job="shop"}}'
_ABSENT = Fired(
    labels={"job": "shop"}, value=1, summary="shop has sent no budget telemetry for 15m"
)
_COLLECTOR = {"job": "otel-collector", "instance": "127.0.0.1:8888"}
_AT_COLLECTOR = ",".join(f'{name}="{value}"' for name, value in _COLLECTOR.items())
_LOST = [
    (name, signal, where.partition("_")[0])
    for places in collector_metrics.LOSSES.values()
    for where in places
    for signal, name in collector_metrics.counters(where).items()
]
_COLLISION = Fired(
    labels={"job": "agents", "instance": "a"},
    value=10,
    summary="agents: two processes report as instance a",
)


def _queue(size: str) -> dict[str, str]:
    place = f'{_AT_COLLECTOR},exporter="otlp_grpc/jaeger",data_type="traces"'
    return {
        f"{collector_metrics.QUEUE_SIZE}{{{place}}}": size,
        f"{collector_metrics.QUEUE_CAPACITY}{{{place}}}": "1000x90",
    }


TELEMETRY = (
    Case(
        alert="LLMBudgetUnpricedCalls",
        name="a model nobody has a price for",
        series={_UNPRICED_CALLS: "_x9 4x60"},
        at="12m",
        fires=(_NO_PRICE,),
    ),
    *over("LLMBudgetUnpricedCalls", _UNPRICED_CALLS, _NO_PRICE),
    Case(
        alert="LLMBudgetUnpricedCalls",
        name="calm",
        series={_UNPRICED_CALLS: "0x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetUncountedCalls",
        name="again and again",
        series={series(sc.METRIC_CALLS_WITHOUT_USAGE, {**ACME, **_UNCOUNTED}): "0x9 1+1x60"},
        at="40m20s",
        fires=(
            Fired(
                labels={**SERVICE, **prom(_UNCOUNTED)},
                value=10,
                summary="agents: calls of model claude-sonnet-4-5 ended without usage "
                "(not_reported)",
            ),
        ),
    ),
    Case(
        alert="LLMBudgetUncountedCalls",
        name="one stream that somebody left",
        series={series(sc.METRIC_CALLS_WITHOUT_USAGE, {**ACME, **_UNCOUNTED}): "0x9 1x60"},
        at="19m",
    ),
    Case(
        alert="LLMBudgetUncountedCalls",
        name="stops when it is over",
        series={series(sc.METRIC_CALLS_WITHOUT_USAGE, {**ACME, **_UNCOUNTED}): "0+1x30 30x90"},
        at="105m",
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="two processes write one series in turn",
        series={decision(sc.ALLOW): "100+1x30 " + "140 5 " * 20},
        at="50m20s",
        fires=(_COLLISION,),
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="a restart under the same instance id",
        series={decision(sc.ALLOW): "100+1x30 0+1x60"},
        at="50m",
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="two processes, two instance ids",
        series={decision(sc.ALLOW): "100+1x60", decision(sc.ALLOW, instance="b"): "5+1x60"},
        at="50m",
    ),
    Case(
        alert="LLMBudgetInstanceCollision",
        name="stops when it is over",
        series={decision(sc.ALLOW): "140 5 " * 20 + "6+1x120"},
        at="135m",
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="an expected service never came",
        series={_EXPECTED: "1x60"},
        at="12m",
        fires=(_ABSENT,),
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="an expected service fell silent",
        series={_EXPECTED: "1x60", decision(sc.ALLOW, job="shop"): "0+1x10 _x60"},
        at="40m",
        fires=(_ABSENT,),
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="a restart of the service",
        series={
            _EXPECTED: "1x60",
            decision(sc.ALLOW, job="shop"): "0+1x10 _x60",
            decision(sc.ALLOW, job="shop", instance="b"): "_x20 0+1x60",
        },
        at="40m",
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="a job that nobody expects fell silent",
        series={decision(sc.ALLOW): "0+1x10 _x60"},
        at="40m",
    ),
    Case(
        alert="LLMBudgetTelemetryAbsent",
        name="an expected service that decides nothing now is not silent",
        series={_EXPECTED: "1x60", decision(sc.ALLOW, job="shop"): "7x60"},
        at="40m",
    ),
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
)
