"""Alerts about the guard and the telemetry: whether the others can be believed."""

from __future__ import annotations

from dashboards.builder import external as ext
from dashboards.builder import queries as q
from dashboards.builder.rule import (
    AT_ONCE,
    CRITICAL,
    EXPECTED,
    POINT,
    RECENT,
    SERVICE,
    TENANT,
    THE_DECISIONS,
    THE_GUARD,
    WARNING,
    Alert,
    who,
)
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv as sc
from otel_budget.semconv import prometheus_label


def guard(t: Thresholds, names: q.Names) -> list[Alert]:
    """The guard raised, was late, malformed or slow, or a gate stands in for it."""
    decisions = names.of(sc.METRIC_DECISIONS)
    hits = names.of(sc.METRIC_THRESHOLD_HITS)
    error_type, guard_name = prometheus_label(sc.ERROR_TYPE), prometheus_label(sc.GUARD_NAME)
    service = (q.ENVIRONMENT, q.JOB)

    def outcome(value: str) -> str:
        happened = q.happened(q.selector(decisions, q.equals(sc.DECISION, value)), RECENT)
        return q.by("sum", (*service, POINT), happened)

    def stand_in(kind: str) -> str:
        gate = q.equals(sc.RESOURCE, sc.GUARD_UNAVAILABLE)
        x = q.selector(hits, q.equals(sc.KIND, kind), gate)
        return q.by("sum", (*service, TENANT), q.happened(x, RECENT))

    errors = q.happened(q.selector(names.of(sc.METRIC_GUARD_ERRORS)), RECENT)
    bucket = q.selector(names.of(sc.METRIC_GUARD_DURATION, "_bucket"))
    return [
        Alert(
            alert="LLMBudgetGuardFailing",
            expr=q.by("sum", (*service, guard_name, POINT, error_type), errors),
            severity=CRITICAL,
            summary=f"{SERVICE}: budget guard {THE_GUARD} raised {{{{ $labels.{error_type} }}}} at "
            f"{THE_DECISIONS}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT}. Depending on the host, a "
            "call whose check fails is refused, or goes ahead unguarded. The exception is on the "
            "span: search Jaeger for error=true.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardLate",
            expr=outcome(sc.LATE),
            severity=CRITICAL,
            summary=f"{SERVICE}: the budget guard answered too late at {THE_DECISIONS}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT} the caller had given up "
            "before the guard answered, and took it for a refusal. See the guard's latency on the "
            "health dashboard.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardMalformed",
            expr=outcome(sc.MALFORMED),
            severity=CRITICAL,
            summary=f"{SERVICE}: the budget guard gave an answer nobody can read at "
            f"{THE_DECISIONS}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT}. The runtime takes such an "
            "answer for a refusal. The span's error.type says what was wrong with it; it is a bug "
            "of the guard.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardSlow",
            expr=q.quantile(0.95, bucket, (*service, guard_name, POINT), RECENT)
            + f" > {t.guard_slow_seconds}",
            severity=WARNING,
            summary=f"{SERVICE}: budget guard {THE_GUARD} takes "
            f"{{{{ $value | humanizeDuration }}}} (95th percentile) at {THE_DECISIONS}",
            description="Every model and tool call waits for it; at the caller's patience (5 s in "
            "a3s) it becomes a refusal. Its store is usually the cause: see the child spans.",
            for_="10m",
            because="a store that fails over is slow for minutes; what lasts longer is a fault.",
        ),
        Alert(
            alert="LLMBudgetGuardFailOpen",
            expr=stand_in(sc.KIND_SOFT),
            severity=CRITICAL,
            summary=f"{SERVICE}: calls of {who(TENANT).lower()} go ahead without a budget check",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were let through because "
            "the guard failed and the gate fails open. Nothing limits the spend now.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardFailClosed",
            expr=stand_in(sc.KIND_HARD),
            severity=CRITICAL,
            summary=f"{SERVICE}: calls of {who(TENANT).lower()} are refused because the guard "
            "fails",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were refused in the "
            "failing guard's stead. No budget is exhausted: repair the guard.",
            because=AT_ONCE,
        ),
    ]


