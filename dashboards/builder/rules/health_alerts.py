"""Alerts about the guard and its telemetry: whether the other alerts can be trusted."""

from __future__ import annotations

from typing import Final

from dashboards.builder import collector_metrics, queries
from dashboards.builder.labels import (
    COMPONENT,
    ENVIRONMENT,
    ERROR_TYPE,
    GUARD,
    INSTANCE,
    JOB,
    MODEL,
    OVERFLOWED,
    POINT,
    PROVIDER,
    REASON,
    TENANT,
)
from dashboards.builder.rules.alert_model import (
    AT_ONCE,
    CRITICAL,
    EXPECTED,
    HEARD,
    KEPT,
    RECENT,
    SERVICE,
    THE_DECISIONS,
    THE_GUARD,
    WARNING,
    Alert,
    Record,
    lately,
    who,
)
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

#: The label of `LLMBudgetClockWrong`: ahead or behind.
CLOCK: Final = "clock"
#: Of the 288 five minutes of a day: as many as one restart or release leaves.
_ALL_DAY: Final = 274


def guard(thresholds: Thresholds, names: queries.Names) -> list[Alert]:
    """The guard raised, was late, unreadable or slow, or a gate stood in for it."""
    decisions = names.of(semconv.METRIC_DECISIONS)
    hits = names.of(semconv.METRIC_THRESHOLD_HITS)
    service = (ENVIRONMENT, JOB)

    def outcome(value: str) -> str:
        happened = names.happened(
            queries.selector(
                decisions, queries.NOT_CANARY, queries.equals(semconv.DECISION, value)
            ),
            RECENT,
        )
        return queries.by("sum", (*service, POINT), happened)

    def stand_in(kind: str) -> str:
        gate = queries.equals(semconv.RESOURCE, semconv.GUARD_UNAVAILABLE)
        counter = queries.selector(hits, queries.NOT_CANARY, kind, gate)
        return queries.by("sum", (*service, TENANT), names.happened(counter, RECENT))

    errors = names.happened(
        queries.selector(names.of(semconv.METRIC_GUARD_ERRORS), queries.NOT_CANARY_JOB), RECENT
    )
    bucket = queries.selector(
        names.of(semconv.METRIC_GUARD_DURATION, "_bucket"), queries.NOT_CANARY_JOB
    )
    return [
        Alert(
            alert="LLMBudgetGuardFailing",
            expr=queries.by("sum", (*service, GUARD, POINT, ERROR_TYPE), errors),
            severity=CRITICAL,
            summary=f"{SERVICE}: budget guard {THE_GUARD} raised {{{{ $labels.{ERROR_TYPE} }}}} at "
            f"{THE_DECISIONS}",
            description=f"{lately('times')}. Depending on the host, a call whose check fails is "
            "refused, or goes ahead unguarded. The exception is on the span: search Jaeger for "
            "error=true.",
            keep_firing_for=KEPT,
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardLate",
            expr=outcome(semconv.LATE),
            severity=CRITICAL,
            summary=f"{SERVICE}: the budget guard answered too late at {THE_DECISIONS}",
            description=f"{lately('times')}: the caller had given up before the guard answered, "
            "and treated that as a refusal. See the guard's latency on the health dashboard.",
            keep_firing_for=KEPT,
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardMalformed",
            expr=outcome(semconv.MALFORMED),
            severity=CRITICAL,
            summary=f"{SERVICE}: the budget guard gave an unreadable answer at {THE_DECISIONS}",
            description=f"{lately('times')}. The runtime treats such an answer as a refusal. It is "
            "a bug in the guard; the span's error.type says what was wrong with the answer.",
            keep_firing_for=KEPT,
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
            keep_firing_for=KEPT,
            because="a store that fails over is slow for minutes; what lasts longer is a fault.",
        ),
        Alert(
            alert="LLMBudgetGuardFailOpen",
            expr=stand_in(queries.SOFT),
            severity=CRITICAL,
            summary=f"{SERVICE}: calls of {who(TENANT).lower()} go ahead without a budget check",
            description=f"{lately('calls')}: the guard failed, and the gate fails open. Nothing "
            "limits the spend while that lasts.",
            # Not kept: it silences the spend of its tenants (alertmanager.yml), and is itself
            # silenced by the guard's own alerts, which are.
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardFailClosed",
            expr=stand_in(queries.HARD),
            severity=CRITICAL,
            summary=f"{SERVICE}: calls of {who(TENANT).lower()} are refused because the guard "
            "fails",
            description=f"{lately('calls')}: a gate refused on behalf of the failing guard. No "
            "budget is exhausted: repair the guard.",
            # Not kept: it silences the spend of its tenants (alertmanager.yml), and is itself
            # silenced by the guard's own alerts, which are.
            because=AT_ONCE,
        ),
    ]


