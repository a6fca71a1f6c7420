"""See every decision of an LLM-agent budget guard: spans, token and cost metrics, threshold events.

One line around your guard:

    guard = instrument(guard, session_info=SessionInfo(tenant="acme", model="claude-sonnet-4-5"))

The public names are those below and those of `otel_budget.guards`, `otel_budget.sdk`,
`otel_budget.testing` and the modules of `otel_budget.integrations`. Everything else is private and
may change in any release.
"""

from typing import TYPE_CHECKING

from otel_budget.contract import (
    Allow,
    AsyncGuardProtocol,
    BudgetDecision,
    BudgetExhausted,
    BudgetGuard,
    BudgetLevel,
    BudgetThresholdHit,
    Deny,
    NoopBudgetGuard,
    SoftLimit,
    SyncBudgetGuard,
    SyncGuardProtocol,
    TokenUsage,
)
from otel_budget.contract.prices import BillableCall, MissingRate, PriceSource
from otel_budget.contract.session_info import SessionInfo, call_info
from otel_budget.late_names import late_names
from otel_budget.telemetry.instrument import instrument
from otel_budget.version import __version__

if TYPE_CHECKING:
    from otel_budget.contract.prices.flat_rates import FlatRates
    from otel_budget.contract.prices.genai import GenAIPrices
    from otel_budget.runtime.a3s import for_a3s
    from otel_budget.runtime.gate import BudgetGate
else:
    __getattr__ = late_names(
        __name__,
        {
            "BudgetGate": "otel_budget.runtime.gate",
            "FlatRates": "otel_budget.contract.prices.flat_rates",
            "GenAIPrices": "otel_budget.contract.prices.genai",
            "for_a3s": "otel_budget.runtime.a3s",
        },
    )

__all__ = [
    "Allow",
    "AsyncGuardProtocol",
    "BillableCall",
    "BudgetDecision",
    "BudgetExhausted",
    "BudgetGate",
    "BudgetGuard",
    "BudgetLevel",
    "BudgetThresholdHit",
    "Deny",
    "FlatRates",
    "GenAIPrices",
    "MissingRate",
    "NoopBudgetGuard",
    "PriceSource",
    "SessionInfo",
    "SoftLimit",
    "SyncBudgetGuard",
    "SyncGuardProtocol",
    "TokenUsage",
    "__version__",
    "call_info",
    "for_a3s",
    "instrument",
]
