"""See every decision of an LLM-agent budget guard."""

__version__ = "0.1.0"