def telemetry(thresholds: Thresholds, names: queries.Names) -> list[Record | Alert]:
    """What is missing from the numbers: unpriced, uncounted, failed, capped, collided, silent."""
    decisions = queries.selector(names.of(semconv.METRIC_DECISIONS), queries.NOT_CANARY)
    last = queries.by("group", (JOB,), f"last_over_time({decisions}[{thresholds.absent_after}])")
    unpriced = names.happened(
        queries.selector(names.of(semconv.METRIC_UNPRICED_CALLS), queries.NOT_CANARY), RECENT
    )
    uncounted = names.happened(
        queries.selector(names.of(semconv.METRIC_CALLS_WITHOUT_USAGE), queries.NOT_CANARY), RECENT
    )
    failed, overflowed = (
        names.happened(queries.selector(names.of(metric), queries.NOT_CANARY_JOB), RECENT)
        for metric in (semconv.METRIC_TELEMETRY_ERRORS, semconv.METRIC_LABEL_OVERFLOWS)
    )
    return [
        Alert(
            alert="LLMBudgetUnpricedCalls",
            expr=queries.by("sum", (ENVIRONMENT, JOB, MODEL, PROVIDER, REASON), unpriced),
            severity=WARNING,
            summary=f"{SERVICE}: calls of model {{{{ or $labels.{MODEL} `(unknown)` }}}} have no "
            f"price ({{{{ $labels.{REASON} }}}})",
            description=f"{lately('calls')}. They are missing from every cost total. A budget in "
            "USD that uses the same prices does not count them either.",
            keep_firing_for=KEPT,
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetUncountedCalls",
            expr=queries.by("sum", (ENVIRONMENT, JOB, MODEL, REASON), uncounted),
            severity=WARNING,
            summary=f"{SERVICE}: calls of model {{{{ or $labels.{MODEL} `(unknown)` }}}} ended "
            f"without usage ({{{{ $labels.{REASON} }}}})",
            description=f"{lately('calls')}. They were made and cost money, but neither the guard "
            "nor these metrics know how much.",
            for_="10m",
            keep_firing_for=KEPT,
            because="an abandoned stream is normal; ten minutes of them are a pattern.",
        ),
        Alert(
            alert="LLMBudgetTelemetryErrors",
            expr=queries.by("sum", (ENVIRONMENT, JOB, COMPONENT), failed),
            severity=WARNING,
            summary=f"{SERVICE}: the telemetry of a budget guard fails "
            f"({{{{ $labels.{COMPONENT} }}}})",
            description=f"{lately('times')}. The guard and its calls are not affected, but what it "
            "decided or spent may be missing here. The service's own log says why, once per kind.",
            keep_firing_for=KEPT,
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetLabelOverflow",
            expr=queries.by("sum", (ENVIRONMENT, JOB, OVERFLOWED), overflowed),
            severity=WARNING,
            summary=f"{SERVICE}: more values of {{{{ $labels.{OVERFLOWED} }}}} than its cap allows",
            description=f"{lately('values')}: counted under _other_, so that no alert can tell "
            "them apart. Sums stay right. Raise max_label_sets, or take a label without end off "
            "metric_labels.",
            keep_firing_for=KEPT,
            because=AT_ONCE,
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
            keep_firing_for=KEPT,
            because="half an hour of history is evidence enough.",
        ),
        Alert(
            alert="LLMBudgetClockWrong",
            expr=_clocks(thresholds.clock_seconds),
            severity=WARNING,
            summary=f"{SERVICE}: a clock is {{{{ $value | humanizeDuration }}}} "
            f"{{{{ $labels.{CLOCK} }}}} of the Collector's",
            description="What it sends lies at a wrong time. More than ten minutes ahead, "
            "Prometheus refuses its metrics and its spend is missing; behind, they are stored in "
            "the past, where no alert looks. Set the clock of its machine.",
            for_="10m",
            because="a machine that wakes, or an export that was held up, sends one old point; "
            "the next is right.",
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
        Record(
            record=HEARD,
            expr=queries.by("count", (), queries.by("group", (ENVIRONMENT, JOB), decisions)),
            because="How many services tell decisions now; absent if none does.",
        ),
        Alert(
            alert="LLMBudgetTelemetrySilent",
            expr=f"max_over_time(count_over_time({HEARD}[1d:5m])[1d:30m]) >= {_ALL_DAY}\n"
            f"unless last_over_time({HEARD}[{thresholds.silent_after}])",
            severity=WARNING,
            summary=f"No service has sent budget telemetry for {thresholds.silent_after}",
            description="Before, there was some all day and night. Either nothing runs, or "
            "nothing arrives, and then no alert about spend can fire. Run `otel-budget verify` "
            "where a service runs: it names the hop that fails.",
            for_="5m",
            because=f"the expression already waits for {thresholds.silent_after} of silence; five "
            "minutes more\noutlast a restart of Prometheus. Jobs and services that scale to zero "
            "leave gaps in a\nday, so their silence is no news; name them in expected_services if "
            "it is.",
        ),
    ]


def _clocks(seconds: int) -> str:
    ahead = queries.selector(collector_metrics.CLOCK_AHEAD, queries.NOT_CANARY_JOB)
    place = (ENVIRONMENT, JOB)
    most, least = (queries.by(what, place, ahead) for what in ("max", "min"))
    return (
        queries.marked(f"{most} > {seconds}", CLOCK, "ahead")
        + "\nor "
        + queries.marked(f"-{least} > {seconds}", CLOCK, "behind")
    )
