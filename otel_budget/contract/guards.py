"""Guards: the methods that a runtime calls."""

from __future__ import annotations

from otel_budget.contract.decisions import Allow, BudgetDecision
from otel_budget.contract.usage import TokenUsage


class BudgetGuard:
    """An async guard. Override what you enforce; the defaults allow everything."""

    async def check_before_llm(
        self, session_id: str, estimated_prompt_tokens: int
    ) -> BudgetDecision:
        """May this session call the model with about so many prompt tokens?"""
        return Allow()

    async def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """A model call of this session succeeded and used this much."""

    async def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """May this session call this tool? The name comes from the model: it can be anything."""
        return Allow()


class SyncBudgetGuard:
    """A synchronous guard. Override what you enforce; the defaults allow everything."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> BudgetDecision:
        """May this session call the model with about so many prompt tokens?"""
        return Allow()

    def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
        """A model call of this session succeeded and used this much."""

    def check_before_tool(self, session_id: str, tool_name: str) -> BudgetDecision:
        """May this session call this tool? The name comes from the model: it can be anything."""
        return Allow()


class NoopBudgetGuard(BudgetGuard):
    """Allows everything: observe first, enforce later."""