def telemetry(t: Thresholds, names: q.Names) -> list[Alert]:
    """What is missing from the numbers: unpriced, uncounted, collided, absent, lost."""
    decisions = q.selector(names.of(sc.METRIC_DECISIONS))
    model, provider, reason = (
        prometheus_label(a) for a in (sc.METRIC_MODEL, sc.METRIC_PROVIDER, sc.REASON)
    )
    unpriced = q.happened(q.selector(names.of(sc.METRIC_UNPRICED_CALLS)), RECENT)
    uncounted = q.happened(q.selector(names.of(sc.METRIC_CALLS_WITHOUT_USAGE)), RECENT)
    lost = "\nor ".join(
        q.marked(q.happened(name, RECENT), ext.SIGNAL, signal)
        for places in ext.LOSSES.values()
        for where in places
        for signal, name in ext.counters(where).items()
    )
    return [
        Alert(
            alert="LLMBudgetUnpricedCalls",
            expr=q.by("sum", (q.ENVIRONMENT, q.JOB, model, provider, reason), unpriced),
            severity=WARNING,
            summary=f"{SERVICE}: calls of model {{{{ or $labels.{model} `(unknown)` }}}} have no "
            f"price ({{{{ $labels.{reason} }}}})",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} are missing from every sum "
            "of cost. A budget in USD that is counted with the same prices does not see them "
            "either.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetUncountedCalls",
            expr=q.by("sum", (q.ENVIRONMENT, q.JOB, model, reason), uncounted),
            severity=WARNING,
            summary=f"{SERVICE}: calls of model {{{{ or $labels.{model} `(unknown)` }}}} ended "
            f"without a usage ({{{{ $labels.{reason} }}}})",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were made and cost money, "
            "but neither the guard nor these metrics know how much.",
            for_="10m",
            because="a stream that somebody left is everyday; ten minutes of it are a pattern.",
        ),
        Alert(
            alert="LLMBudgetInstanceCollision",
            expr=q.by("max", (q.JOB, q.INSTANCE), f"resets({decisions}[30m])")
            + f" >= {t.collision_resets}",
            severity=WARNING,
            summary=f"{SERVICE}: two processes report as instance {{{{ $labels.{q.INSTANCE} }}}}",
            description="One counter fell {{ $value }} times in half an hour, as it does when two "
            "processes write it in turn (or one restarts again and again). Every sum over them is "
            "wrong. Leave service.instance.id unset: the SDK makes a unique one.",
            because="half an hour of history is argument enough.",
        ),
        Alert(
            alert="LLMBudgetTelemetryAbsent",
            expr=f"{EXPECTED}\nunless on ({q.JOB}) "
            f"{q.by('group', (q.JOB,), f'last_over_time({decisions}[{t.absent_after}])')}",
            severity=CRITICAL,
            summary=f"{SERVICE} has sent no budget telemetry for {t.absent_after}",
            description="It is on the list of services that should (expected_services). Either it "
            "does not run, or its telemetry does not arrive; then its spend goes unseen, and no "
            "other alert about it can fire.",
            for_="5m",
            because=f"{t.absent_after} of silence are in the expression; five more outlast a\n"
            "restart of Prometheus, whose first evaluations see an empty window.",
        ),
        Alert(
            alert="LLMBudgetCollectorDropping",
            expr=q.by("sum", ext.PLACE, f"\n{lost}\n"),
            severity=CRITICAL,
            summary="Collector {{ $labels.instance }} loses {{ $labels.signal }} at "
            "{{ or $labels.exporter $labels.receiver `(unknown)` }}",
            description=f"{{{{ $value | humanize }}}} items in {RECENT} were refused on arrival, "
            "did not fit into a queue, or were given up. Metrics recover by themselves (they are "
            "cumulative); spans and log events are gone.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetCollectorQueueFilling",
            expr=f"{ext.QUEUE_SIZE} / {ext.QUEUE_CAPACITY} > {t.collector_queue}",
            severity=WARNING,
            summary="Collector {{ $labels.instance }}: queue of {{ $labels.exporter }} is "
            "{{ $value | humanizePercentage }} full",
            description="What it sends to does not keep up or does not answer. When the queue is "
            "full, telemetry is lost.",
            for_="10m",
            because="a restart of Jaeger or Prometheus fills a queue for a few minutes and\n"
            "empties it again; that is what the queue is for.",
        ),
    ]
