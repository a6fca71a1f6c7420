"""The recording and alert rules: what an operator is told, and when.

Every alert is a `Rule` with a severity, a summary that can be read at night, a description with
what to do first, and a `because`: the argument for its `for`, written as a comment into the YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.builder import external as ext
from dashboards.builder import queries as q
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv as sc
from otel_budget.semconv import Metric, prometheus_label

UTILIZATION: Final = "llm_budget:utilization:max"
CONSUMED: Final = "llm_budget:consumed:settled"
LIMIT: Final = "llm_budget:limit:max"
WINDOW_LENGTH: Final = "llm_budget:window_length_seconds:max"
WINDOW_REMAINING: Final = "llm_budget:window_remaining_seconds:max"
EXHAUSTION: Final = "llm_budget:exhaustion_seconds:forecast"
COST_1H: Final = "llm_budget:cost_usd:total1h"
EXPECTED: Final = "llm_budget:expected_service:info"
BURN_WINDOWS: Final = {"10m": 600, "30m": 1800, "1h": 3600, "6h": 21600}

CRITICAL: Final = "critical"
WARNING: Final = "warning"

#: How far back the alerts on events look. Longer than an export interval (60 s by default) and
#: than one missed export; it is also how long such an alert keeps firing after the last event.
RECENT: Final = "10m"

TENANT, AGENT, PRINCIPAL = (prometheus_label(a) for a in (sc.TENANT, sc.AGENT, sc.PRINCIPAL))
RESOURCE = prometheus_label(sc.RESOURCE)
POINT = prometheus_label(sc.DECISION_POINT)
_DAY, _SHORTEST = 2 * 86400, 6 * 3600
_AT_ONCE = "what it tells has already happened, and a job that has ended is gone in minutes."


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A recording rule; `because` says why it is recorded."""

    record: str
    expr: str
    because: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert rule; `because` is the argument for `for_` (how long it must hold before firing)."""

    alert: str
    expr: str
    severity: str
    summary: str
    description: str
    because: str
    for_: str = "0s"
    keep_firing_for: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of rules, evaluated in order."""

    name: str
    rules: Sequence[Record | Alert]


def burn(window: str) -> str:
    """The recorded burn rate over `window`: 1 is the even pace, the whole limit in its window."""
    return f"llm_budget:burn_rate:{window}"


def _who(*labels: str) -> str:
    """Template text that names tenant, agent and principal, as far as they are known."""
    words = {TENANT: "tenant", AGENT: "agent", PRINCIPAL: "principal"}
    first, *rest = labels
    text = f"{words[first].capitalize()} {{{{ or $labels.{first} `(unknown)` }}}}"
    for label in rest:
        text += f"{{{{ with $labels.{label} }}}}, {words[label]} {{{{ . }}}}{{{{ end }}}}"
    return text


_WHO = _who(TENANT, AGENT, PRINCIPAL)
_BUDGET = (
    f"{{{{ $labels.{RESOURCE} }}}}"
    f"{{{{ with $labels.{prometheus_label(sc.WINDOW)} }}}} ({{{{ . }}}}){{{{ end }}}}"
)
_SERVICE = f"{{{{ or $labels.{q.JOB} `(unknown service)` }}}}"
_GUARD = f"{{{{ or $labels.{prometheus_label(sc.GUARD_NAME)} `(unnamed)` }}}}"
_WHAT = f"the {{{{ $labels.{POINT} }}}} decisions"


def groups(thresholds: Thresholds, names: q.Names) -> tuple[Group, ...]:
    """All rule groups.

    Args:
        thresholds: The numbers of `dashboards/thresholds.toml`.
        names: How the backend names the metrics.
    """
    return (
        Group("llm-budget-records", _records(thresholds, names)),
        Group("llm-budget-limits", _limits(thresholds, names)),
        Group("llm-budget-spend", _spend(thresholds, names)),
        Group("llm-budget-guard", _guard(thresholds, names)),
        Group("llm-budget-telemetry", _telemetry(thresholds, names)),
    )


def _gauge(names: q.Names, metric: Metric) -> str:
    return q.level(q.selector(names.of(metric)))


