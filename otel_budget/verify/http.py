"""HTTP requests to the programs of a pipeline."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from otel_budget.verify.hop import Problem

T = TypeVar("T")
_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program answered, an error status too.

    Attributes:
        status: The HTTP status.
        body: The content.
    """

    status: int
    body: bytes


def ask(
    url: str,
    *,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = _TIMEOUT,
) -> Answer:
    """Ask a program, with the user and password in the URL if there are any.

    Raises:
        OSError: No answer.
    """
    plain, login = _login(url)
    request = urllib.request.Request(plain, data, {**login, **(headers or {})})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read())


def _login(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and the header that carries them."""
    parts = urllib.parse.urlsplit(url)
    if "@" not in parts.netloc:
        return url, {}
    user, _, host = parts.netloc.rpartition("@")
    token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {token}"}


def shown(url: str) -> str:
    """The URL without user and password."""
    return _login(url)[0]


def get(url: str, parameters: Mapping[str, str] | None = None) -> bytes:
    """The body of a URL's answer.

    Raises:
        OSError: No answer, or an error status (`urllib.error.HTTPError`).
    """
    query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    plain, login = _login(url + query)
    request = urllib.request.Request(plain, headers=login)  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
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
    url = shown(url)
    if isinstance(error, urllib.error.HTTPError):
        return Problem(
            f"{url} answered {error.code}",
            f"something other than {what} listens there, or it requires a login",
            f"correct {option}; a login goes into it as http://user:password@host",
        )
    reason = getattr(error, "reason", None) or error
    return Problem(
        f"{url} did not answer ({reason})",
        f"{what} is not running, or it is elsewhere",
        f"start it, or correct {option}",
    )
