"""The budget overview: who spends, what is about to run out, what was refused."""

from __future__ import annotations

from dashboards.builder import queries
from dashboards.builder.boards import forecasts, refusals
from dashboards.builder.boards.shared_panels import (
    LEVEL_COLUMNS,
    LEVEL_LEGEND,
    legend,
    stat,
)
from dashboards.builder.labels import (
    AGENT,
    ENVIRONMENT,
    GUARD,
    LEVEL_OF_ONE_SOURCE,
    MODEL,
    SHARED,
    SOURCE,
    TENANT,
    TOKEN_TYPE,
    UNIT,
)
from dashboards.builder.model import (
    SECONDS,
    SHARE,
    USD,
    WHOLE,
    Dashboard,
    Panel,
    Row,
    Step,
    Target,
    Unit,
)
from dashboards.builder.rules.alert_model import EXHAUSTION
from dashboards.builder.rules.forecast_records import STATE
from dashboards.builder.scope import STEP, Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

UID = "otel-budget-overview"


def build(scope: Scope, thresholds: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: overview",
        description="Who spends what, which budget is about to run out, what was refused and why.",
        refresh="5m",  # it asks today's spend and that of the selected time of every process
        rows=(
            Row(title="Spend", panels=_spend(scope, thresholds)),
            Row(title="Who spends", panels=_who(scope)),
            Row(title="Budgets", panels=_budgets(scope, thresholds)),
            Row(title="Decisions", panels=_decisions(scope)),
            Row(title="Tokens", panels=_tokens(scope)),
        ),
    )


def _spend(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    calls = scope.fleet_counted(semconv.METRIC_CALLS)
    refused = scope.fleet_counted(semconv.METRIC_THRESHOLD_HITS, queries.HARD)
    spent = "Priced calls only: see the share without a price."

    def number(
        key: str,
        title: str,
        expr: str,
        description: str,
        *,
        unit: Unit = USD,
        steps: tuple[Step, ...] = (),
    ) -> Panel:
        return stat(key, title, expr, unit, description, steps=steps)

    return [
        number(
            "spend_rate",
            "Spend per hour, now",
            f"{scope.counted(semconv.METRIC_COST, window='10m')} * 6",
            f"USD an hour at the pace of the last ten minutes. {spent}",
        ),
        number(
            "spend_hour",
            "Spend, last hour",
            scope.counted(semconv.METRIC_COST, window="1h"),
            f"USD in the last hour. If far above the usual, find the agent below. {spent}",
        ),
        Panel(
            key="spend_today",
            title="Spend today (UTC)",
            kind="stat",
            description="USD since midnight UTC, whatever time is selected. In Perses there is no "
            "data on a day on which a process restarted under the same instance id: choose the "
            f"time since midnight and read the next panel. {spent}",
            targets=(
                Target(
                    expr=scope.counted(semconv.METRIC_COST),
                    legend="Spend today (UTC)",
                    timeless=queries.today(scope.select(semconv.METRIC_COST)),
                ),
            ),
            unit=USD,
            width=4,
            height=4,
            today=True,
        ),
        number(
            "spend_range",
            "Spend, selected time",
            scope.counted(semconv.METRIC_COST),
            f"USD in the selected time. {spent}",
        ),
        number(
            "refused",
            "Refused calls",
            queries.or_zero(refused, scope.fleet_counted(semconv.METRIC_DECISIONS)),
            "Model and tool calls refused in the selected time. If more than 0, the table of "
            "denials shows whose, and for which resource.",
            unit=WHOLE,
            steps=(Step(1, "red"),),
        ),
        number(
            "unpriced",
            "Calls without a price",
            queries.share(scope.fleet_counted(semconv.METRIC_UNPRICED_CALLS), calls),
            "Share of the recorded calls that add nothing to the cost, because their price is "
            "unknown. Above a few percent, every USD figure here is too low: add the model's "
            "price.",
            unit=SHARE,
            steps=(Step(thresholds.unpriced_share, "orange"),),
        ),
    ]


def _who(scope: Scope) -> list[Panel]:
    def spend(key: str, title: str, label: str, description: str) -> Panel:
        expr = scope.fleet_counted_by((label,), semconv.METRIC_COST)
        return Panel(
            key=key,
            title=title,
            kind="gauges",
            description=description,
            targets=(Target(expr=expr, legend=legend(label)),),
            unit=USD,
            width=8,
            height=7,
        )

    hourly = scope.fleet_counted_by((TENANT,), semconv.METRIC_COST, window="1h")
    return [
        Panel(
            key="spend_over_time",
            title="Spend in the hour before, by tenant",
            kind="lines",
            description="At each point the USD of the hour before it. A step up that stays is a "
            "new level; see the drill-down for the agent and model behind it.",
            targets=(Target(expr=hourly, legend=legend(TENANT)),),
            unit=USD,
            width=24,
            height=7,
            legend_right=True,
        ),
        spend(
            "spend_tenant",
            "Spend by tenant",
            TENANT,
            "USD in the selected time. Their sum, exactly, is above: Spend, selected time.",
        ),
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
            "USD in the selected time. An expensive model where a cheap one would do stands out.",
        ),
    ]