def _grown(window: str) -> str:
    """How much of a budget was consumed in `window`, whether or not it was reset meanwhile."""
    reset = f"({WINDOW_REMAINING} > {WINDOW_REMAINING} offset {window})"
    return (
        f"((({CONSUMED} - {CONSUMED} offset {window}) unless {reset}) or ({CONSUMED} and {reset}))"
    )


def _records(t: Thresholds, names: q.Names) -> list[Record]:
    consumed = q.selector(names.of(sc.METRIC_CONSUMED))
    cost = q.total(q.selector(names.of(sc.METRIC_COST)), "1h")
    records = [
        Record(
            record=UTILIZATION,
            expr=_gauge(names, sc.METRIC_UTILIZATION),
            because="Several processes tell the level of one budget: the fullest counts.",
        ),
        Record(
            record=LIMIT,
            expr=_gauge(names, sc.METRIC_LIMIT),
            because="As above. A budget without limit has no utilization, so nothing fires on it.",
        ),
        Record(
            record=WINDOW_LENGTH,
            expr=_gauge(names, sc.METRIC_WINDOW_LENGTH),
            because="As above.",
        ),
        Record(
            record=WINDOW_REMAINING,
            expr=_gauge(names, sc.METRIC_WINDOW_REMAINING),
            because="As above. The largest, so that after a reset the new window counts.",
        ),
        Record(
            record=CONSUMED,
            expr=q.level(f"min_over_time({consumed}[5m])"),
            because="The lower edge of five minutes: a guard that reserves before a call and\n"
            "settles after it shows spikes that nobody has spent.",
        ),
        Record(
            record=EXHAUSTION,
            expr=q.seconds_to_exhaustion(CONSUMED, LIMIT, WINDOW_LENGTH, WINDOW_REMAINING),
            because="At the pace of its own window; deriv() of a level is not a pace.",
        ),
    ]
    records += [
        Record(
            record=burn(window),
            expr=f"{_grown(window)} / {LIMIT} * {WINDOW_LENGTH} / {seconds}",
            because=f"Pace of the last {window}: 1 uses up exactly the limit in the window.\n"
            "What was there before the first sample is not spent now; nor is a reset a refund.",
        )
        for window, seconds in BURN_WINDOWS.items()
    ]
    records.append(
        Record(
            record=COST_1H,
            expr=q.by("sum", (q.ENVIRONMENT, TENANT), cost),
            because="USD of the last hour, with jobs that were born and ended in it.",
        )
    )
    records += [
        Record(
            record=EXPECTED,
            expr="vector(1)",
            labels=((q.JOB, service),),
            because="A service whose silence is an alarm (expected_services).",
        )
        for service in t.expected_services
    ]
    return records


def _limits(t: Thresholds, names: q.Names) -> list[Alert]:
    cap = q.equals(sc.SOURCE, sc.SOURCE_GUARD)
    hits = names.of(sc.METRIC_THRESHOLD_HITS)
    not_gate = q.differs(sc.RESOURCE, sc.GUARD_UNAVAILABLE)
    hit_labels = (q.ENVIRONMENT, TENANT, AGENT, PRINCIPAL, RESOURCE)
    soft = q.happened(q.selector(hits, q.equals(sc.KIND, sc.KIND_SOFT), not_gate), RECENT)
    hard = q.happened(q.selector(hits, q.equals(sc.KIND, sc.KIND_HARD), not_gate), RECENT)
    capped = f"{UTILIZATION}{{{cap}}}"
    return [
        Alert(
            alert="LLMBudgetNearLimit",
            expr=f"{capped} >= {t.utilization_soft}",
            severity=WARNING,
            summary=f"{_WHO}: {_BUDGET} is {{{{ $value | humanizePercentage }}}} used",
            description="The guard refuses calls at 100 %. See when it will run out on the budget "
            "overview; raise the limit, slow the agent, or let it run out knowingly.",
            for_="5m",
            keep_firing_for="5m",
            because="a guard that reserves before a call dips above the threshold for seconds and\n"
            "settles below it again; five minutes without a dip below is real.",
        ),
        Alert(
            alert="LLMBudgetSoftLimitCrossed",
            # Where the guard tells the cap itself, LLMBudgetNearLimit knows better.
            expr=f"{q.by('sum', hit_labels, soft)}\n"
            f"unless on ({q.ENVIRONMENT}, {TENANT}, {RESOURCE}) {capped}",
            severity=WARNING,
            summary=f"{_WHO}: soft limit of {{{{ $labels.{RESOURCE} }}}} crossed",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} went ahead above the soft "
            "limit. The guard does not tell its cap, so how far away the refusal is cannot be said "
            "here.",
            because=_AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetDenied",
            expr=q.by("sum", (*hit_labels, POINT), hard),
            severity=CRITICAL,
            summary=f"{_WHO}: {{{{ $labels.{POINT} }}}} calls refused, "
            f"resource {{{{ $labels.{RESOURCE} }}}}",
            description=f"Refusals in {RECENT}: {{{{ $value | humanize }}}}. This work stands "
            "still until the budget is raised, its window is reset, or the tool is allowed. The "
            "denial's reason is on its span: search Jaeger for budget.decision=deny.",
            because=_AT_ONCE,
        ),
    ]


