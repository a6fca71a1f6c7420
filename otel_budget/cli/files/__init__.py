"""``otel-budget files DIR``: what operators install, and keeps up to date."""

from otel_budget.cli.files.command import files

__all__ = ["files"]
