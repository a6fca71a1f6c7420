"""Usage that is no usage: some libraries write zeros where the server told nothing."""

from __future__ import annotations

from typing import Final

_COUNTS: Final = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")


def told(usage: object) -> object:
    """`usage`, or None if all that it counts is 0: no call of a model uses nothing."""
    return usage if any(getattr(usage, name, None) for name in _COUNTS) else None