def _budgets(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    steps = (Step(thresholds.utilization_soft, "orange"), Step(thresholds.utilization_hard, "red"))
    one_source = LEVEL_OF_ONE_SOURCE
    used = scope.level(semconv.METRIC_UTILIZATION, queries.CAP, labels=one_source)
    soft = scope.level(
        semconv.METRIC_UTILIZATION,
        queries.equals(semconv.SOURCE, semconv.SOURCE_SOFT_LIMIT),
        labels=one_source,
    )
    remaining = scope.time_left(queries.CAP, labels=one_source)
    return [
        Panel(
            key="fullness",
            title="How full each budget is",
            kind="gauges",
            description="Used share of each budget now; orange from "
            f"{thresholds.utilization_soft:.0%} on, red from {thresholds.utilization_hard:.0%} "
            "on, when its calls are refused. For a guard that does not report its cap, the share "
            "of the soft limit that was crossed. A budget without a limit has no share and is "
            "not shown. Services have budgets of their own, unless their guard says that they "
            "share one.",
            targets=(
                Target(expr=used, legend=LEVEL_LEGEND),
                Target(expr=soft, legend=f"{LEVEL_LEGEND} (soft limit)"),
            ),
            unit=SHARE,
            width=10,
            steps=steps,
        ),
        Panel(
            key="exhaustion",
            title="When each budget runs out",
            kind="table",
            description="At the earliest pace that can be believed: that of the budget's window "
            "once a tenth of it has passed; for windows of two weeks or more that of the last "
            "seven days, once they have passed; and that of the last ten minutes where a budget "
            "is being emptied. Raise the limit or slow the agent down where it runs out before "
            "its reset. Only budgets whose guard reports cap and window; by recording rules.",
            targets=(
                Target(expr=scope.forecast_beside(used), header="Used", unit=SHARE),
                Target(
                    expr=f"{scope.forecast_beside(scope.recorded(EXHAUSTION, queries.CAP))}"
                    f" and on ({', '.join(one_source)}) {used}",
                    header="Runs out in",
                    unit=SECONDS,
                ),
                Target(expr=scope.forecast_beside(remaining), header="Reset in", unit=SECONDS),
            ),
            columns=(*LEVEL_COLUMNS, (STATE, "Forecast")),
            hidden=(ENVIRONMENT, GUARD, UNIT, SHARED, SOURCE),
            width=14,
            steps=steps,
        ),
        forecasts.panel(scope),
    ]


def _decisions(scope: Scope) -> list[Panel]:
    def checks(*outcomes: str) -> str:
        return scope.fleet_counted(
            semconv.METRIC_DECISIONS, queries.one_of(semconv.DECISION, outcomes), window=STEP
        )

    return [
        Panel(
            key="decisions",
            title="Decisions by outcome",
            kind="bars",
            description="Number of checks between two points of the chart. Refused: see "
            "the table beside it. No valid answer: the guard raised, was late or unreadable, or "
            "the caller went away; see the health dashboard.",
            targets=(
                Target(expr=checks(semconv.ALLOW), legend="allowed", color="blue"),
                Target(
                    expr=checks(semconv.SOFT_LIMIT), legend="above a soft limit", color="orange"
                ),
                Target(expr=checks(semconv.DENY), legend="refused", color="red"),
                Target(expr=checks(*queries.TROUBLE), legend="no valid answer", color="purple"),
            ),
            width=10,
        ),
        refusals.denials(scope),
    ]


def _tokens(scope: Scope) -> list[Panel]:
    read = scope.fleet_counted(
        semconv.METRIC_TOKENS, queries.equals(semconv.TOKEN_TYPE, semconv.TOKENS_CACHE_READ)
    )
    prompt = scope.fleet_counted(
        semconv.METRIC_TOKENS, queries.differs(semconv.TOKEN_TYPE, semconv.TOKENS_OUTPUT)
    )
    tokens = scope.fleet_sum((TOKEN_TYPE,), semconv.METRIC_TOKENS, window=STEP)
    return [
        Panel(
            key="token_mix",
            title="Tokens by type",
            kind="bars",
            description="Number of tokens between two points of the chart. The types do "
            "not overlap: cached prompt tokens are not in input. Much cache_write and little "
            "cache_read means a cache that is paid for but not used.",
            targets=(
                Target(
                    expr=tokens + " > 0",
                    legend=legend(TOKEN_TYPE),
                ),
            ),
            width=10,
        ),
        Panel(
            key="tokens_model",
            title="Tokens by model",
            kind="gauges",
            description="All tokens in the selected time, including cached ones and those of "
            "models without a price.",
            targets=(
                Target(
                    expr=scope.fleet_counted_by((MODEL,), semconv.METRIC_TOKENS),
                    legend=legend(MODEL),
                ),
            ),
            width=8,
        ),
        Panel(
            key="cache_share",
            title="Prompt tokens from the cache",
            kind="stat",
            description="Share of the prompt tokens in the selected time that were read from the "
            "provider's cache, at about a tenth of the price. It falls to 0 when the beginning "
            "of the prompt changes with every call.",
            targets=(Target(expr=queries.share(read, prompt), legend="from the cache"),),
            unit=SHARE,
            width=6,
        ),
    ]
