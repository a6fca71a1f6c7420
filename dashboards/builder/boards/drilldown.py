"""The budget drill-down: one tenant or agent in depth, down to its traces."""

from __future__ import annotations

from dashboards.builder import queries
from dashboards.builder.boards import burndown, links, refusals, spenders
from dashboards.builder.boards.shared_panels import (
    LEVEL_COLUMNS,
    LEVEL_LEGEND,
    guard_quantile,
    legend,
    per_priced_call,
    stat,
    token_types,
)
from dashboards.builder.labels import (
    AGENT,
    ENVIRONMENT,
    GUARD,
    JOB,
    LEVEL,
    MODEL,
    POINT,
    REASON,
    SHARED,
    SOURCE,
    UNIT,
)
from dashboards.builder.model import (
    COUNT,
    SECONDS,
    SHARE,
    USD,
    USD_PER_CALL,
    WHOLE,
    Dashboard,
    Panel,
    Row,
    Step,
    Target,
)
from dashboards.builder.rules.alert_model import UTILIZATION, WITH_RESERVED
from dashboards.builder.scope import RANGE, Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

UID = "otel-budget-drilldown"
_COST, _TOKENS = semconv.SESSION_COST, semconv.SESSION_TOKENS
_SESSIONS = f"""\
Spend per session is on the spans, not in a metric: `{_COST}` and
`{_TOKENS}` are the session's running totals. Choose one tenant above, then open

- [decisions of this tenant]({{decisions}}): the last usage span of a session has its total
- [denials of this tenant]({{denials}}), with the guard's own sentence

To see one session, search for `{semconv.SESSION_ID}=<id>`.
"""


def build(scope: Scope, thresholds: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: drill-down",
        description="Choose a tenant or an agent above: its spend, budgets, hits and traces.",
        annotations=burndown.events(scope),
        refresh="5m",  # it asks the spend of the selected time of every process
        rows=(
            Row(title="At a glance", panels=_glance(scope)),
            Row(title="Budgets and spend", panels=_spend(scope, thresholds)),
            Row(title="Tokens", panels=_tokens(scope)),
            Row(title="Soft limits and denials", panels=refusals.hits(scope)),
            Row(title="Traces", panels=_traces(scope)),
        ),
    )


def _glance(scope: Scope) -> list[Panel]:
    cost = scope.counted(semconv.METRIC_COST)
    calls = scope.fleet_counted(semconv.METRIC_CALLS)
    decisions = scope.fleet_counted(semconv.METRIC_DECISIONS)
    hits = semconv.METRIC_THRESHOLD_HITS

    return [
        stat("cost", "Spend", cost, USD, "USD in the selected time, priced calls only."),
        stat("calls", "Model calls", calls, WHOLE, "Recorded (successful) model calls."),
        stat(
            "cost_per_call",
            "Spend per priced call",
            per_priced_call(scope, scope.fleet_counted(semconv.METRIC_COST)),
            USD_PER_CALL,
            "Average USD of a call that could be priced. If it rises, prompts got longer or the "
            "model more expensive.",
        ),
        stat(
            "tokens",
            "Tokens",
            scope.fleet_counted(semconv.METRIC_TOKENS),
            COUNT,
            "All tokens in the selected time, including cached ones.",
        ),
        stat(
            "soft_hits",
            "Soft limits crossed",
            queries.or_zero(scope.fleet_counted(hits, queries.SOFT), decisions),
            WHOLE,
            "Calls that went ahead above a soft limit: now is the time to act.",
            steps=(Step(1, "orange"),),
        ),
        stat(
            "denials",
            "Refused calls",
            queries.or_zero(scope.fleet_counted(hits, queries.HARD), decisions),
            WHOLE,
            "Model and tool calls refused in the selected time.",
            steps=(Step(1, "red"),),
        ),
    ]


