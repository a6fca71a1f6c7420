"""The budget guard's contract: the questions it is asked, its answers, the usage it receives.

Mirrors ``a3s_code_core::budget`` (crate a3s-code-core 9.1). A runtime asks a guard before each
model call and each tool call, refuses the call on `Deny`, and reports the usage of each successful
model call to the guard.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from otel_budget.contract.decisions import (
    Allow,
    BudgetDecision,
    BudgetExhausted,
    BudgetThresholdHit,
    Deny,
    Hit,
    Proceeds,
    SoftLimit,
)
from otel_budget.contract.guards import (
    AsyncGuardProtocol,
    BudgetGuard,
    NoopBudgetGuard,
    SyncBudgetGuard,
    SyncGuardProtocol,
)
from otel_budget.contract.levels import BudgetLevel
from otel_budget.contract.usage import TokenUsage

__all__ = [
    "Allow",
    "AsyncGuardProtocol",
    "BudgetDecision",
    "BudgetExhausted",
    "BudgetGuard",
    "BudgetLevel",
    "BudgetThresholdHit",
    "Deny",
    "Hit",
    "NoopBudgetGuard",
    "Proceeds",
    "SoftLimit",
    "SyncBudgetGuard",
    "SyncGuardProtocol",
    "TokenUsage",
]


def _warm_up() -> None:
    """Validate each type once, at import.

    pydantic-core holds a lock during the first validation of a type. A fork at that moment would
    leave the lock held in the child forever, and the first call there would hang.
    """
    fields: dict[str, Any] = {"resource": "", "consumed": 0.0, "limit": 0.0, "message": None}
    Allow()
    SoftLimit.model_validate(fields)
    Deny(resource="", reason="")
    BudgetThresholdHit(kind="soft", **fields)
    BudgetLevel("", 0.0, None)
    counts = dict.fromkeys(TokenUsage.model_fields, 0) | {
        "prompt_includes_cache": None,
        "processing": "standard",
    }
    TokenUsage.model_validate(counts)
    try:
        TokenUsage.model_validate({})
    except ValidationError as error:
        error.errors(include_url=False)


_warm_up()
