"""What the fleet's processes wrote: what is true of their telemetry, and of the limits."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from otel_budget import SessionInfo
from otel_budget.guards.limit import Key
from support.fleet_app import LIFE, LIMITS, OUTPUT

#: By kind: decisions as ``decisions deny``; ``calls``, ``tokens``, ``cost`` (micro-USD).
Counts = Counter[str]
#: A limit of `LIMITS` and whose account of it.
Account = tuple[int, Key]


class Refusal(NamedTuple):
    session: str
    resource: str
    message: str


@dataclass(slots=True)
class Call:
    """A call that was allowed, in seconds since the epoch; amounts in tokens or micro-USD.

    Attributes:
        ended: When its record was acknowledged, or its guard was left otherwise; None if never.
        used: By unit; empty until it is recorded.
        in_doubt: Its record failed, or was begun and not finished.
    """

    info: SessionInfo
    session: str
    began: float
    allowed: float
    reserved: dict[str, int]
    ended: float | None = None
    used: dict[str, int] = field(default_factory=dict)
    in_doubt: bool = False

    def beyond(self, unit: str) -> int:
        return max(0, self.used.get(unit, 0) - self.reserved[unit])


class Books:
    """The lines of one process, and what follows from them.

    Attributes:
        counts: What its telemetry must have counted.
        least: What it had surely sent before it was killed: all, if it was not.
        refusals: What the audit file must have.
        surely: What it must have of a process that was killed.
        calls: What was allowed.
        ended: Whether it shut its telemetry down; then `lost` says what that lost.
    """

    def __init__(self, file: Path) -> None:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        self.lines: list[dict[str, Any]] = lines
        self.ended = bool(lines) and lines[-1]["what"] == "end"
        self.lost = lines[-1]["lost"] if self.ended else "was killed"
        told = [line["lines"] for line in lines if line["what"] == "told"]
        sent = lines if self.ended else lines[: max(told, default=0)]
        self.counts, self.refusals = _counted(lines)
        self.least, self.surely = _counted(sent)
        self.calls = list(_calls(lines))

    def number(self, what: str, since: float, until: float, **wanted: str) -> int:
        """How many lines of a kind were written in a time."""
        return sum(
            line["what"] == what
            and since <= line["at"] < until
            and all(line.get(key) == value for key, value in wanted.items())
            for line in self.lines
        )


def _micro_usd(tokens_in: int, tokens_out: int) -> int:
    return 3 * tokens_in + 15 * tokens_out


def _counted(lines: Iterable[Mapping[str, Any]]) -> tuple[Counts, Counter[Refusal]]:
    counts, refusals = Counts(), Counter[Refusal]()
    for line in lines:
        if "resource" in line:
            refusals[Refusal(line["session"], line["resource"], line["message"])] += 1
        if line["what"] in {"check", "tool"}:
            counts[f"decisions {line['decision']}"] += 1
        elif line["what"] == "recording":
            counts["calls"] += 1
            counts["tokens"] += line["input"] + line["output"]
            counts["cost"] += _micro_usd(line["input"], line["output"])
    return counts, refusals


def _calls(lines: Iterable[Mapping[str, Any]]) -> Iterable[Call]:
    """A process makes one call after the other."""
    info, call = SessionInfo(), None
    for line in lines:
        match line["what"]:
            case "call":
                info, call = SessionInfo(tenant=line["tenant"], principal=line["user"]), None
            case "check" if line["decision"] in {"allow", "soft_limit"}:
                reserved = {
                    "tokens": line["estimate"] + OUTPUT,
                    "USD": _micro_usd(line["estimate"], OUTPUT),
                }
                call = Call(info, line["session"], line["began"], line["at"], reserved)
                yield call
            case "recording" if call:
                call.used = {
                    "tokens": line["input"] + line["output"],
                    "USD": _micro_usd(line["input"], line["output"]),
                }
                call.in_doubt = True
            case "recorded" | "record failed" if call:
                call.ended, call.in_doubt = line["at"], line["what"] != "recorded"
            case "released" if call:
                call.ended = line["at"]


class Bound(NamedTuple):
    """One account against its limit, in tokens or micro-USD.

    Attributes:
        spent: What its calls used, whoever knows of it.
        told: What Redis says.
        beyond: (a) what calls in progress used beyond their reservations.
        failed: (b) what was recorded with an error, or not to its end.
        in_lag: (c) what Redis acknowledged so shortly before a master was killed that its replica
            may not have heard of it.
    """

    account: Account
    cap: int
    spent: int
    told: int
    beyond: int
    failed: int
    in_lag: int

    def __str__(self) -> str:
        number, key = self.account
        return f"{LIMITS[number].name} of {key or 'all'}: {self.spent} used of {self.cap}"

    @property
    def bound(self) -> int:
        """By how much the limit may be passed, as it is published."""
        return self.beyond + self.failed + self.in_lag

    @property
    def is_kept(self) -> bool:
        return self.spent - self.cap <= self.bound

    @property
    def is_exact(self) -> bool:
        """Whether Redis counted what was acknowledged, but for what may have been lost."""
        most, least = self.spent, self.spent - self.failed - self.in_lag
        return least <= self.told <= most


#: Seconds by which a replica may lag: Redis tells a lag in whole seconds.
LAG = 1.0


class Failover(NamedTuple):
    """A master that was killed, and the slots it had."""

    at: float
    slots: frozenset[int]


def by_account(books: Iterable[Books]) -> dict[Account, list[Call]]:
    """The allowed calls on each account."""
    accounts: dict[Account, list[Call]] = defaultdict(list)
    for book in books:
        for call in book.calls:
            for number, limit in enumerate(LIMITS):
                accounts[number, limit.key(call.session, call.info)].append(call)
    return accounts


def bound_of(
    account: Account, calls: list[Call], told: int, slot: int, failovers: Iterable[Failover]
) -> Bound:
    """How an account stands against its limit.

    Args:
        account: Which.
        calls: All that were allowed on it.
        told: What Redis says was used.
        slot: Of its keys.
        failovers: The masters that were killed.
    """
    limit = LIMITS[account[0]]
    unit = limit.unit
    # The last call was allowed at some time between these two. Whatever was in progress then may
    # have passed the limit; what was over had been counted.
    since, until = max(call.began for call in calls), max(call.allowed for call in calls)
    in_progress = [call for call in calls if call.began <= until and (call.ended or until) >= since]
    late = [call for call in calls if (call.ended or call.began) - call.began > LIFE]
    in_lag = [
        call
        for call in calls
        for failover in failovers
        if slot in failover.slots
        and any(
            failover.at - LAG <= at <= failover.at + LAG
            for at in (call.allowed, call.ended or call.allowed)
        )
    ]
    return Bound(
        account,
        round(limit.cap * (1e6 if unit == "USD" else 1)),
        sum(call.used.get(unit, 0) for call in calls),
        told,
        sum(call.beyond(unit) for call in in_progress) + sum(c.used.get(unit, 0) for c in late),
        sum(call.used.get(unit, 0) for call in calls if call.in_doubt),
        sum({id(call): call.used.get(unit, 0) for call in in_lag}.values()),
    )
