"""`otel-budget replay`: runs a call log through a budget guard."""

from otel_budget.cli.replay.command import replay

__all__ = ["replay"]
