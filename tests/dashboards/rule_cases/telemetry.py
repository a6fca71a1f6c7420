"""The alerts of the telemetry: what is missing, unpriced or lost."""

from __future__ import annotations

from dashboards.builder import collector_metrics
from dashboards.builder.rules import alert_model
from otel_budget import semconv as sc
from rule_cases.case import (
    ACME,
    SERVICE,
    Case,
    Fired,
    RecordCase,
    decision,
    over,
    prom,
    series,
)

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
_TELEMETRY_ERRORS = series(sc.METRIC_TELEMETRY_ERRORS, {sc.COMPONENT: sc.COMPONENT_PRICES})
_FAILED = Fired(
    labels={**SERVICE, **prom({sc.COMPONENT: sc.COMPONENT_PRICES})},
    value=4,
    summary=f"agents: the telemetry of a budget guard fails ({sc.COMPONENT_PRICES})",
)
_OVERFLOWS = series(sc.METRIC_LABEL_OVERFLOWS, {sc.LABEL: sc.TENANT})
_OVERFLOWED = Fired(
    labels={**SERVICE, **prom({sc.LABEL: sc.TENANT})},
    value=4,
    summary=f"agents: more values of {sc.TENANT} than its cap allows",
)
_SILENT = Fired(labels={}, value=288, summary="No service has sent budget telemetry for 1h")
_COLLISION = Fired(
    labels={"job": "agents", "instance": "a"},
    value=10,
    summary="agents: two processes report as instance a",
)


def _clock(name: str, at: str, *fires: tuple[str, float, str], **instances: str) -> Case:
    """Processes by their clocks; what fires: ahead or behind, by how much, in words."""
    return Case(
        alert="LLMBudgetClockWrong",
        name=name,
        series={
            f'{collector_metrics.CLOCK_AHEAD}{{job="agents",instance="{instance}"}}': values
            for instance, values in instances.items()
        },
        at=at,
        fires=tuple(
            Fired(
                labels={**SERVICE, "clock": clock},
                value=value,
                summary=f"agents: a clock is {words} {clock} of the Collector's",
            )
            for clock, value, words in fires
        ),
    )


_CLOCKS = (
    _clock("two hours ahead", "20m", ("ahead", 7200, "2h 0m 0s"), a="0x30", b="7200x30"),
    _clock("half an hour behind", "20m", ("behind", 1800, "30m 0s"), a="0.1x30", b="-1800x30"),
    _clock(
        "one ahead and one behind",
        "20m",
        ("ahead", 90, "1m 30s"),
        ("behind", 120, "2m 0s"),
        a="90x30",
        b="-120x30",
    ),
    _clock("seconds off", "30m", a="20x60", b="-45x60"),
    _clock("one export that was held up", "14m", a="0x9 -28800 0x60"),
    _clock("a clock that was set", "40m", a="7200x20 0x60"),
    _clock("a process that has ended", "40m", a="7200x20"),
)


#: A day and an hour in which services tell decisions all the time, told every five minutes.
_ALWAYS = "0+5x312"


def _silent(name: str, *services: str, at: str, fires: tuple[Fired, ...] = ()) -> Case:
    """Services over days; each by its samples, one in five minutes."""
    told = {
        decision(sc.ALLOW, job=f"service{number}"): values for number, values in enumerate(services)
    }
    return Case(
        alert="LLMBudgetTelemetrySilent",
        name=name,
        series=told,
        at=at,
        fires=fires,
        step="5m",
        every="5m",
    )


TELEMETRY = (
    *_CLOCKS,
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
    Case(
        alert="LLMBudgetTelemetryErrors",
        name="a broken price source",
        series={_TELEMETRY_ERRORS: "_x9 4x60"},
        at="12m",
        fires=(_FAILED,),
    ),
    *over("LLMBudgetTelemetryErrors", _TELEMETRY_ERRORS, _FAILED),
    Case(
        alert="LLMBudgetTelemetryErrors",
        name="calm",
        series={_TELEMETRY_ERRORS: "0x60"},
        at="30m",
    ),
    Case(
        alert="LLMBudgetLabelOverflow",
        name="more tenants than the cap",
        series={_OVERFLOWS: "_x9 4x60"},
        at="12m",
        fires=(_OVERFLOWED,),
    ),
    *over("LLMBudgetLabelOverflow", _OVERFLOWS, _OVERFLOWED),
    Case(
        alert="LLMBudgetLabelOverflow",
        name="calm",
        series={_OVERFLOWS: "0x60"},
        at="30m",
    ),
    _silent("nothing arrives after a day", _ALWAYS, _ALWAYS, at="27h20m", fires=(_SILENT,)),
    _silent("silent for a day", _ALWAYS, at="48h", fires=(_SILENT,)),
    _silent("silent for forty minutes", _ALWAYS, at="26h40m"),
    _silent("it came back", f"{_ALWAYS} _x20 5x20", at="28h20m"),
    _silent("one service of two is silent", _ALWAYS, "0+5x400", at="30h"),
    _silent("a service that is not there at night", "0x120 _x167 0x120 _x60", at="40h"),
    _silent("a job every hour", "5 _x11 " * 26 + "_x40", at="28h"),
    _silent("half a day of history", "0+5x150", at="15h"),
    _silent("nobody ever told anything", at="30h"),
)

HEARD_RECORDS = (
    RecordCase(
        record=alert_model.HEARD,
        name="two services, one of them twice",
        series={
            decision(sc.ALLOW): "0+1x20",
            decision(sc.ALLOW, instance="b"): "0+1x20",
            decision(sc.ALLOW, job="shop"): "7x20",
        },
        at="10m",
        values=(({}, 2),),
    ),
    RecordCase(
        record=alert_model.HEARD,
        name="all have ended",
        series={decision(sc.ALLOW): "0+1x20 _x20"},
        at="30m",
    ),
)
