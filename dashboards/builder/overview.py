"""The budget overview: who spends, what is about to run out, what was refused."""

from __future__ import annotations

from dashboards.builder import parts as p
from dashboards.builder import queries as q
from dashboards.builder.model import (
    AGENT,
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

UID = "otel-budget-overview"


def build(s: Scope, t: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: overview",
        description="Who spends what, which budget is about to run out, what was refused and why.",
        rows=(
            Row(title="Spend", panels=_spend(s, t)),
            Row(title="Who spends", panels=_who(s)),
            Row(title="Budgets", panels=_budgets(s, t)),
            Row(title="Decisions", panels=_decisions(s)),
            Row(title="Tokens", panels=_tokens(s)),
        ),
    )


def _spend(s: Scope, t: Thresholds) -> list[Panel]:
    calls = p.counted(s, sc.METRIC_CALLS)
    refused = p.counted(s, sc.METRIC_THRESHOLD_HITS, p.HARD)
    spent = "Priced calls only: see the share without a price."

    def stat(
        key: str,
        title: str,
        expr: str,
        description: str,
        *,
        unit: Unit = USD,
        steps: tuple[Step, ...] = (),
    ) -> Panel:
        return p.stat(key, title, expr, unit, description, steps=steps)

    return [
        stat(
            "spend_rate",
            "Spend per hour, now",
            f"{p.counted(s, sc.METRIC_COST, window='10m')} * 6",
            f"USD an hour at the pace of the last ten minutes. {spent}",
        ),
        stat(
            "spend_hour",
            "Spend, last hour",
            p.counted(s, sc.METRIC_COST, window="1h"),
            f"USD in the last hour. Far above the usual: find the agent below. {spent}",
        ),
        stat(
            "spend_today",
            "Spend today (UTC)",
            q.by("sum", (), q.today(s.x(sc.METRIC_COST))),
            f"USD since midnight UTC, whatever time is selected. {spent}",
        ),
        stat(
            "spend_range",
            "Spend, selected time",
            p.counted(s, sc.METRIC_COST),
            f"USD in the selected time. {spent}",
        ),
        stat(
            "refused",
            "Refused calls",
            q.or_zero(refused, p.counted(s, sc.METRIC_DECISIONS)),
            "Model and tool calls refused in the selected time. More than 0: the table of denials "
            "says whose, and for which resource.",
            unit=WHOLE,
            steps=(Step(1, "red"),),
        ),
        stat(
            "unpriced",
            "Calls without a price",
            q.share(p.counted(s, sc.METRIC_UNPRICED_CALLS), calls),
            "Share of the recorded calls that add nothing to the cost, because their price is not "
            "known. Above a few percent every USD figure here is too low: add the model's price.",
            unit=SHARE,
            steps=(Step(t.unpriced_share, "orange"),),
        ),
    ]


def _who(s: Scope) -> list[Panel]:
    def spend(key: str, title: str, label: str, description: str) -> Panel:
        expr = p.counted_by(s, (label,), sc.METRIC_COST)
        return Panel(
            key=key,
            title=title,
            kind="gauges",
            description=description,
            targets=(Target(expr=expr, legend=f"{{{{{label}}}}}"),),
            unit=USD,
            width=8,
            height=7,
        )

    hourly = p.counted_by(s, (TENANT,), sc.METRIC_COST, window="1h")
    return [
        Panel(
            key="spend_over_time",
            title="Spend in the hour before, by tenant",
            kind="lines",
            description="At each point the USD of the hour before it. A step up that stays is a "
            "new level; see the drill-down for the agent and model behind it.",
            targets=(Target(expr=hourly, legend=f"{{{{{TENANT}}}}}"),),
            unit=USD,
            width=24,
            height=7,
            legend_right=True,
        ),
        spend("spend_tenant", "Spend by tenant", TENANT, "USD in the selected time."),
        spend(
            "spend_agent",
            "Spend by agent",
            AGENT,
            "USD in the selected time. The first place to look when a tenant spends too fast.",
        ),
        spend(
            "spend_model",
            "Spend by model",
            MODEL,
            "USD in the selected time. A dear model that could be a cheap one stands out here.",
        ),
    ]


def _budgets(s: Scope, t: Thresholds) -> list[Panel]:
    steps = (Step(t.utilization_soft, "orange"), Step(t.utilization_hard, "red"))
    used = s.x(sc.METRIC_UTILIZATION, p.CAP)
    soft = s.x(sc.METRIC_UTILIZATION, q.equals(sc.SOURCE, sc.SOURCE_SOFT_LIMIT))
    remaining = q.level(s.x(sc.METRIC_WINDOW_REMAINING, p.CAP), p.BUDGET_LABELS)
    return [
        Panel(
            key="fullness",
            title="How full each budget is",
            kind="gauges",
            description=f"Used share of each budget now; from {t.utilization_soft:.0%} on orange, "
            f"from {t.utilization_hard:.0%} on red: its calls are being refused. Of a guard that "
            "tells no cap, the share of the soft limit it crossed. A budget without a limit has "
            "no share and is not shown.",
            targets=(
                Target(expr=q.level(used, p.BUDGET_LABELS), legend=p.BUDGET_LEGEND),
                Target(
                    expr=q.level(soft, p.BUDGET_LABELS), legend=f"{p.BUDGET_LEGEND} (soft limit)"
                ),
            ),
            unit=SHARE,
            width=10,
            steps=steps,
        ),
        Panel(
            key="exhaustion",
            title="When each budget runs out",
            kind="table",
            description="At the average pace of its own window. It will be exhausted before it is "
            "reset where 'runs out in' is less than 'reset in': raise the limit or slow the "
            "agent. Only budgets whose guard tells cap and window; nothing used, no forecast.",
            targets=(
                Target(expr=q.level(used, p.BUDGET_LABELS), header="Used", unit=SHARE),
                Target(expr=p.seconds_left(s), header="Runs out in", unit=SECONDS),
                Target(expr=remaining, header="Reset in", unit=SECONDS),
            ),
            columns=p.BUDGET_COLUMNS,
            hidden=(q.ENVIRONMENT, p.GUARD, prometheus_label(sc.UNIT)),
            width=14,
            steps=steps,
        ),
    ]


def _decisions(s: Scope) -> list[Panel]:
    denied = s.x(sc.METRIC_THRESHOLD_HITS, p.HARD)
    labels = (q.JOB, TENANT, AGENT, RESOURCE, p.POINT, p.TOOL)

    def checks(*outcomes: str) -> str:
        return p.counted(s, sc.METRIC_DECISIONS, p.one_of(sc.DECISION, outcomes), window=p.STEP)

    seen = f"time() - {q.last_seen(denied, labels, p.RANGE)}"
    return [
        Panel(
            key="decisions",
            title="Decisions by outcome",
            kind="bars",
            description="Checks between two points of the chart, exactly. Refused: see the table "
            "beside. No valid answer: the guard raised, was late or cannot be read, or the caller "
            "went away; see the health dashboard.",
            targets=(
                Target(expr=checks(sc.ALLOW), legend="allowed", color="blue"),
                Target(expr=checks(sc.SOFT_LIMIT), legend="above a soft limit", color="orange"),
                Target(expr=checks(sc.DENY), legend="refused", color="red"),
                Target(expr=checks(*p.TROUBLE), legend="no valid answer", color="purple"),
            ),
            width=10,
        ),
        Panel(
            key="denials",
            title="Denials",
            kind="table",
            description="What was refused in the selected time, whose, and how long ago last (to "
            "the minute). The reason is on the span: the tenant's link opens Jaeger's search. "
            "Raise the limit, or leave it: a refusal is a guard doing its job.",
            targets=(
                Target(
                    expr=q.by("sum", labels, q.total(denied, p.RANGE)) + " > 0",
                    header="Refused",
                    unit=WHOLE,
                ),
                Target(expr=seen, header="Last seen", unit=SECONDS),
            ),
            columns=(
                (q.JOB, "Service"),
                (TENANT, "Tenant"),
                (AGENT, "Agent"),
                (RESOURCE, "Resource"),
                (p.POINT, "Check"),
                (p.TOOL, "Tool"),
            ),
            width=14,
            links=(p.ROW_DENIALS,),
        ),
    ]


def _tokens(s: Scope) -> list[Panel]:
    token_type = prometheus_label(sc.TOKEN_TYPE)
    read = p.counted(s, sc.METRIC_TOKENS, q.equals(sc.TOKEN_TYPE, sc.TOKENS_CACHE_READ))
    prompt = p.counted(s, sc.METRIC_TOKENS, q.differs(sc.TOKEN_TYPE, sc.TOKENS_OUTPUT))
    tokens = q.total(s.x(sc.METRIC_TOKENS), p.STEP)
    return [
        Panel(
            key="token_mix",
            title="Tokens by type",
            kind="bars",
            description="Tokens between two points of the chart, exactly. The types do not "
            "overlap: cached prompt tokens are not in input. Much cache_write and little "
            "cache_read means a cache that is paid for and not used.",
            targets=(
                Target(
                    expr=q.by("sum", (token_type,), tokens) + " > 0",
                    legend=f"{{{{{token_type}}}}}",
                ),
            ),
            width=10,
        ),
        Panel(
            key="tokens_model",
            title="Tokens by model",
            kind="gauges",
            description="All tokens in the selected time, cached ones included; also of models "
            "without a price.",
            targets=(
                Target(expr=p.counted_by(s, (MODEL,), sc.METRIC_TOKENS), legend=f"{{{{{MODEL}}}}}"),
            ),
            width=8,
        ),
        Panel(
            key="cache_share",
            title="Prompt tokens from the cache",
            kind="stat",
            description="Share of the prompt tokens of the selected time that were read from the "
            "provider's cache, at about a tenth of the price. Falls to 0 when a prompt's "
            "beginning changes with every call.",
            targets=(Target(expr=q.share(read, prompt), legend="from the cache"),),
            unit=SHARE,
            width=6,
        ),
    ]
