"""Versions of the libraries that are optional: is one installed, is it too old."""

from __future__ import annotations

import importlib.metadata
import re


def installed_version(distribution: str) -> str | None:
    """The version of a distribution that is installed, or None if it is not known."""
    try:
        return importlib.metadata.version(distribution) or None
    except Exception:  # not installed, or what is there has no readable metadata
        return None


def is_older(version: str, oldest: str) -> bool:
    """Whether `version` comes before `oldest`; one without numbers does not."""
    numbers, least = (
        [int(number) for number in re.findall(r"\d+", text)[:3]] for text in (version, oldest)
    )
    return bool(numbers) and numbers < least
