"""Providers and exporters for a program that has none: one call, one bounded shutdown.

The standard ``OTEL_*`` variables decide everything that is not an argument. A program with an
OpenTelemetry set-up of its own needs none of this. Nothing but this package and `testing` imports
the SDK.
"""

from otel_budget.sdk.configuration import ConfiguredTelemetry, configure

__all__ = ["ConfiguredTelemetry", "configure"]
