"""Guard and pipeline health: whether the guard does its job, and whether we would know."""

from __future__ import annotations

from dashboards.builder import external as ext
from dashboards.builder import parts as p
from dashboards.builder import queries as q
from dashboards.builder.model import (
    PER_SECOND,
    SECONDS,
    SHARE,
    WHOLE,
    Dashboard,
    Panel,
    Row,
    Scope,
    Step,
    Target,
    Unit,
)
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv as sc
from otel_budget.semconv import prometheus_label

UID = "otel-budget-health"
_UNREADABLE = (sc.MALFORMED, sc.LATE)


def build(s: Scope, t: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: guard and pipeline health",
        description="Whether the guard answers, in time and readably, and whether its telemetry "
        "arrives. When this is not well, the other two dashboards cannot be trusted.",
        rows=(
            Row(title="At a glance", panels=_glance(s)),
            Row(title="Guard", panels=_guard(s, t)),
            Row(title="Telemetry", panels=_telemetry(s)),
            Row(title="Collector", panels=_collector(t)),
        ),
    )


def _glance(s: Scope) -> list[Panel]:
    decisions = p.counted(s, sc.METRIC_DECISIONS)
    unreadable = p.counted(s, sc.METRIC_DECISIONS, p.one_of(sc.DECISION, _UNREADABLE))
    stand_in = p.counted(
        s, sc.METRIC_THRESHOLD_HITS, q.equals(sc.RESOURCE, sc.GUARD_UNAVAILABLE), p.SOFT
    )
    seen = q.by("max", (), f"timestamp({s.x(sc.METRIC_DECISIONS)})")
    checked = q.by("sum", (), f"rate({s.x(sc.METRIC_DECISIONS)}[$__rate_interval])")

    def stat(
        key: str,
        title: str,
        expr: str,
        description: str,
        *,
        unit: Unit = WHOLE,
        step: float | None = 1,
    ) -> Panel:
        steps = () if step is None else (Step(step, "red"),)
        return p.stat(key, title, expr, unit, description, steps=steps)

    def errors(metric: sc.Metric) -> str:
        return q.or_zero(p.counted(s, metric), decisions)

    return [
        stat(
            "checked",
            "Checks per second",
            checked,
            "Model and tool checks now. A fall to 0 with agents at work: the guard is no longer "
            "asked, or its telemetry no longer arrives.",
            unit=PER_SECOND,
            step=None,
        ),
        stat(
            "guard_errors",
            "Guard exceptions",
            errors(sc.METRIC_GUARD_ERRORS),
            "In the selected time. Each is a call that was refused or went unguarded, as the host "
            "decides. The type is in the chart below.",
        ),
        stat(
            "unreadable",
            "Malformed and late answers",
            q.or_zero(unreadable, decisions),
            "In the selected time. The runtime takes each for a refusal.",
        ),
        stat(
            "fail_open",
            "Let through unguarded",
            q.or_zero(stand_in, decisions),
            "Calls that a gate let through in a failing guard's stead in the selected time. "
            "Nothing limited their spend.",
        ),
        stat(
            "telemetry_errors",
            "Telemetry errors",
            errors(sc.METRIC_TELEMETRY_ERRORS),
            "Failures of the telemetry itself in the selected time; none reached the host. The "
            "component is in the chart below, the cause in the host's log (once per kind).",
        ),
        stat(
            "age",
            "Age of the last datum",
            f"time() - {seen}",
            "Of the youngest sample of any chosen service. Above two export intervals (60 s by "
            "default): nothing runs, or nothing arrives.",
            unit=SECONDS,
            step=180,
        ),
    ]


