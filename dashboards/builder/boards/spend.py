"""Spend for those who pay: by month and model, per call, and what a cache saves."""

from __future__ import annotations

from dataclasses import replace

from dashboards.builder import months, queries
from dashboards.builder.boards import links, spenders
from dashboards.builder.boards.shared_panels import (
    legend,
    per_priced_call,
    stat,
    token_types,
    without_price,
)
from dashboards.builder.labels import MODEL, PRINCIPAL, TENANT
from dashboards.builder.model import (
    SHARE,
    USD,
    USD_PER_CALL,
    WHOLE,
    Dashboard,
    Link,
    Panel,
    Row,
    Step,
    Target,
)
from dashboards.builder.scope import OTHERS, RANGE, STEP, Scope
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

UID = "otel-budget-spend"
_MONTHS = (
    "Months are UTC, and the month is that of the end of the selected time: choose one that ends "
    "earlier to see an earlier month, as far back as Prometheus keeps its data. Days before today "
    "are exact to half an hour at midnight; today is from recording rules."
)


def build(scope: Scope, thresholds: Thresholds) -> Dashboard:
    """The dashboard."""
    return Dashboard(
        uid=UID,
        title="LLM budgets: spend",
        description="For who pays: tenants and users by month, models, cost per call, what a cache "
        "saves, and what has no price.",
        refresh="15m",
        rows=(
            Row(title="This month", panels=_glance(scope, thresholds)),
            Row(title="By month", panels=_by_month(scope)),
            Row(title="Models", panels=_models(scope, thresholds)),
            Row(title="What is not counted, and what is saved", panels=_rest(scope, thresholds)),
        ),
    )


