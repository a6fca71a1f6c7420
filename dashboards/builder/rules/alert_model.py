"""What a rule is, the names of the recorded series, and the text that alerts share.

Every alert has a severity, a summary that makes sense at night, a description with what to do
first, and a `because`: the reason for its `for`, written into the YAML as a comment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.builder.labels import (
    AGENT,
    GUARD,
    JOB,
    POINT,
    PRINCIPAL,
    RESOURCE,
    TENANT,
    WINDOW,
)

UTILIZATION: Final = "llm_budget:utilization:max"
WITH_RESERVED: Final = "llm_budget:utilization_with_reserved:max"
CONSUMED: Final = "llm_budget:consumed:settled"
LIMIT: Final = "llm_budget:limit:max"
WINDOW_LENGTH: Final = "llm_budget:window_length_seconds:max"
WINDOW_REMAINING: Final = "llm_budget:window_remaining_seconds:max"
EXHAUSTION: Final = "llm_budget:exhaustion_seconds:forecast"
EMPTYING: Final = "llm_budget:exhaustion_seconds:emptying"
EXHAUSTED_SINCE: Final = "llm_budget:exhausted:since"
FORECAST: Final = "llm_budget:forecast:state"
WINDOW_END_HELD: Final = "llm_budget:window_end:held"
CONSUMED_HELD: Final = "llm_budget:consumed:held"
LIMIT_HELD: Final = "llm_budget:limit:held"
REFUSED_HELD: Final = "llm_budget:refused:held"
COST_1H: Final = "llm_budget:cost_usd:total1h"
COST_HIGHEST: Final = "llm_budget:cost_usd:highest1h"
COST_USUAL: Final = "llm_budget:cost_usd:usual1h"
EXPECTED: Final = "llm_budget:expected_service:info"
TOLD: Final = "llm_budget:consumed:told"
WINDOW_END: Final = "llm_budget:window_end:told"
ENDED: Final = "llm_budget:consumed:ended"
HEARD: Final = "llm_budget:heard:services"
FULLNESS: Final = "llm_budget:fullness:max15m"

#: Work or money is being lost now; somebody should look today; worth knowing, wakes nobody.
CRITICAL: Final = "critical"
WARNING: Final = "warning"
INFO: Final = "info"
#: Of the alert that always fires.
NO_SEVERITY: Final = "none"
SEVERITIES: Final = (CRITICAL, WARNING, INFO, NO_SEVERITY)
#: The label of `LLMBudgetThresholdReached`: which share is used.
THRESHOLD: Final = "threshold"

#: How far back the alerts on events look. Longer than an export interval (60 s by default) and
#: than one missed export.
RECENT: Final = "10m"
#: How long they go on after that: what happens again within it is the same cause, and no new page.
KEPT: Final = "1h"

AT_ONCE: Final = (
    "what it reports has already happened, and the series of an ended job vanish in minutes."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A recording rule; `because` says why it is recorded."""

    record: str
    expr: str
    because: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert rule; `because` is the reason for `for_` (how long it must hold before firing)."""

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
    """A group of rules, evaluated in order.

    Attributes:
        name: The group's, and its file's.
        rules: The rules.
        interval: How often; empty is as Prometheus is set up.
        query_offset: How long ago the evaluated time is; empty is as Prometheus is set up.
    """

    name: str
    rules: Sequence[Record | Alert]
    interval: str = ""
    query_offset: str = ""


def grown(window: str) -> str:
    """What was spent of each budget in `window`."""
    return f"llm_budget:grown:{window}"


def highest(window: str) -> str:
    """The most that was spent of each budget in `window`, of today so far."""
    return f"llm_budget:grown_highest:{window}"


def usual(window: str) -> str:
    """The most that is usually spent of each budget in `window`."""
    return f"llm_budget:grown_usual:{window}"


def lately(what: str) -> str:
    """Template text that says how many; the number stays as it was while an alert goes on."""
    return f"{{{{ $value | humanize }}}} {what} in {RECENT} when it last happened"


def least(window: str) -> str:
    """What a guard counted in `window` at least, recorded for each budget."""
    return f"llm_budget:guard_least:{window}"


def most(window: str) -> str:
    """What a guard counted in `window` at most, recorded for each budget."""
    return f"llm_budget:guard_most:{window}"


def recorded(window: str) -> str:
    """What was recorded in `window` of the spend that a budget is for."""
    return f"llm_budget:recorded:{window}"


def recorded_by_job(window: str) -> str:
    """What was recorded in `window`, by job and who spent it."""
    return f"llm_budget:recorded_by_job:{window}"


def who(*labels: str) -> str:
    """Template text that names tenant, agent and principal, as far as they are known."""
    words = {TENANT: "tenant", AGENT: "agent", PRINCIPAL: "principal"}
    first, *rest = labels
    text = f"{words[first].capitalize()} {{{{ or $labels.{first} `(unknown)` }}}}"
    for label in rest:
        text += f"{{{{ with $labels.{label} }}}}, {words[label]} {{{{ . }}}}{{{{ end }}}}"
    return text


WHO = who(TENANT, AGENT, PRINCIPAL)
THE_BUDGET = (
    f"{{{{ $labels.{RESOURCE} }}}}{{{{ with $labels.{WINDOW} }}}} ({{{{ . }}}}){{{{ end }}}}"
)
SERVICE = f"{{{{ or $labels.{JOB} `(unknown service)` }}}}"
THE_GUARD = f"{{{{ or $labels.{GUARD} `(unnamed)` }}}}"
THE_DECISIONS = f"the {{{{ $labels.{POINT} }}}} decisions"
