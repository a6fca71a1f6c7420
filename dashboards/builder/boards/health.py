"""Guard and pipeline health: whether the guard does its job, and whether we would know."""

from __future__ import annotations

from dashboards.builder import collector_metrics, queries
from dashboards.builder.boards import guard_times, ledgers
from dashboards.builder.boards.shared_panels import guard_quantile, legend, stat
from dashboards.builder.labels import (
    COMPONENT,
    DECISION,
    ENVIRONMENT,
    ERROR_TYPE,
    GUARD,
    JOB,
    OVERFLOWED,
    POINT,
)
from dashboards.builder.model import (
    PER_SECOND,
    SECONDS,
    SHARE,
    WHOLE,
    Dashboard,
    Panel,
    Row,
    Step,
    Target,
    Unit,
)
from dashboards.builder.scope import RANGE, STEP, Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv
from otel_budget.metric import Metric

UID = "otel-budget-health"
_UNREADABLE = (semconv.MALFORMED, semconv.LATE)


def build(scope: Scope, thresholds: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: guard and pipeline health",
        description="Whether the guard gives readable answers in time, and whether its telemetry "
        "arrives. When something is wrong here, the other two dashboards cannot be trusted.",
        refresh="1m",  # from records alone; what is wrong here is wrong now
        rows=(
            Row(title="At a glance", panels=_glance(scope)),
            Row(title="Guard", panels=_guard(scope, thresholds)),
            Row(title="The guard's count", panels=ledgers.panels(scope, thresholds)),
            Row(title="Telemetry", panels=_telemetry(scope)),
            Row(title="Collector", panels=_collector(thresholds)),
        ),
    )


def _glance(scope: Scope) -> list[Panel]:
    decisions = scope.fleet_counted(semconv.METRIC_DECISIONS)
    unreadable = scope.fleet_counted(
        semconv.METRIC_DECISIONS, queries.one_of(semconv.DECISION, _UNREADABLE)
    )
    stand_in = scope.fleet_counted(
        semconv.METRIC_THRESHOLD_HITS,
        queries.equals(semconv.RESOURCE, semconv.GUARD_UNAVAILABLE),
        queries.SOFT,
    )
    seen = scope.fleet_last_heard((), semconv.METRIC_DECISIONS, window="1d")
    checked = queries.by(
        "sum", (), f"rate({scope.select(semconv.METRIC_DECISIONS)}[$__rate_interval])"
    )

    def number(
        key: str,
        title: str,
        expr: str,
        description: str,
        *,
        unit: Unit = WHOLE,
        step: float | None = 1,
    ) -> Panel:
        steps = () if step is None else (Step(step, "red"),)
        return stat(key, title, expr, unit, description, steps=steps)

    def errors(metric: Metric) -> str:
        return queries.or_zero(scope.counted(metric), decisions)

    return [
        number(
            "checked",
            "Checks per second",
            checked,
            "Model and tool checks now. If it falls to 0 while agents are at work, the guard is no "
            "longer asked, or its telemetry no longer arrives.",
            unit=PER_SECOND,
            step=None,
        ),
        number(
            "guard_errors",
            "Guard exceptions",
            errors(semconv.METRIC_GUARD_ERRORS),
            "In the selected time. For each, the host refused a call or let it go ahead unguarded. "
            "The type is in the chart below.",
        ),
        number(
            "unreadable",
            "Malformed and late answers",
            queries.or_zero(unreadable, decisions),
            "In the selected time. The runtime treats each as a refusal.",
        ),
        number(
            "fail_open",
            "Let through unguarded",
            queries.or_zero(stand_in, decisions),
            "Calls in the selected time that a gate let through because the guard failed. "
            "Nothing limited their spend.",
        ),
        number(
            "telemetry_errors",
            "Telemetry errors",
            errors(semconv.METRIC_TELEMETRY_ERRORS),
            "Failures of the telemetry itself in the selected time; none reached the host. The "
            "component is in the chart below, the cause in the host's log (once per kind).",
        ),
        number(
            "age",
            "Age of the last datum",
            f"time() - ({seen})",
            "Age of the newest sample of all chosen services, for a day. Above two export "
            "intervals (60 s each by default), nothing runs, or nothing arrives.",
            unit=SECONDS,
            step=180,
        ),
    ]