def _spend(t: Thresholds, names: q.Names) -> list[Alert]:
    day = f"({WINDOW_LENGTH} >= {_SHORTEST} <= {_DAY})"
    longer = f"({WINDOW_LENGTH} > {_DAY})"
    usual = f"avg_over_time({COST_1H}[1d] offset 1h)"
    short = "Windows under six hours are left to LLMBudgetWillRunOut."
    return [
        Alert(
            alert="LLMBudgetBurnFast",
            expr=f"({burn('1h')} > {t.burn_day_factor} and {burn('10m')} > {t.burn_day_factor}"
            f" and {day})\n"
            f"or ({burn('1h')} > {t.burn_fast_factor} and {burn('10m')} > {t.burn_fast_factor}"
            f" and {longer})",
            severity=CRITICAL,
            summary=f"{_WHO}: {_BUDGET} is being spent at {{{{ $value | humanize }}}} times the "
            "pace its limit allows",
            description="So much in the last hour, and still so in the last ten minutes. Find the "
            "agent and model on the drill-down dashboard. " + short,
            for_="2m",
            because="both windows smooth already; two minutes keep one evaluation from paging.",
        ),
        Alert(
            alert="LLMBudgetBurnSlow",
            expr=f"{burn('6h')} > {t.burn_slow_factor} and {burn('30m')} > {t.burn_slow_factor}"
            f" and {longer}",
            severity=WARNING,
            summary=f"{_WHO}: {_BUDGET} has been spent at {{{{ $value | humanize }}}} times the "
            "pace its limit allows for six hours",
            description="Not an outburst but a new level: at this pace the budget ends long before "
            "its window. Find what changed on the drill-down dashboard.",
            for_="15m",
            because="a matter of days, so a quarter of an hour costs nothing and spares noise.",
        ),
        Alert(
            alert="LLMBudgetSpendSpike",
            expr=f"({COST_1H} > {t.spike_factor} * {usual}) > {t.spike_floor_usd}\n"
            # Somebody new has no past to be compared with.
            f"and last_over_time({COST_1H}[1d] offset 6h)",
            severity=WARNING,
            summary=f"{_who(TENANT)} spent {{{{ $value | printf `%.2f` }}}} USD in the last hour, "
            f"over {t.spike_factor:g} times its usual",
            description="Compared with the average hour in which this tenant spent anything during "
            "the day before. It need not be wrong: a release, a new customer, a loop. The overview "
            "shows which agent and model.",
            for_="10m",
            because="the hour smooths already; ten minutes keep one dear call from telling.",
        ),
        Alert(
            alert="LLMBudgetWillRunOut",
            expr=f"({EXHAUSTION} > 0) < {WINDOW_REMAINING}\n"
            f"and {q.elapsed_share(WINDOW_LENGTH, WINDOW_REMAINING)} >= {t.forecast_elapsed}\n"
            f"and {UTILIZATION} >= {t.forecast_utilization}",
            severity=WARNING,
            summary=f"{_WHO}: {_BUDGET} will run out in {{{{ $value | humanizeDuration }}}}, "
            "before its window ends",
            description="If it goes on at the average pace of this window. Raise the limit, slow "
            "the agent, or tell the tenant when it will stop.",
            for_="15m",
            because="early in a window one dear call bends the forecast; a quarter of an hour of\n"
            "the same answer is a trend, and the warning is about hours.",
        ),
    ]


