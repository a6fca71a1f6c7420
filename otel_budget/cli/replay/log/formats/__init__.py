"""The formats that `replay` recognises, in the order in which they are asked."""

from typing import Final

from otel_budget.cli.replay.log.formats import (
    claude_code,
    helicone,
    langfuse,
    langsmith,
    litellm,
    openai_usage,
    otlp,
    responses,
)
from otel_budget.cli.replay.log.formats.base import Format
from otel_budget.cli.replay.log.formats.table import table

__all__ = ["FORMATS", "Format", "table"]

#: To add a format, add its module's; what is none of these is a table.
FORMATS: Final = (
    otlp.FORMAT,
    claude_code.FORMAT,
    litellm.FORMAT,
    openai_usage.FORMAT,
    langsmith.FORMAT,
    langfuse.FORMAT,
    helicone.FORMAT,
    responses.BATCHES,
    responses.RESPONSES,
)
