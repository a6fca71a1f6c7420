"""Alerts about money: near the limit, refused, spent too fast, about to run out."""

from __future__ import annotations

from dashboards.builder import queries
from dashboards.builder.labels import (
    AGENT,
    CAUSE,
    ENVIRONMENT,
    POINT,
    PRINCIPAL,
    RESOURCE,
    TENANT,
    WINDOW,
)
from dashboards.builder.rules.alert_model import (
    AT_ONCE,
    COST_1H,
    CRITICAL,
    EXHAUSTION,
    RECENT,
    SHORT_WINDOW,
    SHORTEST_WINDOW,
    THE_BUDGET,
    UTILIZATION,
    WARNING,
    WHO,
    WINDOW_LENGTH,
    WINDOW_REMAINING,
    Alert,
    burn,
    who,
)
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv


def limits(thresholds: Thresholds, names: queries.Names) -> list[Alert]:
    """Near the limit, a soft limit crossed, refused."""
    hits = names.of(semconv.METRIC_THRESHOLD_HITS)
    not_gate = queries.differs(semconv.RESOURCE, semconv.GUARD_UNAVAILABLE)
    # A refusal by a rule, whatever is left, is a guard doing its job: it is on the dashboards.
    not_policy = queries.differs(semconv.CAUSE, semconv.CAUSE_POLICY)
    hit_labels = (ENVIRONMENT, TENANT, AGENT, PRINCIPAL, RESOURCE, WINDOW)
    soft = names.happened(queries.selector(hits, queries.SOFT, not_gate), RECENT)
    hard = names.happened(queries.selector(hits, queries.HARD, not_gate, not_policy), RECENT)
    capped = f"{UTILIZATION}{{{queries.CAP}}}"
    return [
        Alert(
            alert="LLMBudgetNearLimit",
            expr=f"{capped} >= {thresholds.utilization_soft}",
            severity=WARNING,
            summary=f"{WHO}: {THE_BUDGET} is {{{{ $value | humanizePercentage }}}} used",
            description="The guard refuses calls at 100 %. The budget overview shows when it "
            "will run out. Raise the limit, slow the agent down, or let it run out deliberately.",
            for_="5m",
            keep_firing_for="5m",
            because="a guard that reserves before a call rises above the threshold for seconds "
            "and\nsettles below it again; five minutes above it without a break are real.",
        ),
        Alert(
            alert="LLMBudgetSoftLimitCrossed",
            # Where the guard reports its cap, LLMBudgetNearLimit knows more.
            expr=f"{queries.by('sum', hit_labels, soft)}\n"
            f"unless on ({ENVIRONMENT}, {TENANT}, {RESOURCE}) {capped}",
            severity=WARNING,
            summary=f"{WHO}: soft limit of {THE_BUDGET} crossed",
            description=f"{{{{ $value | humanize }}}} calls in {RECENT} went ahead above the soft "
            "limit. The guard does not report its cap, so it is not known here how near a "
            "refusal is.",
            because=AT_ONCE,
        ),
        Alert(
            alert="LLMBudgetDenied",
            expr=queries.by("sum", (*hit_labels, POINT, CAUSE), hard),
            severity=CRITICAL,
            summary=f"{WHO}: {{{{ $labels.{POINT} }}}} calls refused, "
            f"resource {THE_BUDGET}{{{{ with $labels.{CAUSE} }}}}, cause {{{{ . }}}}{{{{ end }}}}",
            description=f"Refusals in {RECENT}: {{{{ $value | humanize }}}}. This work stands "
            "still until the budget is raised, its window is reset, or the tool is allowed. The "
            "reason is on the denial's span: search Jaeger for budget.decision=deny.",
            because=AT_ONCE,
        ),
    ]


def spend(thresholds: Thresholds, names: queries.Names) -> list[Alert]:
    """Spent too fast, far above the usual, about to run out."""
    short = f"({WINDOW_LENGTH} >= {SHORTEST_WINDOW} <= {SHORT_WINDOW})"
    long = f"({WINDOW_LENGTH} > {SHORT_WINDOW})"
    usual = f"avg_over_time({COST_1H}[1d] offset 1h)"
    elapsed = queries.elapsed_share(WINDOW_LENGTH, WINDOW_REMAINING)

    def above(factor: float, *windows: str) -> str:
        return " and ".join(f"{burn(window)} > {factor}" for window in windows)

    return [
        Alert(
            alert="LLMBudgetBurnFast",
            expr=f"({above(thresholds.burn_day_factor, '1h', '10m')} and {short})\n"
            f"or ({above(thresholds.burn_fast_factor, '1h', '10m')} and {long})",
            severity=CRITICAL,
            summary=f"{WHO}: {THE_BUDGET} is being spent at {{{{ $value | humanize }}}} times the "
            "pace its limit allows",
            description="This was the pace of the last hour, and still is the pace of the last "
            "ten minutes. Find the agent and model on the drill-down dashboard. Windows under "
            "six hours are covered by LLMBudgetWillRunOut.",
            for_="2m",
            because="both windows already smooth the pace; two minutes keep a single evaluation "
            "from paging.",
        ),
        Alert(
            alert="LLMBudgetBurnSlow",
            expr=f"{above(thresholds.burn_slow_factor, '6h', '30m')} and {long}",
            severity=WARNING,
            summary=f"{WHO}: {THE_BUDGET} has been spent at {{{{ $value | humanize }}}} times the "
            "pace its limit allows for six hours",
            description="Not a burst but a new level: at this pace the budget is used up long "
            "before its window ends. Find what changed on the drill-down dashboard.",
            for_="15m",
            because="this is a matter of days, so a quarter of an hour costs nothing and avoids "
            "noise.",
        ),
        Alert(
            alert="LLMBudgetSpendSpike",
            expr=f"({COST_1H} > {thresholds.spike_factor} * {usual})"
            f" > {thresholds.spike_floor_usd}\n"
            # A new tenant has no past to be compared with.
            f"and last_over_time({COST_1H}[1d] offset 6h)",
            severity=WARNING,
            summary=f"{who(TENANT)} spent {{{{ $value | printf `%.2f` }}}} USD in the last hour, "
            f"over {thresholds.spike_factor:g} times its usual",
            description="Compared with the average hour in which this tenant spent anything "
            "during the day before. It may be a loop, but also a release or a new customer. The "
            "overview shows which agent and model.",
            for_="10m",
            because="the hour already smooths the spend; ten minutes keep one expensive call from "
            "setting it off.",
        ),
        Alert(
            alert="LLMBudgetWillRunOut",
            expr=f"({EXHAUSTION} > 0) < {WINDOW_REMAINING}\n"
            f"and {elapsed} >= {thresholds.forecast_elapsed}\n"
            f"and {UTILIZATION} >= {thresholds.forecast_utilization}",
            severity=WARNING,
            summary=f"{WHO}: {THE_BUDGET} will run out in {{{{ $value | humanizeDuration }}}}, "
            "before its window ends",
            description="This assumes the average pace of this window. Raise the limit, slow "
            "the agent down, or tell the tenant when its calls will stop.",
            for_="15m",
            because="early in a window one expensive call bends the forecast; a quarter of an "
            "hour of\nthe same answer is a trend, and the warning comes hours ahead.",
        ),
    ]