def _guard(t: Thresholds, names: q.Names) -> list[Alert]:
    decisions = names.of(sc.METRIC_DECISIONS)
    hits = names.of(sc.METRIC_THRESHOLD_HITS)
    error_type, guard = prometheus_label(sc.ERROR_TYPE), prometheus_label(sc.GUARD_NAME)
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
            expr=q.by("sum", (*service, guard, POINT, error_type), errors),
            severity=CRITICAL,
            summary=f"{_SERVICE}: budget guard {_GUARD} raised {{{{ $labels.{error_type} }}}} at "
            f"{_WHAT}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT}. Depending on the host, a "
            "call whose check fails is refused, or goes ahead unguarded. The exception is on the "
            "span: search Jaeger for error=true.",
            because=_AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardLate",
            expr=outcome(sc.LATE),
            severity=CRITICAL,
            summary=f"{_SERVICE}: the budget guard answered too late at {_WHAT}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT} the caller had given up "
            "before the guard answered, and took it for a refusal. See the guard's latency on the "
            "health dashboard.",
            because=_AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardMalformed",
            expr=outcome(sc.MALFORMED),
            severity=CRITICAL,
            summary=f"{_SERVICE}: the budget guard gave an answer nobody can read at {_WHAT}",
            description=f"{{{{ $value | humanize }}}} times in {RECENT}. The runtime takes such an "
            "answer for a refusal. The span's error.type says what was wrong with it; it is a bug "
            "of the guard.",
            because=_AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardSlow",
            expr=q.quantile(0.95, bucket, (*service, guard, POINT), RECENT)
            + f" > {t.guard_slow_seconds}",
            severity=WARNING,
            summary=f"{_SERVICE}: budget guard {_GUARD} takes {{{{ $value | humanizeDuration }}}} "
            f"(95th percentile) at {_WHAT}",
            description="Every model and tool call waits for it; at the caller's patience (5 s in "
            "a3s) it becomes a refusal. Its store is usually the cause: see the child spans.",
            for_="10m",
            because="a store that fails over is slow for minutes; what lasts longer is a fault.",
        ),
        Alert(
            alert="LLMBudgetGuardFailOpen",
            expr=stand_in(sc.KIND_SOFT),
            severity=CRITICAL,
            summary=f"{_SERVICE}: calls of {_who(TENANT).lower()} go ahead without a budget check",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were let through because "
            "the guard failed and the gate fails open. Nothing limits the spend now.",
            because=_AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetGuardFailClosed",
            expr=stand_in(sc.KIND_HARD),
            severity=CRITICAL,
            summary=f"{_SERVICE}: calls of {_who(TENANT).lower()} are refused because the guard "
            "fails",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} were refused in the "
            "failing guard's stead. No budget is exhausted: repair the guard.",
            because=_AT_ONCE,
        ),
    ]


def _telemetry(t: Thresholds, names: q.Names) -> list[Alert]:
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
            summary=f"{_SERVICE}: calls of model {{{{ or $labels.{model} `(unknown)` }}}} have no "
            f"price ({{{{ $labels.{reason} }}}})",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} are missing from every sum "
            "of cost. A budget in USD that is counted with the same prices does not see them "
            "either.",
            because=_AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetUncountedCalls",
            expr=q.by("sum", (q.ENVIRONMENT, q.JOB, model, reason), uncounted),
            severity=WARNING,
            summary=f"{_SERVICE}: calls of model {{{{ or $labels.{model} `(unknown)` }}}} ended "
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
            summary=f"{_SERVICE}: two processes report as instance {{{{ $labels.{q.INSTANCE} }}}}",
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
            summary=f"{_SERVICE} has sent no budget telemetry for {t.absent_after}",
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
            because=_AT_ONCE,
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