def _spend(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    def hourly(key: str, title: str, label: str) -> Panel:
        said = "At each point the USD of the hour before it."
        return spenders.over_time(scope, key, title, label, said, width=12)

    def fullest(record: str) -> str:
        drawn = queries.by("max", LEVEL, scope.recorded(record, queries.CAP))
        at_end = f"{scope.recorded(UTILIZATION, queries.CAP)} @ end()"
        most = f"topk({spenders.LINES}, {queries.by('max', LEVEL, at_end)})"
        return f"{drawn} and on ({', '.join(LEVEL)}) {most}"

    return [
        Panel(
            key="utilization",
            title="Budgets over time",
            kind="lines",
            description="Used share of each budget whose guard reports its cap. A fall to 0 is a "
            "window that was reset; a flat line at 100 % is a tenant whose work stands still. "
            "What is held for calls in progress stands on top of what is used. By recording rules, "
            f"of all services; the {spenders.LINES} that are fullest at the end.",
            targets=(
                Target(expr=fullest(UTILIZATION), legend=LEVEL_LEGEND),
                Target(
                    expr=fullest(WITH_RESERVED),
                    legend=f"{LEVEL_LEGEND} with reserved",
                    dashed=True,
                ),
            ),
            unit=SHARE,
            width=24,
            height=11,
            steps=(
                Step(thresholds.utilization_soft, "orange"),
                Step(thresholds.utilization_hard, "red"),
            ),
        ),
        hourly("cost_model", "Spend in the hour before, by model", MODEL),
        hourly("cost_agent", "Spend in the hour before, by agent", AGENT),
        Panel(
            key="levels",
            title="Used and limit of each budget",
            kind="table",
            description="In the unit of the budget. For a guard that does not report its cap, "
            "the limit is the soft limit that was crossed (source soft_limit). Reserved is held "
            "for calls in progress, beside what is used; held for is the age of the oldest of "
            "these, and longer than a call takes, one leaked. Not counted: calls of the "
            "window whose usage or price is unknown, so that more was used than is shown. Sums "
            "over resources are meaningless.",
            targets=(
                Target(expr=scope.level(semconv.METRIC_CONSUMED), header="Used"),
                Target(expr=scope.level(semconv.METRIC_RESERVED), header="Reserved"),
                Target(
                    expr=scope.level(semconv.METRIC_RESERVATION_AGE),
                    header="Held for",
                    unit=SECONDS,
                ),
                Target(expr=scope.level(semconv.METRIC_LIMIT), header="Limit"),
                Target(
                    expr=scope.level(semconv.METRIC_UNCOUNTED_CALLS),
                    header="Not counted",
                ),
            ),
            columns=(
                *LEVEL_COLUMNS[1:],
                (UNIT, "Unit"),
                ("", "Used"),
                ("", "Limit"),
                ("", "Reserved"),
                ("", "Held for"),
                ("", "Not counted"),
                (SOURCE, "Source"),
                (GUARD, "Guard"),
                (ENVIRONMENT, "Environment"),
                (JOB, "Service"),
            ),
            hidden=(SHARED,),
            width=24,
            height=6,
        ),
    ]


def _tokens(scope: Scope) -> list[Panel]:
    not_output = queries.differs(semconv.TOKEN_TYPE, semconv.TOKENS_OUTPUT)

    def ratio(window: str) -> str:
        return queries.share(
            scope.fleet_counted(semconv.METRIC_ESTIMATED_TOKENS, window=window),
            scope.fleet_counted(semconv.METRIC_TOKENS, not_output, window=window),
        )

    return [
        token_types(scope, 7),
        Panel(
            key="estimate",
            title="Estimate in real prompt tokens, hour before",
            kind="lines",
            description="The prompt tokens estimated at the checks of the hour before each point, "
            "in those that the provider counted, cached ones included. Failed calls have an "
            "estimate but no count.",
            targets=(Target(expr=ratio("1h"), legend="estimate"),),
            unit=SHARE,
            width=7,
        ),
        Panel(
            key="estimate_ratio",
            title="Estimate in real prompt tokens",
            kind="stat",
            description="100 % is a perfect estimate. Well below: the guard lets calls through "
            "that use more than it expects. Well above: it refuses too early, or many calls fail.",
            targets=(Target(expr=ratio(RANGE), legend="estimate"),),
            unit=SHARE,
            width=4,
        ),
        Panel(
            key="uncounted",
            title="Calls without a usage",
            kind="table",
            description="Model calls behind a gate that ended without usage in the selected "
            "time: spend that nobody counts. not_reported: the provider or the host reported "
            "none; abandoned: a stream was not read to its end; discarded: the call failed after "
            "reporting its usage.",
            targets=(
                Target(
                    expr=scope.counted_or_zero(
                        REASON, semconv.METRIC_CALLS_WITHOUT_USAGE, known=semconv.METRIC_CALLS
                    ),
                    header="Calls",
                    unit=WHOLE,
                    steps=(Step(1, "orange"),),
                ),
            ),
            columns=((REASON, "Reason"),),
            width=6,
        ),
    ]


def _traces(scope: Scope) -> list[Panel]:
    return [
        Panel(
            key="latency",
            title="Time of the guard's answers (95th percentile)",
            kind="lines",
            description="For the chosen services and all tenants (the histogram has no tenant). "
            "Each dot is one call and links to its trace.",
            targets=(
                Target(
                    expr=guard_quantile(scope, 0.95, (POINT,), exemplars=True),
                    legend=legend(POINT),
                    exemplar=True,
                ),
            ),
            unit=SECONDS,
            width=12,
        ),
        Panel(
            key="sessions",
            title="Spend per session",
            kind="text",
            description="How to get from a tenant to its sessions and traces.",
            text=_SESSIONS.format(**links.CHOSEN_IN_GRAFANA),
            perses_text=_SESSIONS.format(**links.CHOSEN_IN_PERSES),
            width=12,
        ),
    ]
