"""The budget that `replay` tries: made from its options, or the user's own guard."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import Any, Final, cast

from otel_budget.cli.replay.windows import RollingBook, ZonedWindows, span_of
from otel_budget.cli.terminal import CommandError, amount
from otel_budget.contract.prices import PriceSource
from otel_budget.guards import Limit, WindowGuard
from otel_budget.guards.book import Book
from otel_budget.guards.calendar import WINDOWS, Window
from otel_budget.guards.limit import Per, Unit

#: What people call those who share a budget.
PERS: Final[dict[str, Per]] = {
    "tenant": "tenant",
    "user": "principal",
    "agent": "agent",
    "session": "session",
    "all": "all",
}
_UNITS: Final[dict[str, Unit]] = {"usd": "USD", "$": "USD", "tokens": "tokens", "token": "tokens"}
_AMOUNT: Final = re.compile(r"(\$?)([\d.,_]+(?:e\d+)?)\s*([a-z]*)", re.IGNORECASE)
#: Accounts that a replay remembers; a guard in service remembers fewer.
_ACCOUNTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TriedLimit:
    """One limit as it was asked for.

    Attributes:
        limit: The limit; the window of a rolling one is ``ever``.
        who: Who shares it, in the option's words.
        window: Its window, in the option's words.
    """

    limit: Limit
    who: str
    window: str

    def __str__(self) -> str:
        """The limit in words."""
        unit = "" if self.limit.unit == "USD" else " tokens"
        scope = "in total" if self.who == "all" else f"per {self.who}"
        cap = amount(self.limit.cap, self.limit.unit)
        soft = "" if self.limit.soft is None else f", soft at {self.limit.soft:.0%}"
        return f"{cap}{unit} {scope}, {self.window}{soft}"


def tried_limit(cap: float, unit: Unit, who: str, window: str, soft: float | None) -> TriedLimit:
    """A limit from the words of options.

    Raises:
        CommandError: A word is unknown, or a number out of range.
    """
    if who not in PERS:
        raise CommandError(f"--per {who} is none of {', '.join(PERS)}.")
    if window not in WINDOWS and span_of(window) is None:
        raise CommandError(
            f"--window {window} is no window: name one of {', '.join(WINDOWS)}, or a rolling one "
            "such as 5h or 7d."
        )
    calendar = cast("Window", window if window in WINDOWS else "ever")
    try:
        return TriedLimit(Limit(cap, unit, PERS[who], calendar, soft), who, window)
    except ValueError as error:
        raise CommandError(f"{error}.") from None


def parsed_limit(words: str, who: str, window: str, soft: float | None) -> TriedLimit:
    """A limit such as ``5usd/user/day``; who and window may be left out.

    Raises:
        CommandError: It is none.
    """
    first, *rest = (part.strip().lower() for part in words.split("/"))
    match = _AMOUNT.fullmatch(first)
    unit = _UNITS.get((match[3] or match[1]) if match else "")
    try:
        cap = float(match[2].replace(",", "").replace("_", "")) if match else None
    except ValueError:
        cap = None
    known = all(part in PERS or part in WINDOWS or span_of(part) for part in rest)
    if unit is None or cap is None or len(rest) > 2 or not known:
        raise CommandError(
            f"--limit {words} is not a limit such as 5usd/user/day, 1e6tokens/tenant/week or "
            "20usd/all/30d."
        )
    for part in rest:
        if part in PERS:
            who = part
        else:
            window = part
    return tried_limit(cap, unit, who, window, soft)


def limits_of(
    words: Iterable[str],
    *,
    usd: float | None,
    tokens: float | None,
    who: str,
    window: str,
    soft: float,
) -> list[TriedLimit]:
    """The limits that the options describe, each with a name of its own.

    Raises:
        CommandError: They do not describe limits, or two that are told apart by nothing.
    """
    limits = [parsed_limit(each, who, window, soft) for each in words]
    if usd is not None:
        limits.append(tried_limit(usd, "USD", who, window, soft))
    if tokens is not None:
        limits.append(tried_limit(tokens, "tokens", who, window, soft))
    if not limits:
        tried_limit(0, "USD", who, window, soft)  # a wrong word is wrong without a limit, too
    return _named(limits)


def _named(limits: Sequence[TriedLimit]) -> list[TriedLimit]:
    names = [tried.limit.name for tried in limits]
    several = [
        replace(tried, limit=replace(tried.limit, resource=f"{name}_{tried.window}"))
        if names.count(name) > 1 or span_of(tried.window)
        else tried
        for tried, name in zip(limits, names, strict=True)
    ]
    for tried in several:
        if [other.limit.name for other in several].count(tried.limit.name) > 1:
            raise CommandError(
                f"two limits are in {tried.limit.unit} per {tried.who} and {tried.window}: keep "
                "one of them."
            )
    return several


class TriedGuard(WindowGuard):
    """A window guard whose windows may be those of a time zone, or rolling."""

    def __init__(
        self,
        limits: Sequence[TriedLimit],
        *,
        deny_tools: Iterable[str],
        prices: PriceSource | None,
        zone: tzinfo,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            *(tried.limit for tried in limits), deny_tools=deny_tools, prices=prices, clock=clock
        )
        self._books = tuple(_book(tried, zone) for tried in limits)

    @property
    def books(self) -> tuple[Book, ...]:
        """What each limit has counted, in the order of the limits."""
        return self._books


def _book(tried: TriedLimit, zone: tzinfo) -> Book:
    span = span_of(tried.window)
    if span is not None:
        return RollingBook(tried.limit, _ACCOUNTS, span, tried.window)
    windows = None if zone is UTC else ZonedWindows(tried.limit.window, zone)
    return Book(tried.limit, _ACCOUNTS, windows)


def guard_from(name: str, clock: Callable[[], float]) -> Any:
    """The guard that the factory MODULE:FACTORY makes.

    Raises:
        CommandError: There is no such factory, or it makes none.
    """
    module_name, separator, attribute = name.partition(":")
    if not (separator and module_name and attribute):
        raise CommandError(f"--guard {name} is not MODULE:FACTORY, such as myapp.budgets:make.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # unlike `python -m`, a console script does not look there
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise CommandError(
            f"--guard: {module_name} cannot be imported ({_in_words(error)}); run the command "
            "where Python finds it, or put its folder on PYTHONPATH."
        ) from None
    try:
        factory = module
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except AttributeError:
        raise CommandError(f"--guard: {module_name} has no {attribute}: check its name.") from None
    if not callable(factory):
        raise CommandError(f"--guard: {name} is not a function or class that makes a guard.")
    try:
        return factory(clock=clock) if _takes_clock(factory) else factory()
    except Exception as error:
        raise CommandError(
            f"--guard: {name} could not make a guard ({_in_words(error)}); it is called without "
            "arguments, or with clock if it has that parameter."
        ) from None


def _takes_clock(factory: Callable[..., Any]) -> bool:
    try:
        return "clock" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
