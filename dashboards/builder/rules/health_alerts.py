"""Alerts about the guard and the telemetry: whether the other alerts can be trusted."""

from __future__ import annotations

from dashboards.builder import collector_metrics, queries
from dashboards.builder.labels import (
    ENVIRONMENT,
    ERROR_TYPE,
    GUARD,
    INSTANCE,
    JOB,
    MODEL,
    POINT,
    PROVIDER,
    REASON,
    TENANT,
)
from dashboards.builder.rules.alert_model import (
    AT_ONCE,
    CRITICAL,
    EXPECTED,
    RECENT,
    SERVICE,
    THE_DECISIONS,
    THE_GUARD,
    WARNING,
    Alert,
    who,
)
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv


def guard(thresholds: Thresholds, names: queries.Names) -> list[Alert]:
    """The guard raised, was late, unreadable or slow, or a gate stood in for it."""
    decisions = names.of(semconv.METRIC_DECISIONS)
    hits = names.of(semconv.METRIC_THRESHOLD_HITS)
    service = (ENVIRONMENT, JOB)

    def outcome(value: str) -> str:
        happened = names.happened(
            queries.selector(decisions, queries.equals(semconv.DECISION, value)), RECENT
        )
        return queries.by("sum", (*service, POINT), happened)

    def stand_in(kind: str) -> str:
        gate = queries.equals(semconv.RESOURCE, semconv.GUARD_UNAVAILABLE)
        counter = queries.selector(hits, kind, gate)
        return queries.by("sum", (*service, TENANT), names.happened(counter, RECENT))

    errors = names.happened(queries.selector(names.of(semconv.METRIC_GUARD_ERRORS)), RECENT)
    bucket = queries.selector(names.of(semconv.METRIC_GUARD_DURATION, "_bucket"))
    return [
        Alert(
            alert="LLMBudgetGuardFailing",
            expr=queries.by("sum", (*service, GUARD, POINT, ERROR_TYPE), errors),
            severity=CRITICAL,
            summary=f"{SERVICE}: budget guard {THE_GUARD} raised {{{{ $labels.{ERROR_TYPE} }}}} at "
            f"{THE_DECISIONS}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT}. Depending on the host, a "
            "call whose check fails is refused, or goes ahead unguarded. The exception is on the "
            "span: search Jaeger for error=true.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardLate",
            expr=outcome(semconv.LATE),
            severity=CRITICAL,
            summary=f"{SERVICE}: the budget guard answered too late at {THE_DECISIONS}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT} the caller had given up "
            "before the guard answered, and treated that as a refusal. See the guard's latency "
            "on the health dashboard.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardMalformed",
            expr=outcome(semconv.MALFORMED),
            severity=CRITICAL,
            summary=f"{SERVICE}: the budget guard gave an unreadable answer at {THE_DECISIONS}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT}. The runtime treats such "
            "an answer as a refusal. It is a bug in the guard; the span's error.type says what "
            "was wrong with the answer.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardSlow",
            expr=queries.quantile(0.95, bucket, (*service, GUARD, POINT), RECENT)
            + f" > {thresholds.guard_slow_seconds}",
            severity=WARNING,
            summary=f"{SERVICE}: budget guard {THE_GUARD} takes "
            f"{{{{ $value | humanizeDuration }}}} (95th percentile) at {THE_DECISIONS}",
            description="Every model and tool call waits for it; beyond the caller's timeout (5 "
            "s in a3s) it becomes a refusal. The cause is usually the guard's store: see the "
            "child spans.",
            for_="10m",
            because="a store that fails over is slow for minutes; what lasts longer is a fault.",
        ),
        Alert(
            alert="LLMBudgetGuardFailOpen",
            expr=stand_in(queries.SOFT),
            severity=CRITICAL,
            summary=f"{SERVICE}: calls of {who(TENANT).lower()} go ahead without a budget check",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were let through because "
            "the guard failed and the gate fails open. Nothing limits the spend now.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardFailClosed",
            expr=stand_in(queries.HARD),
            severity=CRITICAL,
            summary=f"{SERVICE}: calls of {who(TENANT).lower()} are refused because the guard "
            "fails",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were refused on behalf of "
            "the failing guard. No budget is exhausted: repair the guard.",
            because=AT_ONCE,
        ),
    ]


