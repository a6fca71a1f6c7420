"""Alerts about limits: a share of a budget is used, a budget is exhausted, a call is refused."""

from __future__ import annotations

from typing import Final

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
    CONSUMED_HELD,
    CRITICAL,
    INFO,
    KEPT,
    LIMIT_HELD,
    RECENT,
    REFUSED_HELD,
    THE_BUDGET,
    THRESHOLD,
    UTILIZATION,
    WARNING,
    WHO,
    Alert,
    Record,
    lately,
)
from dashboards.builder.thresholds import Thresholds
from otel_budget import semconv

_WHOSE: Final = (ENVIRONMENT, TENANT, AGENT, PRINCIPAL, RESOURCE, WINDOW)
#: What a refusal and the budget that it came from have in common: agent and principal of a refusal
#: are the caller's, not the budget's.
_BUDGET: Final = (ENVIRONMENT, TENANT, RESOURCE, WINDOW)


def limits(thresholds: Thresholds, names: queries.Names) -> list[Alert]:
    """A threshold reached, a soft limit crossed, exhausted, refused for another reason."""
    return [
        _threshold_reached(thresholds),
        _soft_limit_crossed(names),
        _exhausted(),
        _denied(thresholds, names),
    ]


def _hits(names: queries.Names, *matchers: str) -> str:
    # What a gate answers for a failing guard is no limit.
    not_gate = queries.differs(semconv.RESOURCE, semconv.GUARD_UNAVAILABLE)
    hits = names.of(semconv.METRIC_THRESHOLD_HITS)
    return queries.selector(hits, queries.NOT_CANARY, not_gate, *matchers)


def _threshold_reached(thresholds: Thresholds) -> Alert:
    used = f"{CONSUMED_HELD} / {LIMIT_HELD}"
    reached = (
        queries.marked(f"({used} >= {share})", THRESHOLD, f"{share:.0%}")
        for share in thresholds.utilization_told
    )
    return Alert(
        alert="LLMBudgetThresholdReached",
        expr="\nor ".join(reached),
        severity=INFO,
        summary=f"{WHO}: {{{{ $labels.{THRESHOLD} }}}} of {THE_BUDGET} is used",
        description="{{ $value | humanizePercentage }} is used. It is told once in the budget's "
        "window, and pages nobody: a budget may be meant to be used up. The budget overview shows "
        "whether it lasts until its reset.",
        for_="5m",
        because="a guard that reserves before a call rises above a threshold for seconds and\n"
        "settles below it again; five minutes above it without a break are real.",
    )


def _soft_limit_crossed(names: queries.Names) -> Alert:
    soft = queries.by("sum", _WHOSE, names.happened(_hits(names, queries.SOFT), RECENT))
    return Alert(
        alert="LLMBudgetSoftLimitCrossed",
        # Where the guard reports its cap, LLMBudgetThresholdReached knows more.
        expr=f"{soft}\nunless on ({ENVIRONMENT}, {TENANT}, {RESOURCE}) "
        f"{UTILIZATION}{{{queries.CAP}}}",
        severity=INFO,
        summary=f"{WHO}: soft limit of {THE_BUDGET} crossed",
        description=f"{lately('calls')} went ahead above the soft limit. The guard does not "
        "report its cap, so it is not known here how near a refusal is.",
        keep_firing_for=KEPT,
        because=AT_ONCE,
    )


def refused_held(thresholds: Thresholds, names: queries.Names) -> Record:
    """What `LLMBudgetExhausted` reads, recorded beside the levels that it is held by."""
    spent = queries.equals(semconv.CAUSE, semconv.CAUSE_SPENT)
    spent_or_unknown = queries.one_of(semconv.CAUSE, ("", semconv.CAUSE_SPENT))
    # A tool is refused by a list, unless the guard says that it was the budget.
    not_tool = queries.differs(semconv.DECISION_POINT, semconv.POINT_TOOL)
    tool = queries.equals(semconv.DECISION_POINT, semconv.POINT_TOOL)
    refused = (
        names.happened(_hits(names, queries.HARD, *matchers), RECENT)
        for matchers in ((not_tool, spent_or_unknown), (tool, spent))
    )
    full = queries.by(
        "max", _BUDGET, f"{CONSUMED_HELD} / {LIMIT_HELD} >= {thresholds.refused_full}"
    )
    return Record(
        record=REFUSED_HELD,
        expr=queries.by("sum", _WHOSE, " or ".join(refused))
        + f"\nor (last_over_time({REFUSED_HELD}[{KEPT}]) and on ({', '.join(_BUDGET)}) {full})",
        because="Calls refused by an exhausted budget, held as long as the guard tells it as full, "
        "until its\nwindow ends.",
    )


def _exhausted() -> Alert:
    return Alert(
        alert="LLMBudgetExhausted",
        expr=f"{REFUSED_HELD} > 0",
        severity=CRITICAL,
        summary=f"{WHO}: {THE_BUDGET} is exhausted, calls are refused",
        description=f"{lately('refusals')}. This work stands still until the limit is raised or "
        "the window is reset. Find what spent it on the drill-down dashboard; the reason the guard "
        "gave is in the Collector's audit file and on the denial's span.",
        keep_firing_for=KEPT,
        because="work stands still. It keeps firing as long as the budget is full, or for an "
        "hour: the\nlate calls of an exhausted tenant are one page.",
    )


def _denied(thresholds: Thresholds, names: queries.Names) -> Alert:
    labels = (*_WHOSE, POINT, CAUSE)

    def refused(*causes: str) -> str:
        cause = queries.one_of(semconv.CAUSE, causes)
        return queries.by("sum", labels, names.happened(_hits(names, queries.HARD, cause), RECENT))

    return Alert(
        alert="LLMBudgetDenied",
        # A refusal by a rule, whatever is left, is a guard doing its job: it is on the dashboards.
        expr=f"{refused(semconv.CAUSE_UNPRICED, semconv.CAUSE_UNAVAILABLE)}\n"
        f"or {refused(semconv.CAUSE_RESERVED)} >= {thresholds.refused_reserved}",
        severity=WARNING,
        summary=f"{WHO}: {{{{ $labels.{POINT} }}}} calls refused, resource {THE_BUDGET}, cause "
        f"{{{{ $labels.{CAUSE} }}}}",
        description=f"{lately('refusals')}. No budget is exhausted: "
        "what is left is held by calls in progress (reserved), the model has no price (unpriced), "
        "or the guard could not tell (unavailable).",
        keep_firing_for=KEPT,
        because=AT_ONCE,
    )
