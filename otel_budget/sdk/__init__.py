"""Providers and exporters for a program that has none: one call, one bounded shutdown.

The standard ``OTEL_*`` variables decide everything that is not an argument. A program with its own
OpenTelemetry set-up needs none of this. Only this package and `testing` import the SDK.
"""

from otel_budget.sdk.configuration import ConfiguredTelemetry, configure
from otel_budget.sdk.sampling import keep_hits

__all__ = ["ConfiguredTelemetry", "configure", "keep_hits"]
