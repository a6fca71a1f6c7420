"""See every decision of an LLM-agent budget guard: spans, token and cost metrics, threshold events.

One line around a guard of yours:

    guard = instrument(guard, session_info=SessionInfo(tenant="acme", model="claude-sonnet-4-5"))
"""

from otel_budget.a3s import for_a3s
from otel_budget.contract import (
    Allow,
    BudgetDecision,
    BudgetExhausted,
    BudgetGuard,
    BudgetLevel,
    BudgetThresholdHit,
    Deny,
    NoopBudgetGuard,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
)
from otel_budget.gate import BudgetGate
from otel_budget.genai_prices import GenAIPrices
from otel_budget.guard import instrument
from otel_budget.prices import FlatRates, PriceSource
from otel_budget.session_info import SessionInfo, call_info
from otel_budget.version import __version__

__all__ = [
    "Allow",
    "BudgetDecision",
    "BudgetExhausted",
    "BudgetGate",
    "BudgetGuard",
    "BudgetLevel",
    "BudgetThresholdHit",
    "Deny",
    "FlatRates",
    "GenAIPrices",
    "NoopBudgetGuard",
    "PriceSource",
    "SessionInfo",
    "SoftLimit",
    "SyncBudgetGuard",
    "TokenUsage",
    "__version__",
    "call_info",
    "for_a3s",
    "instrument",
]