def _guard(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    trouble = scope.fleet_sum(
        (DECISION, POINT),
        semconv.METRIC_DECISIONS,
        queries.one_of(semconv.DECISION, queries.TROUBLE),
        window=STEP,
    )
    return [
        Panel(
            key="latency",
            title="Time of the guard's answers",
            kind="lines",
            description="Percentiles over all guards of the chosen services. From "
            f"{thresholds.guard_slow_seconds:g} s on, agents notice; from "
            f"{thresholds.guard_late_seconds:g} s on, an a3s runtime has given up. Each dot is "
            "one call and links to its trace.",
            targets=tuple(
                Target(
                    expr=guard_quantile(scope, level, (), exemplars=level == 0.99),
                    legend=f"p{level * 100:g}",
                    exemplar=level == 0.99,
                )
                for level in (0.5, 0.95, 0.99)
            ),
            unit=SECONDS,
            width=12,
            height=10,
            steps=(Step(thresholds.guard_slow_seconds, "orange"),),
        ),
        guard_times.bands(scope, thresholds),
        Panel(
            key="latency_guard",
            title="95th percentile by guard and decision point",
            kind="gauges",
            description="In the selected time. If one is slow, its store is usually the cause: "
            "see the child spans of its traces.",
            targets=(
                Target(
                    expr=guard_quantile(scope, 0.95, (GUARD, POINT), window=RANGE),
                    legend=legend(GUARD, POINT),
                ),
            ),
            unit=SECONDS,
            steps=(Step(thresholds.guard_slow_seconds, "orange"),),
        ),
        Panel(
            key="errors",
            title="Guard exceptions by type",
            kind="bars",
            description="Exceptions between two points of the chart. ConnectionError and the "
            "like: the guard's store. TypeError and the like: a bug in the guard.",
            targets=(
                Target(
                    expr=queries.by(
                        "sum",
                        (GUARD, POINT, ERROR_TYPE),
                        scope.names.total(scope.select(semconv.METRIC_GUARD_ERRORS), STEP),
                    )
                    + " > 0",
                    legend=legend(GUARD, POINT, ERROR_TYPE),
                ),
            ),
        ),
        Panel(
            key="trouble",
            title="Decisions that came to nothing",
            kind="bars",
            description="Decisions between two points of the chart: error (the guard raised), "
            "late (the caller had given up), malformed (unreadable), cancelled (the caller went "
            "away). The first three have alerts of their own.",
            targets=(
                Target(
                    expr=trouble + " > 0",
                    legend=legend(DECISION, POINT),
                ),
            ),
        ),
    ]


def _telemetry(scope: Scope) -> list[Panel]:
    heard = scope.fleet_last_heard((JOB, ENVIRONMENT), semconv.METRIC_DECISIONS)
    return [
        Panel(
            key="ages",
            title="Age of the last datum by service",
            kind="table",
            description="Services seen in the selected time. That the age grows is normal for a "
            "job that has ended, but not for a service that should be running: put such a "
            "service on the list expected_services.",
            targets=(
                Target(
                    expr=f"time() - ({heard})",
                    header="Age",
                ),
            ),
            unit=SECONDS,
            columns=((JOB, "Service"), (ENVIRONMENT, "Environment")),
            width=6,
            height=5,
        ),
        Panel(
            key="not_recorded",
            title="Counted but not recorded, 24 h",
            kind="stat",
            description="Share of a day's spend that the panels from recording rules lack: what "
            "arrived late, after an outage that a queue repaired, and what was counted while the "
            "rules did not run. Counted anew every half hour, so a repair shows half an hour "
            "after it at the latest; what is repaired over a day late does not show. The spend of "
            "the selected time is exact all the same.",
            targets=(Target(expr=scope.fleet_lacks(semconv.METRIC_COST), legend="not recorded"),),
            unit=SHARE,
            width=6,
            height=5,
            steps=(Step(0.01, "orange"),),
        ),
        Panel(
            key="overflows",
            title="Values beyond a label's cap",
            kind="table",
            description="How often a value was counted under _other_ in the selected time, by "
            "label. If above 0, raise max_label_sets, or stop using unbounded values as labels.",
            targets=(
                Target(
                    expr=scope.counted_or_zero(OVERFLOWED, semconv.METRIC_LABEL_OVERFLOWS),
                    header="Values",
                    unit=WHOLE,
                    steps=(Step(1, "orange"),),
                ),
            ),
            columns=((OVERFLOWED, "Label"),),
            width=6,
            height=5,
        ),
        Panel(
            key="telemetry_components",
            title="Telemetry errors by component",
            kind="table",
            description="Errors in the selected time. The cause is in the host's log, once per "
            "kind.",
            targets=(
                Target(
                    expr=scope.counted_or_zero(COMPONENT, semconv.METRIC_TELEMETRY_ERRORS),
                    header="Errors",
                    unit=WHOLE,
                    steps=(Step(1, "orange"),),
                ),
            ),
            columns=((COMPONENT, "Component"),),
            width=6,
            height=5,
        ),
    ]


def _lost(places: tuple[str, ...]) -> str:
    return " or ".join(
        queries.marked(queries.total(name, STEP), collector_metrics.SIGNAL, f"{where} {signal}")
        for where in places
        for signal, name in collector_metrics.counters(where).items()
    )


def _collector(thresholds: Thresholds) -> list[Panel]:
    queue = f"{collector_metrics.QUEUE_SIZE} / {collector_metrics.QUEUE_CAPACITY}"
    known = queries.by("sum", (), collector_metrics.QUEUE_SIZE)
    return [
        Panel(
            key="queues",
            title="Sending queues",
            kind="lines",
            description="Used share of each queue. It grows while the queue's receiver is down "
            "or slow, and falls afterwards; when it is full, telemetry is lost. If the panel is "
            "empty, Prometheus does not scrape the Collector's own metrics.",
            targets=(
                Target(
                    expr=queries.by("max", ("instance", "exporter"), queue),
                    legend="{{exporter}} at {{instance}}",
                ),
            ),
            unit=SHARE,
            width=12,
            top=1,
            steps=(Step(thresholds.collector_queue, "orange"),),
        ),
        Panel(
            key="lost",
            title="Lost by the Collector",
            kind="bars",
            description="Items between two points of the chart; 0 when all is well. Metrics "
            "recover by themselves; spans and log events are gone. The queue is too small, the "
            "disk is full, or a receiver rejects the data: see the Collector's log.",
            targets=tuple(
                Target(
                    expr=queries.or_zero(queries.by("sum", (), _lost(places)), known), legend=what
                )
                for what, places in collector_metrics.LOSSES.items()
            ),
            width=12,
        ),
    ]
