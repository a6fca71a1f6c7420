"""HTTP requests to the programs of a pipeline: every one that is sent to them goes through here."""

from __future__ import annotations

import base64
import email.utils
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
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
        ahead: By how many seconds our clock is ahead of the program's, to a second; None if it
            did not tell its time.
    """

    status: int
    body: bytes
    ahead: float | None


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
    asked = time.time()
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return Answer(answer.status, answer.read(), _ahead(answer.headers.get("Date"), asked))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read(), _ahead(error.headers.get("Date"), asked))
    except HTTPException as error:
        raise OSError(f"its answer is no HTTP: {error!r}") from error


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


def _ahead(date: str | None, asked: float) -> float | None:
    try:
        told = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    # The header is cut to whole seconds.
    return (asked + time.time()) / 2 - (told + 0.5)


class ErrorStatus(OSError):
    """A program answered with an error status."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP status {answer.status}")
        self.answer = answer


def get(
    url: str, parameters: Mapping[str, str] | None = None, *, timeout: float = _TIMEOUT
) -> bytes:
    """The body of a URL's answer.

    Raises:
        OSError: No answer, or an error status (`ErrorStatus`).
    """
    query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    answer = ask(url + query, timeout=timeout)
    if answer.status >= 400:
        raise ErrorStatus(answer)
    return answer.body


def get_json(
    url: str, parameters: Mapping[str, str] | None = None, *, timeout: float = _TIMEOUT
) -> Any:
    """A URL's answer, read as JSON. Raises what `get` does, or ValueError."""
    return json.loads(get(url, parameters, timeout=timeout))


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
    if isinstance(error, ErrorStatus) and error.answer.status in (401, 403):
        return Problem(
            f"{url} answered {error.answer.status}",
            f"{what} wants a login, and {option} has none or a wrong one",
            f"write it into {option}: http://user:password@host",
        )
    if isinstance(error, ErrorStatus):
        return Problem(
            f"{url} answered {error.answer.status}",
            f"something other than {what} listens there",
            f"correct {option}",
        )
    if not isinstance(error, OSError):
        return Problem(
            f"{url} answered, but not as {what} does",
            f"something other than {what} listens there, or a page to log in",
            f"correct {option}",
        )
    reason = getattr(error, "reason", None) or error
    return Problem(
        f"{url} did not answer ({reason})",
        f"{what} is not running, or it is elsewhere",
        f"start it, or correct {option}",
    )
