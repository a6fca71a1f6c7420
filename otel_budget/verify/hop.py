"""One hop of the pipeline and what was found there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Hop:
    """The outcome of one hop.

    Attributes:
        name: The hop's name.
        status: ``skipped``, if it was not configured or not reached, does not count as passed.
        detail: What was found, in a sentence or phrase.
        cause: The likely cause of a failure.
        remedy: What to do about a failure.
        seconds: How long the check took.
    """

    name: str
    status: Status
    detail: str
    cause: str = ""
    remedy: str = ""
    seconds: float = 0.0


class Problem(Exception):
    """A hop's failure: what was found, the likely cause, and the remedy."""

    def __init__(self, detail: str, cause: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail, self.cause, self.remedy = detail, cause, remedy

    def hop(self, name: str) -> Hop:
        """The failed hop."""
        return Hop(name, "failed", self.detail, self.cause, self.remedy)


#: Says why a signal does not get on, if that is known; takes what was found.
Why = Callable[[str], Problem | None]


def timed(hop: Hop, started: float) -> Hop:
    """`hop` with the time since `started` (monotonic seconds)."""
    return replace(hop, seconds=time.monotonic() - started)