def telemetry(thresholds: Thresholds, names: queries.Names) -> list[Alert]:
    """What is missing from the numbers: unpriced, uncounted, collided, absent, lost."""
    decisions = queries.selector(names.of(semconv.METRIC_DECISIONS))
    last = queries.by("group", (JOB,), f"last_over_time({decisions}[{thresholds.absent_after}])")
    queue = f"{collector_metrics.QUEUE_SIZE} / {collector_metrics.QUEUE_CAPACITY}"
    unpriced = names.happened(queries.selector(names.of(semconv.METRIC_UNPRICED_CALLS)), RECENT)
    uncounted = names.happened(
        queries.selector(names.of(semconv.METRIC_CALLS_WITHOUT_USAGE)), RECENT
    )
    lost = "\nor ".join(
        queries.marked(queries.happened(name, RECENT), collector_metrics.SIGNAL, signal)
        for places in collector_metrics.LOSSES.values()
        for where in places
        for signal, name in collector_metrics.counters(where).items()
    )
    return [
        Alert(
            alert="LLMBudgetUnpricedCalls",
            expr=queries.by("sum", (ENVIRONMENT, JOB, MODEL, PROVIDER, REASON), unpriced),
            severity=WARNING,
            summary=f"{SERVICE}: calls of model {{{{ or $labels.{MODEL} `(unknown)` }}}} have no "
            f"price ({{{{ $labels.{REASON} }}}})",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} are missing from every "
            "cost total. A budget in USD that uses the same prices does not count them either.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetUncountedCalls",
            expr=queries.by("sum", (ENVIRONMENT, JOB, MODEL, REASON), uncounted),
            severity=WARNING,
            summary=f"{SERVICE}: calls of model {{{{ or $labels.{MODEL} `(unknown)` }}}} ended "
            f"without usage ({{{{ $labels.{REASON} }}}})",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were made and cost money, "
            "but neither the guard nor these metrics know how much.",
            for_="10m",
            because="an abandoned stream is normal; ten minutes of them are a pattern.",
        ),
        Alert(
            alert="LLMBudgetInstanceCollision",
            expr=queries.by("max", (JOB, INSTANCE), f"resets({decisions}[30m])")
            + f" >= {thresholds.collision_resets}",
            severity=WARNING,
            summary=f"{SERVICE}: two processes report as instance {{{{ $labels.{INSTANCE} }}}}",
            description="One counter fell {{ $value }} times in half an hour, as it does when "
            "two processes write it in turn (or one keeps restarting). Every sum over them is "
            "wrong. Leave service.instance.id unset: the SDK makes a unique one.",
            because="half an hour of history is evidence enough.",
        ),
        Alert(
            alert="LLMBudgetTelemetryAbsent",
            expr=f"{EXPECTED}\nunless on ({JOB}) {last}",
            severity=CRITICAL,
            summary=f"{SERVICE} has sent no budget telemetry for {thresholds.absent_after}",
            description="It is on the list of services that should send some "
            "(expected_services). Either it is not running, or its telemetry does not arrive; "
            "then nobody sees its spend, and no other alert about it can fire.",
            for_="5m",
            because=f"the expression already waits for {thresholds.absent_after} of silence; five "
            "minutes more\noutlast a restart of Prometheus, whose first evaluations see an empty "
            "window.",
        ),
        Alert(
            alert="LLMBudgetCollectorDropping",
            expr=queries.by("sum", collector_metrics.PLACE, f"\n{lost}\n"),
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
    ]
