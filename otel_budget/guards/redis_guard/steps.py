"""The script's arguments and replies: what is asked of Redis, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1, sha256
from importlib.resources import files
from typing import Any, Final, Literal, NamedTuple

from otel_budget.guards.answers import Terms
from otel_budget.guards.calendar import EVER, Period, Window, period_at
from otel_budget.guards.charges import Charge
from otel_budget.guards.limit import Key, Limit, Owner, Unit

#: Amounts are whole numbers of 1e-9 USD or of tokens: Lua's numbers are exact to 2^53.
SCALE: Final[dict[Unit, int]] = {"USD": 10**9, "tokens": 1}
MOST: Final = 2**53 - 1
SCRIPT: Final = files(__package__).joinpath("step.lua").read_text(encoding="utf-8")
#: Redis keeps scripts by this.
SHA: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
OK, REFUSED, TOO_MANY, OTHER_TIME, ENDED = range(5)
#: A name beyond so many characters stands as its hash.
_LONGEST: Final = 200
#: For a budget that never resets: beyond any time in ms.
_NEVER: Final = MOST
_VALUES: Final = 5

Name = Literal["reserve", "settle", "release", "look"]


class Account(NamedTuple):
    """One account of one limit.

    Attributes:
        slot: The hash tag of its keys in Redis.
        name: What these begin with.
        owner: Whom its level names.
    """

    terms: Terms
    slot: str
    name: str
    owner: Owner


class Found(NamedTuple):
    """How the script found an account.

    Attributes:
        reserved: The amount reserved for other calls.
        uncounted: Calls that could not be counted.
        oldest: The age in seconds of the oldest reservation; None if there is none.
    """

    account: Account
    period: Period
    used: int
    reserved: int
    uncounted: int
    oldest: float | None


class Reply(NamedTuple):
    """What the script did.

    Attributes:
        now: The time of Redis, in seconds since the epoch.
        ended: The id of the call whose reservation it ended; empty if it ended none.
    """

    status: int
    now: float
    found: list[Found]
    ended: str


class Step(NamedTuple):
    """What the script is to do, in one slot.

    Attributes:
        session: The key of the session's calls in progress.
        call_id: The call's own id; empty for the one that fits best.
        charge: What the call needs or has used.
        by: What usage is compared by.
        lifetime: A reservation's, in seconds.
        idle: Seconds without a record after which a budget that never resets is forgotten.
    """

    name: Name
    session: str
    accounts: Sequence[Account]
    call_id: str = ""
    charge: Charge | None = None
    by: Unit = "tokens"
    lifetime: float = 1.0
    idle: float = 1.0

    def keys(self) -> list[str]:
        """All keys that the script touches, in one slot of a cluster."""
        parts = ("counts", "open", "made")
        return [self.session, *(f"{one.name}:{part}" for one in self.accounts for part in parts)]

    def arguments(self, now: float, told_now: float | None) -> list[str | int]:
        """The script's other arguments.

        Args:
            now: About what time it is for Redis, in seconds since the epoch.
            told_now: The time that Redis is told instead of its own.
        """
        charge = self.charge
        arguments: list[str | int] = [
            self.name,
            self.call_id,
            0 if charge is None else amount(charge, "USD"),
            0 if charge is None else amount(charge, "tokens"),
            int(charge is not None and charge.cost.usd is None),
            int(charge is not None and charge.tokens is None),
            self.by.lower(),
            round(self.lifetime * 1000),
            "" if told_now is None else round(told_now * 1000),
            round(self.idle * 1000),
        ]
        for one in self.accounts:
            windows = _windows_at(one.terms.limit.window, now)
            edges = [_ms(windows[0].start), *(_ms(window.end) for window in windows)]
            arguments += [one.terms.limit.unit.lower(), one.terms.cap, *edges]
        return arguments

    def read(self, reply: Sequence[Any], now: float) -> Reply:
        """What a reply says; `now` as in the arguments."""
        status, at = reply[0], reply[1] / 1000
        if status == OTHER_TIME:
            return Reply(status, at, [], "")
        found = []
        for index, account in enumerate(self.accounts):
            start = 2 + index * _VALUES
            window, used, reserved, uncounted, oldest = reply[start : start + _VALUES]
            period = _windows_at(account.terms.limit.window, now)[window - 1]
            age = oldest / 1000 if oldest >= 0 else None
            found.append(Found(account, period, used, reserved, uncounted, age))
        return Reply(status, at, found, str(reply[-1], "ascii"))


def amount(charge: Charge, unit: Unit) -> int:
    """What a call needs or has used, in whole numbers; what is not known is 0."""
    return min(charge.whole(unit, SCALE[unit]), MOST)


def slot_of_all(prefix: str) -> str:
    """The hash tag, which decides on the slot of a cluster, of all that no tenant has apart."""
    return f"{{{prefix}}}"


def slot_of_tenant(prefix: str, tenant: str | None) -> str:
    """The hash tag of the limits of a tenant and of its users, agents and sessions."""
    return f"{{{prefix}:{_name(tenant)}}}"


def account_name(slot: str, limit: Limit, key: Key) -> str:
    """What an account's keys begin with."""
    return f"{slot}:{limit.per}:{limit.unit}:{limit.window}:{_name(limit.name)}:{_name(key)}"


def session_key(slot: str, session: str | tuple[str | None, str]) -> str:
    """The key of a session's calls in progress."""
    return f"{slot}:calls:{_name(session)}"


def _name(key: object) -> str:
    # As JSON, "no tenant" is like no name, and ("a", "b") like no other pair.
    name = json.dumps(key, default=str)
    return name if len(name) <= _LONGEST else sha256(name.encode()).hexdigest()


def _ms(seconds: float) -> int:
    return round(min(max(seconds * 1000, 0.0), float(_NEVER)))


def _windows_at(window: Window, now: float) -> tuple[Period, Period, Period]:
    return _windows_around(window, period_at(window, now))


@lru_cache(maxsize=64)
def _windows_around(window: Window, period: Period) -> tuple[Period, Period, Period]:
    if not period.resets:
        return EVER, EVER, EVER
    return period_at(window, period.start - 1), period, period_at(window, period.end)