def _guard(s: Scope, t: Thresholds) -> list[Panel]:
    bucket = s.x(sc.METRIC_GUARD_DURATION, part="_bucket")
    error_type = prometheus_label(sc.ERROR_TYPE)
    trouble = s.x(sc.METRIC_DECISIONS, p.one_of(sc.DECISION, p.TROUBLE))
    return [
        Panel(
            key="latency",
            title="Time of the guard's answers",
            kind="lines",
            description=f"Percentiles over all guards chosen. From {t.guard_slow_seconds:g} s on "
            f"agents feel it; from {t.guard_late_seconds:g} s on an a3s runtime has given up. "
            "Dots are single calls and link to their traces.",
            targets=tuple(
                Target(
                    expr=q.quantile(level, bucket, ()),
                    legend=f"p{level * 100:g}",
                    exemplar=level == 0.99,
                )
                for level in (0.5, 0.95, 0.99)
            ),
            unit=SECONDS,
            width=12,
            height=10,
            steps=(Step(t.guard_slow_seconds, "orange"),),
        ),
        Panel(
            key="latency_map",
            title="Guard answers a second, by time taken",
            kind="heatmap",
            description="Where the answers lie. Two bands: a cache and its misses, or one of two "
            "guards is slow. (Perses draws, for each bound, the answers below it.)",
            targets=(Target(expr=q.rate(bucket, ("le",)), legend="{{le}}", exemplar=True),),
            unit=SECONDS,
            width=12,
            height=10,
        ),
        Panel(
            key="latency_guard",
            title="95th percentile by guard and decision point",
            kind="gauges",
            description="In the selected time. The slow one's store is usually the cause: see the "
            "child spans of its traces.",
            targets=(
                Target(
                    expr="histogram_quantile(0.95, "
                    + q.by(
                        "sum",
                        ("le", p.GUARD, p.POINT),
                        q.total(bucket, p.RANGE),
                    )
                    + ")",
                    legend=f"{{{{{p.GUARD}}}}} {{{{{p.POINT}}}}}",
                ),
            ),
            unit=SECONDS,
            steps=(Step(t.guard_slow_seconds, "orange"),),
        ),
        Panel(
            key="errors",
            title="Guard exceptions by type",
            kind="bars",
            description="Between two points of the chart. ConnectionError and the like: its store. "
            "TypeError and the like: a bug of the guard.",
            targets=(
                Target(
                    expr=q.by(
                        "sum",
                        (p.GUARD, p.POINT, error_type),
                        q.total(s.x(sc.METRIC_GUARD_ERRORS), p.STEP),
                    )
                    + " > 0",
                    legend=f"{{{{{p.GUARD}}}}} {{{{{p.POINT}}}}} {{{{{error_type}}}}}",
                ),
            ),
        ),
        Panel(
            key="trouble",
            title="Decisions that came to nothing",
            kind="bars",
            description="Between two points of the chart: error (the guard raised), late (the "
            "caller had given up), malformed (nobody can read it), cancelled (the caller went "
            "away). The first three are alarms of their own.",
            targets=(
                Target(
                    expr=q.by("sum", (p.DECISION, p.POINT), q.total(trouble, p.STEP)) + " > 0",
                    legend=f"{{{{{p.DECISION}}}}} {{{{{p.POINT}}}}}",
                ),
            ),
        ),
    ]


def _telemetry(s: Scope) -> list[Panel]:
    component, label = prometheus_label(sc.COMPONENT), prometheus_label(sc.LABEL)
    decisions = s.x(sc.METRIC_DECISIONS)
    services = (q.JOB, q.ENVIRONMENT)
    return [
        Panel(
            key="ages",
            title="Age of the last datum by service",
            kind="gauges",
            description="Services seen in the selected time. A job that has ended grows old in "
            "peace; a service that should run does not: put it on the list expected_services.",
            targets=(
                Target(
                    expr=f"time() - {q.last_sample(decisions, services, p.RANGE)}",
                    legend=f"{{{{{q.JOB}}}}} {{{{{q.ENVIRONMENT}}}}}",
                ),
            ),
            unit=SECONDS,
            height=5,
        ),
        Panel(
            key="overflows",
            title="Values beyond a label's cap",
            kind="gauges",
            description="How often a value was counted under _other_ in the selected time, by "
            "label. Above 0: raise max_label_sets, or stop making labels of what is unbounded.",
            targets=(
                Target(
                    expr=p.counted_or_zero(s, label, sc.METRIC_LABEL_OVERFLOWS),
                    legend=f"{{{{{label}}}}}",
                ),
            ),
            height=5,
            steps=(Step(1, "orange"),),
        ),
        Panel(
            key="telemetry_components",
            title="Telemetry errors by component",
            kind="gauges",
            description="In the selected time. The cause is in the host's log, once per kind.",
            targets=(
                Target(
                    expr=p.counted_or_zero(s, component, sc.METRIC_TELEMETRY_ERRORS),
                    legend=f"{{{{{component}}}}}",
                ),
            ),
            height=5,
            steps=(Step(1, "orange"),),
        ),
    ]


def _lost(places: tuple[str, ...]) -> str:
    return " or ".join(
        q.marked(q.total(name, p.STEP), ext.SIGNAL, f"{where} {signal}")
        for where in places
        for signal, name in ext.counters(where).items()
    )


def _collector(t: Thresholds) -> list[Panel]:
    queue = f"{ext.QUEUE_SIZE} / {ext.QUEUE_CAPACITY}"
    known = q.by("sum", (), ext.QUEUE_SIZE)
    return [
        Panel(
            key="queues",
            title="Sending queues",
            kind="lines",
            description="Share of each queue in use. Grows while its receiver is down or slow and "
            "falls afterwards; full, telemetry is lost. Empty panel: Prometheus does not scrape "
            "the Collector's own metrics.",
            targets=(
                Target(
                    expr=q.by("max", ("instance", "exporter"), queue),
                    legend="{{exporter}} at {{instance}}",
                ),
            ),
            unit=SHARE,
            width=12,
            top=1,
            steps=(Step(t.collector_queue, "orange"),),
        ),
        Panel(
            key="lost",
            title="Lost by the Collector",
            kind="bars",
            description="Items between two points of the chart; always 0 in good times. Metrics "
            "recover by themselves, spans and log events are gone. Queue too small, disk full, or "
            "a receiver that calls the data wrong: see the Collector's log.",
            targets=tuple(
                Target(expr=q.or_zero(q.by("sum", (), _lost(places)), known), legend=what)
                for what, places in ext.LOSSES.items()
            ),
            width=12,
        ),
    ]
