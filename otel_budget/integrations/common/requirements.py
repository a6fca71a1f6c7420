"""The library behind an integration: missing or too old is one sentence with the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from otel_budget.libraries import installed_version, is_older


@contextmanager
def needed(extra: str, distribution: str, oldest: str) -> Iterator[None]:
    """Put around the imports of the library that an integration is for.

    Args:
        extra: The extra that brings it.
        distribution: Its name on the package index.
        oldest: The oldest version that the integration was run with.

    Raises:
        ModuleNotFoundError: The library is not installed.
        ImportError: It is older than that, or cannot be imported.
    """
    module = f"otel_budget.integrations.{extra.replace('-', '_')}"
    remedy = f"pip install 'otel-budget[{extra}]'"
    version = installed_version(distribution)
    if version is None:
        raise ModuleNotFoundError(f"{module} needs the package {distribution}: {remedy}")
    if is_older(version, oldest):
        raise ImportError(
            f"{module} needs {distribution} {oldest} or newer, and {version} is installed: {remedy}"
        )
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{module} cannot import {distribution} {version} ({error}): {remedy}"
        ) from error
