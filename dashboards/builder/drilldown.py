"""The budget drill-down: one tenant or agent in depth, down to its traces."""

from __future__ import annotations

from dashboards.builder import parts as p
from dashboards.builder import queries as q
from dashboards.builder.model import (
    AGENT,
    COUNT,
    MODEL,
    RESOURCE,
    SECONDS,
    SHARE,
    TENANT,
    USD,
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

UID = "otel-budget-drilldown"
_SESSIONS = f"""\
Spend per session is on the spans, not in a metric: `{sc.SESSION_COST}` and
`{sc.SESSION_TOKENS}` are the session's running totals. Choose one service and one tenant above,
then open Jaeger:

- [decisions of this tenant](${{jaeger}}/search?service=${{service}}&tags=\
%7B%22{sc.TENANT}%22%3A%22${{tenant}}%22%7D): the last usage span of a session has its total
- [denials of this tenant](${{jaeger}}/search?service=${{service}}&tags=\
%7B%22{sc.TENANT}%22%3A%22${{tenant}}%22%2C%22{sc.DECISION}%22%3A%22{sc.DENY}%22%7D)

To see one session, search for the tag `{sc.SESSION_ID}=<id>`.
"""


def build(s: Scope, t: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: drill-down",
        description="Choose a tenant or an agent above: its spend, budgets, hits and traces.",
        rows=(
            Row(title="At a glance", panels=_glance(s)),
            Row(title="Budgets and spend", panels=_spend(s, t)),
            Row(title="Tokens", panels=_tokens(s)),
            Row(title="Soft limits and denials", panels=_hits(s)),
            Row(title="Traces", panels=_traces(s)),
        ),
    )


def _glance(s: Scope) -> list[Panel]:
    cost, calls = p.counted(s, sc.METRIC_COST), p.counted(s, sc.METRIC_CALLS)
    unpriced = p.counted(s, sc.METRIC_UNPRICED_CALLS)
    decisions = p.counted(s, sc.METRIC_DECISIONS)
    hits = sc.METRIC_THRESHOLD_HITS

    return [
        p.stat("cost", "Spend", cost, USD, "USD in the selected time, priced calls only."),
        p.stat("calls", "Model calls", calls, WHOLE, "Recorded (successful) model calls."),
        p.stat(
            "cost_per_call",
            "Spend per priced call",
            f"{cost} / ((({calls}) - ({q.or_zero(unpriced, calls)})) > 0)",
            Unit("currencyUSD", (("unit", "usd"), ("decimalPlaces", 4)), 4),
            "Mean USD of a call that could be priced. A rise without a rise in calls means longer "
            "prompts or a dearer model.",
        ),
        p.stat(
            "tokens",
            "Tokens",
            p.counted(s, sc.METRIC_TOKENS),
            COUNT,
            "All tokens in the selected time, cached ones included.",
        ),
        p.stat(
            "soft_hits",
            "Soft limits crossed",
            q.or_zero(p.counted(s, hits, p.SOFT), decisions),
            WHOLE,
            "Calls that went ahead above a soft limit: the time to act is now.",
        ),
        p.stat(
            "denials",
            "Refused calls",
            q.or_zero(p.counted(s, hits, p.HARD), decisions),
            WHOLE,
            "Model and tool calls refused in the selected time.",
        ),
    ]


def _spend(s: Scope, t: Thresholds) -> list[Panel]:
    def hourly(key: str, title: str, label: str) -> Panel:
        return Panel(
            key=key,
            title=title,
            kind="lines",
            description="At each point the USD of the hour before it.",
            targets=(
                Target(
                    expr=p.counted_by(s, (label,), sc.METRIC_COST, window="1h"),
                    legend=f"{{{{{label}}}}}",
                ),
            ),
            unit=USD,
            width=12,
        )

    return [
        Panel(
            key="utilization",
            title="Budgets over time",
            kind="lines",
            description="Used share of each budget whose guard tells its cap. Saw teeth that fall "
            "to 0 are windows that were reset; a flat line at 100 % is a tenant that stands still.",
            targets=(
                Target(
                    expr=q.level(s.x(sc.METRIC_UTILIZATION, p.CAP), p.BUDGET_LABELS),
                    legend=p.BUDGET_LEGEND,
                ),
            ),
            unit=SHARE,
            width=24,
            legend_right=True,
            steps=(Step(t.utilization_soft, "orange"), Step(t.utilization_hard, "red")),
        ),
        hourly("cost_model", "Spend in the hour before, by model", MODEL),
        hourly("cost_agent", "Spend in the hour before, by agent", AGENT),
        Panel(
            key="levels",
            title="Used and limit of each budget",
            kind="table",
            description="In the unit of the budget. The limit of a guard that tells no cap is the "
            "soft limit that was crossed (source soft_limit). Sums over resources mean nothing.",
            targets=(
                Target(expr=q.level(s.x(sc.METRIC_CONSUMED)), header="Used"),
                Target(expr=q.level(s.x(sc.METRIC_LIMIT)), header="Limit"),
            ),
            columns=(
                *p.BUDGET_COLUMNS,
                (p.GUARD, "Guard"),
                (prometheus_label(sc.UNIT), "Unit"),
                (prometheus_label(sc.SOURCE), "Source"),
            ),
            hidden=(q.ENVIRONMENT,),
            width=24,
            height=6,
        ),
    ]


def _tokens(s: Scope) -> list[Panel]:
    token_type = prometheus_label(sc.TOKEN_TYPE)
    not_output = q.differs(sc.TOKEN_TYPE, sc.TOKENS_OUTPUT)
    reason = prometheus_label(sc.REASON)
    estimated = p.counted(s, sc.METRIC_ESTIMATED_TOKENS, window=p.STEP)
    real = p.counted(s, sc.METRIC_TOKENS, not_output, window=p.STEP)
    ratio = q.share(
        p.counted(s, sc.METRIC_ESTIMATED_TOKENS), p.counted(s, sc.METRIC_TOKENS, not_output)
    )
    tokens = q.by("sum", (token_type,), q.total(s.x(sc.METRIC_TOKENS), p.STEP))
    return [
        Panel(
            key="token_types",
            title="Tokens by type",
            kind="bars",
            description="Tokens between two points of the chart; the types do not overlap.",
            targets=(Target(expr=tokens + " > 0", legend=f"{{{{{token_type}}}}}"),),
            width=7,
        ),
        Panel(
            key="estimate",
            title="Estimated and real prompt tokens",
            kind="lines",
            description="What the checks were told a prompt would take, and what the provider "
            "counted, between two points of the chart. Failed calls have an estimate and no count.",
            targets=(
                Target(expr=estimated, legend="estimated"),
                Target(expr=real, legend="real, cached included"),
            ),
            width=7,
        ),
        Panel(
            key="estimate_ratio",
            title="Estimate in real prompt tokens",
            kind="stat",
            description="100 % is a perfect estimate. Well below: the guard lets through calls "
            "that are dearer than it thinks. Well above: it refuses too early, or many calls fail.",
            targets=(Target(expr=ratio, legend="estimate"),),
            unit=SHARE,
            width=4,
        ),
        Panel(
            key="uncounted",
            title="Calls without a usage",
            kind="gauges",
            description="Model calls behind a gate that ended without usage in the selected time: "
            "spend that nobody counts. not_reported: the provider or the host tells "
            "none; abandoned: a stream was left; discarded: the call failed after it had told one.",
            targets=(
                Target(
                    expr=p.counted_or_zero(
                        s, reason, sc.METRIC_CALLS_WITHOUT_USAGE, known=sc.METRIC_CALLS
                    ),
                    legend=f"{{{{{reason}}}}}",
                ),
            ),
            width=6,
            steps=(Step(1, "orange"),),
        ),
    ]


def _hits(s: Scope) -> list[Panel]:
    hits = s.x(sc.METRIC_THRESHOLD_HITS)
    over_time = q.by("sum", (p.KIND, RESOURCE), q.total(hits, p.STEP))
    labels = (q.JOB, TENANT, AGENT, p.KIND, RESOURCE, p.POINT, p.TOOL)
    return [
        Panel(
            key="hits",
            title="Soft limits and denials by resource",
            kind="bars",
            description="Hits between two points of the chart. Soft: the call went ahead. Hard: "
            "it was refused.",
            targets=(
                Target(expr=over_time + " > 0", legend=f"{{{{{p.KIND}}}}}: {{{{{RESOURCE}}}}}"),
            ),
            width=10,
        ),
        Panel(
            key="hit_table",
            title="Soft limits and denials",
            kind="table",
            description="By resource and tool in the selected time, and how long ago last. The "
            "tenant's link opens Jaeger's search for its denials.",
            targets=(
                Target(
                    expr=q.by("sum", labels, q.total(hits, p.RANGE)) + " > 0",
                    header="Hits",
                    unit=WHOLE,
                ),
                Target(
                    expr=f"time() - {q.last_seen(hits, labels, p.RANGE)}",
                    header="Last seen",
                    unit=SECONDS,
                ),
            ),
            columns=(
                (q.JOB, "Service"),
                (TENANT, "Tenant"),
                (AGENT, "Agent"),
                (p.KIND, "Kind"),
                (RESOURCE, "Resource"),
                (p.POINT, "Check"),
                (p.TOOL, "Tool"),
            ),
            width=14,
            links=(p.ROW_DENIALS,),
        ),
    ]


def _traces(s: Scope) -> list[Panel]:
    bucket = s.x(sc.METRIC_GUARD_DURATION, part="_bucket")
    return [
        Panel(
            key="latency",
            title="Time of the guard's answers (95th percentile)",
            kind="lines",
            description="Of the chosen services, all tenants (the histogram carries none). Each "
            "dot is one call: it links to its trace.",
            targets=(
                Target(
                    expr=q.quantile(0.95, bucket, (p.POINT,)),
                    legend=f"{{{{{p.POINT}}}}}",
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
            text=_SESSIONS,
            width=12,
        ),
    ]
