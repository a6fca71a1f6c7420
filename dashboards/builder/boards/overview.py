"""The budget overview: what is about to run out, what was refused, who spends."""

from __future__ import annotations

from dataclasses import replace

from dashboards.builder import queries
from dashboards.builder.boards import budgets, forecasts, refusals, spenders
from dashboards.builder.boards.shared_panels import legend, stat, token_types, without_price
from dashboards.builder.labels import AGENT, MODEL, PRINCIPAL, TENANT
from dashboards.builder.model import SHARE, USD, WHOLE, Dashboard, Panel, Row, Step, Target
from dashboards.builder.scope import RANGE, STEP, Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

UID = "otel-budget-overview"


def build(scope: Scope, thresholds: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: overview",
        description="Which budget is about to run out, what was refused and why, who spends what.",
        refresh="5m",  # it asks today's spend and that of the selected time of every process
        rows=(
            Row(title="Budgets now", panels=[*_glance(scope, thresholds)]),
            Row(title="Refusals", panels=[refusals.denials(scope), refusals.outcomes(scope)]),
            Row(title="Spend", panels=_spend(scope, thresholds)),
            Row(title="Who spends", panels=_who(scope)),
            Row(title="Forecasts and calls", panels=[forecasts.panel(scope), *_calls(scope)]),
            Row(title="Tokens", panels=_tokens(scope)),
        ),
    )


_SPENT = "Priced calls only: see the share without a price."


def _glance(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    *numbers, table = budgets.panels(scope, thresholds)
    refused = scope.fleet_counted(semconv.METRIC_THRESHOLD_HITS, queries.HARD)
    return [
        *numbers,
        stat(
            "refused",
            "Refused calls",
            queries.or_zero(refused, scope.fleet_counted(semconv.METRIC_DECISIONS)),
            WHOLE,
            "Model and tool calls refused in the selected time. If more than 0, the table of "
            "denials shows whose, and for which resource.",
            steps=(Step(1, "red"),),
        ),
        stat(
            "spend_hour",
            "Spend, last hour",
            scope.counted(semconv.METRIC_COST, window="1h"),
            USD,
            f"USD in the last hour. If far above the usual, find the agent below. {_SPENT}",
        ),
        table,
    ]


def _spend(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    cost = semconv.METRIC_COST
    before = scope.fleet_sum((), cost, before=f"offset {RANGE}")
    numbers = [
        replace(
            stat(
                "spend_today",
                "Spend today (UTC)",
                scope.counted(cost),
                USD,
                "USD since midnight UTC, whatever time is selected. In Perses there is no data on "
                "a day on which a process restarted under the same instance id: choose the time "
                f"since midnight and read the next panel. {_SPENT}",
            ),
            targets=(
                Target(
                    expr=scope.counted(cost),
                    legend="Spend today (UTC)",
                    timeless=queries.today(scope.select(cost)),
                ),
            ),
            today=True,
        ),
        stat(
            "spend_range",
            "Spend, selected time",
            scope.counted(cost),
            USD,
            f"USD in the selected time. {_SPENT}",
        ),
        stat(
            "spend_before",
            "Spend, the time before",
            before,
            USD,
            "USD in as much time before the selected one.",
        ),
        stat(
            "unpriced",
            "Calls without a price",
            without_price(scope),
            SHARE,
            "Share of the recorded calls that add nothing to the cost, because their price is "
            "unknown. Above a few percent, every USD figure here is too low: add the model's "
            "price.",
            steps=(Step(thresholds.unpriced_share, "orange"),),
        ),
    ]
    return [
        *(replace(number, width=6) for number in numbers),
        spenders.over_time(
            scope,
            "spend_over_time",
            "Spend in the hour before, by tenant",
            TENANT,
            "At each point the USD of the hour before it. A step up that stays is a new level; see "
            "the drill-down for the agent and model behind it.",
        ),
    ]


def _who(scope: Scope) -> list[Panel]:
    return [
        spenders.table(scope, "spend_tenant", TENANT, "Tenant", "A tenant opens the drill-down."),
        spenders.table(
            scope,
            "spend_agent",
            AGENT,
            "Agent",
            "The first place to look when a tenant spends too fast.",
        ),
        spenders.table(
            scope,
            "spend_user",
            PRINCIPAL,
            "User",
            "Principals, where metric_labels of instrument() has them.",
        ),
        spenders.table(
            scope,
            "spend_model",
            MODEL,
            "Model",
            "An expensive model where a cheap one would do stands out.",
        ),
    ]


def _calls(scope: Scope) -> list[Panel]:
    allowed = queries.equals(semconv.DECISION, semconv.ALLOW)
    return [
        Panel(
            key="allowed",
            title="Allowed checks",
            kind="bars",
            description="Number of checks between two points of the chart that were simply "
            "allowed; the others are in the panel beside the denials.",
            targets=(
                Target(
                    expr=scope.fleet_counted(semconv.METRIC_DECISIONS, allowed, window=STEP),
                    legend="allowed",
                    color="blue",
                ),
            ),
            width=10,
            height=6,
        ),
    ]


def _tokens(scope: Scope) -> list[Panel]:
    read = scope.fleet_counted(
        semconv.METRIC_TOKENS, queries.equals(semconv.TOKEN_TYPE, semconv.TOKENS_CACHE_READ)
    )
    prompt = scope.fleet_counted(
        semconv.METRIC_TOKENS, queries.differs(semconv.TOKEN_TYPE, semconv.TOKENS_OUTPUT)
    )
    return [
        token_types(scope, 10),
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
