"""HTTP requests to the programs of a pipeline."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from otel_budget.verify.hop import Problem

T = TypeVar("T")
_TIMEOUT: Final = 5.0


def get(url: str, parameters: Mapping[str, str] | None = None) -> bytes:
    """The body of a URL's answer.

    Raises:
        OSError: No answer, or an error status (`urllib.error.HTTPError`).
    """
    query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    with urllib.request.urlopen(url + query, timeout=_TIMEOUT) as answer:  # noqa: S310
        content: bytes = answer.read()
        return content


def get_json(url: str, parameters: Mapping[str, str] | None = None) -> Any:
    """A URL's answer, read as JSON. Raises what `get` does, or ValueError."""
    return json.loads(get(url, parameters))


def until(probe: Callable[[], T], good: Callable[[T], bool], seconds: float) -> T:
    """Call `probe` until its answer is good or `seconds` are over; return the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if good(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(0.25)


def unreachable(what: str, option: str, url: str, error: Exception) -> Problem:
    """The problem of a program that does not answer as it should."""
    if isinstance(error, urllib.error.HTTPError):
        return Problem(
            f"{url} answered {error.code}",
            f"something other than {what} listens there, or it requires a login",
            f"correct {option}",
        )
    reason = getattr(error, "reason", None) or error
    return Problem(
        f"{url} did not answer ({reason})",
        f"{what} is not running, or it is elsewhere",
        f"start it, or correct {option}",
    )
