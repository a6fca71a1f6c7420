"""Which spans are hits of a guard: they are sampled, and delivered, with more care than others."""

from __future__ import annotations

from typing import Final

from opentelemetry.util.types import Attributes

from otel_budget import semconv

_SPANS: Final = frozenset(
    {
        semconv.SPAN_CHECK_BEFORE_LLM,
        semconv.SPAN_CHECK_BEFORE_TOOL,
        semconv.SPAN_RECORD_AFTER_LLM,
    }
)


def is_hit(name: str, attributes: Attributes) -> bool:
    """Whether a span of this name and these attributes is a hit."""
    if name not in _SPANS:
        return False
    decision = attributes.get(semconv.DECISION) if attributes else None
    return isinstance(decision, str) and decision in semconv.HIT_DECISIONS