def _glance(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    priced = "Priced calls only: see the share without a price."
    return [
        stat("month", "This month", months.so_far(scope), USD, f"USD so far. {priced} {_MONTHS}"),
        stat("month_before", "Month before", months.before(scope), USD, f"USD. {_MONTHS}"),
        stat(
            "month_projected",
            "This month at this pace",
            months.projected(scope),
            USD,
            f"USD of the whole month, if the rest of it is like what has passed. {_MONTHS}",
        ),
        stat(
            "cost_per_call",
            "Cost per priced call",
            per_priced_call(scope, scope.fleet_counted(semconv.METRIC_COST)),
            USD_PER_CALL,
            "USD in the selected time, per call that has a price.",
        ),
        stat(
            "saved",
            "Saved by the cache, estimate",
            _saved(scope, thresholds, RANGE),
            USD,
            f"USD in the selected time, by an estimate: {_ratios(thresholds)} Below 0: the cache "
            "is paid for and not used.",
        ),
        stat(
            "unpriced",
            "Calls without a price",
            without_price(scope),
            SHARE,
            "Share of the calls in the selected time that add nothing to the cost.",
            steps=(Step(thresholds.unpriced_share, "orange"),),
        ),
    ]


def _ratios(thresholds: Thresholds) -> str:
    return (
        f"a prompt token read from the cache costs {thresholds.cache_read:g} of a plain one, one "
        f"written to it {thresholds.cache_write:g}, and an output token "
        f"{thresholds.cache_output:g} (thresholds.toml, table cache)."
    )


def _by_month(scope: Scope) -> list[Panel]:
    def table(key: str, label: str, header: str, description: str, link: Link) -> Panel:
        so_far = months.so_far(scope, label)
        return Panel(
            key=key,
            title=f"{header}s by month",
            kind="table",
            description=f"{description} {_MONTHS}",
            targets=(
                Target(expr=so_far, header="This month", unit=USD),
                Target(expr=months.before(scope, label), header="Month before", unit=USD),
                Target(
                    expr=f"{so_far} / on () group_left () ({months.so_far(scope)} > 0)",
                    header="Share",
                    unit=SHARE,
                    steps=(Step(0, "blue"),),
                ),
            ),
            columns=((label, header),),
            width=12,
            height=9,
            links=(link,),
        )

    return [
        table("tenants", TENANT, "Tenant", "USD, priced calls only.", links.TO_DRILLDOWN[0]),
        table(
            "users",
            PRINCIPAL,
            "User",
            "USD of principals, where metric_labels of instrument() has them; the row without a "
            "name is what tells none.",
            links.OF_USER[0],
        ),
        spenders.over_time(
            scope,
            "spend_over_time",
            "Spend in the day before, by tenant",
            TENANT,
            "At each point the USD of the day before it.",
            window="1d",
        ),
    ]


def _models(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    most, others = scope.fleet_top(MODEL, semconv.METRIC_COST, spenders.LINES, window=STEP)
    by_model, _ = scope.fleet_top(MODEL, semconv.METRIC_COST, spenders.LINES, window="1h")
    return [
        Panel(
            key="model_mix",
            title="Spend by model over time",
            kind="bars",
            description="USD between two points of the chart. A dear model that takes over shows "
            "here before the bill.",
            targets=(
                Target(expr=most, legend=legend(MODEL)),
                Target(expr=others, legend=legend(OTHERS), color="grey"),
            ),
            unit=USD,
            width=10,
        ),
        Panel(
            key="per_call",
            title="Cost per priced call, hour before",
            kind="lines",
            description="USD per call of the hour before each point, of the models that cost most. "
            "If it rises, prompts got longer, or the cache is not used any more.",
            targets=(
                Target(
                    expr=per_priced_call(scope, by_model, (MODEL,), window="1h"),
                    legend=legend(MODEL),
                ),
            ),
            unit=USD_PER_CALL,
            width=8,
        ),
        replace(spenders.table(scope, "models", MODEL, "Model", "USD of each model."), height=8),
    ]


def _rest(scope: Scope, thresholds: Thresholds) -> list[Panel]:
    return [
        Panel(
            key="unpriced_over_time",
            title="Calls without a price, hour before",
            kind="lines",
            description="Share of the calls of the hour before each point that add nothing to the "
            "cost, because their price is unknown.",
            targets=(Target(expr=without_price(scope, "1h"), legend="without a price"),),
            unit=SHARE,
            width=8,
            steps=(Step(thresholds.unpriced_share, "orange"),),
        ),
        Panel(
            key="unpriced_models",
            title="Calls without a price by model",
            kind="table",
            description="Calls in the selected time whose price is unknown: add the model's price.",
            targets=(
                Target(
                    expr=scope.fleet_sum((MODEL,), semconv.METRIC_UNPRICED_CALLS),
                    header="Calls",
                    unit=WHOLE,
                ),
            ),
            columns=((MODEL, "Model"),),
            width=4,
        ),
        Panel(
            key="saved_over_time",
            title="Saved by the cache, hour before",
            kind="lines",
            description=f"USD of the hour before each point, by an estimate: {_ratios(thresholds)}",
            targets=(Target(expr=_saved(scope, thresholds, "1h"), legend="saved"),),
            unit=USD,
            width=6,
        ),
        token_types(scope, 6),
    ]


def _saved(scope: Scope, thresholds: Thresholds, window: str) -> str:
    """Of each model, the price of a plain prompt token by what its tokens cost; summed."""

    def tokens(*types: str) -> str:
        matcher = queries.one_of(semconv.TOKEN_TYPE, types)
        return scope.fleet_sum((MODEL,), semconv.METRIC_TOKENS, matcher, window=window)

    every = tokens(*semconv.TOKEN_TYPES)
    plain, read, write, output = (
        f"({queries.or_zero(tokens(each), every)})"
        for each in (
            semconv.TOKENS_INPUT,
            semconv.TOKENS_CACHE_READ,
            semconv.TOKENS_CACHE_WRITE,
            semconv.TOKENS_OUTPUT,
        )
    )
    cost = scope.fleet_sum((MODEL,), semconv.METRIC_COST, window=window)
    weighed = (
        f"({plain} + {thresholds.cache_read:g} * {read} + {thresholds.cache_write:g} * {write} "
        f"+ {thresholds.cache_output:g} * {output} > 0)"
    )
    saved = f"({1 - thresholds.cache_read:g} * {read} - {thresholds.cache_write - 1:g} * {write})"
    return f"sum({cost} / {weighed} * {saved})"
