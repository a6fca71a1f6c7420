"""Use against limit over time, with the refusals: what is drawn, and how on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from math import isfinite
from typing import Final

from rich.text import Text

from otel_budget.cli.play import Answer, LogClock
from otel_budget.cli.replay.budget import TriedGuard, TriedLimit
from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.cli.terminal import amount, clean, counted
from otel_budget.contract import Deny
from otel_budget.contract.session_info import SessionInfo
from otel_budget.guards.limit import Key

#: Parts of the time that are told apart.
BUCKETS: Final = 600
#: Accounts that are drawn of each limit.
_ACCOUNTS: Final = 3
_WIDTH: Final = 66
_HEIGHT: Final = 8
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(slots=True)
class Line:
    """One account's use over time.

    Attributes:
        name: Whose it is.
        points: Of each part of the time in which there were calls, in its order: where it begins
            (0 to 1), the most that was used in it, and where the window then ends.
        refused: The refused calls of each part.
    """

    name: str
    points: list[tuple[float, float, float]] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)

    def path(self) -> list[tuple[float, float]]:
        """The line through the points, which falls to nothing where a window ends."""
        path: list[tuple[float, float]] = []
        ends = 2.0  # after the time that is drawn
        for at, used, end in self.points:
            if path and ends <= at:
                path += [(ends, path[-1][1]), (ends, 0.0)]
            path += [(at, path[-1][1])] if path else []
            path.append((at, used))
            ends = end
        return path


@dataclass(slots=True)
class Chart:
    """One limit, and those who used most of it."""

    limit: TriedLimit
    lines: list[Line]
    start: float
    end: float
    zone: tzinfo
    accounts: int

    @property
    def top(self) -> float:
        """The largest value that is drawn."""
        used = [used for line in self.lines for _, used, _ in line.points]
        return max([self.limit.limit.cap, *used]) or 1.0


class Peaks:
    """Finds whom to draw, while a log is replayed: who was refused most, then who used most."""

    def __init__(self, guard: TriedGuard, clock: LogClock) -> None:
        self._guard, self._clock = guard, clock
        self._found: list[dict[Key, list[int]]] = [{} for _ in guard.books]

    def __call__(self, call: LoggedCall, answer: Answer, is_tool: bool) -> None:
        """Look at one check."""
        if is_tool:
            return
        session, info = call.session or "", info_of(call)
        for book, found in zip(self._guard.books, self._found, strict=True):
            key = book.limit.key(session, info)
            peak = found.setdefault(key, [0, 0])
            peak[0] += is_refused_by(answer, book.limit.name)
            peak[1] = max(peak[1], book.used(self._clock.now, session, info))

    def chosen(self) -> list[list[Key]]:
        """Whom to draw, for each limit."""
        return [
            sorted(found, key=lambda key: (-found[key][0], -found[key][1]))[:_ACCOUNTS]
            for found in self._found
        ]

    def accounts(self) -> list[int]:
        """How many accounts each limit has."""
        return [len(found) for found in self._found]


class Drawn:
    """Keeps what is drawn of the chosen accounts, while the log is replayed once more."""

    def __init__(
        self, guard: TriedGuard, clock: LogClock, chosen: list[list[Key]], span: tuple[float, float]
    ) -> None:
        self._guard, self._clock = guard, clock
        self._start, self._length = span[0], max(span[1] - span[0], 1.0)
        self._lines: list[dict[Key, Line]] = [
            {key: Line(_name(key)) for key in keys} for keys in chosen
        ]

    def __call__(self, call: LoggedCall, answer: Answer, is_tool: bool) -> None:
        """Look at one check."""
        if is_tool:
            return
        session, info, now = call.session or "", info_of(call), self._clock.now
        for book, lines in zip(self._guard.books, self._lines, strict=True):
            line = lines.get(book.limit.key(session, info))
            if line is None:
                continue
            used = book.used(now, session, info) / book.scale
            part = int((now - self._start) / self._length * (BUCKETS - 1))
            end = (book.period(now).end - self._start) / self._length
            at = part / (BUCKETS - 1)
            if line.points and line.points[-1][0] == at and line.points[-1][2] == end:
                used = max(used, line.points[-1][1])
                line.points[-1] = (at, used, end)
            else:
                line.points.append((at, used, end))
            if is_refused_by(answer, book.limit.name):
                line.refused[part] = line.refused.get(part, 0) + call.calls

    def charts(
        self, limits: Sequence[TriedLimit], accounts: Sequence[int], zone: tzinfo
    ) -> list[Chart]:
        """One chart for each limit."""
        end = self._start + self._length
        return [
            Chart(limit, list(lines.values()), self._start, end, zone, number)
            for limit, lines, number in zip(limits, self._lines, accounts, strict=True)
        ]


def info_of(call: LoggedCall) -> SessionInfo:
    """Who a call is for, as limits tell accounts apart."""
    return SessionInfo(tenant=call.tenant, principal=call.user, agent=call.agent)


def is_refused_by(answer: Answer, resource: str) -> bool:
    """Whether a limit refused a call."""
    return isinstance(answer.decision, Deny) and answer.decision.resource == resource


def _name(key: Key) -> str:
    if isinstance(key, tuple):
        return " of ".join(part for part in (key[1], key[0]) if part) or "(unnamed)"
    return key or "all calls"


# -- on a terminal ---------------------------------------------------------------------------
def drawn_in_text(chart: Chart) -> Text:
    """A chart of characters: who used most, each column the most that was used then."""
    tried, text = chart.limit, Text()
    for line in chart.lines[:1]:
        text.append(f"{clean(line.name)}: use against {tried}\n", "bold")
        top = chart.top
        columns = [0.0] * _WIDTH
        for at, used, _ in line.points:
            column = min(_WIDTH - 1, int(at * _WIDTH))
            columns[column] = max(columns[column], used)
        refused = {min(_WIDTH - 1, part * _WIDTH // BUCKETS) for part in line.refused}
        limit_row = min(_HEIGHT - 1, int(tried.limit.cap / top * _HEIGHT - 1e-9))
        for row in reversed(range(_HEIGHT)):
            label = amount(tried.limit.cap, tried.limit.unit) if row == limit_row else ""
            text.append(f"{label:>12} ", "red")
            for used in columns:
                filled = used / top * _HEIGHT - row
                block = _BLOCKS[max(0, min(8, round(filled * 8)))]
                if block == " " and row == limit_row:
                    text.append("┄", "red")
                else:
                    text.append(block, "yellow" if used >= tried.limit.cap else "cyan")
            text.append("\n")
        text.append(f"{'refused':>12} ")
        text.append("".join("×" if n in refused else " " for n in range(_WIDTH)) + "\n", "red")
        first, last = (_moment(at, chart.zone) for at in (chart.start, chart.end))
        text.append(f"{'':>12} {first}{last:>{_WIDTH - len(first)}}\n", "dim")
        total = sum(line.refused.values())
        text.append(f"{counted(total, 'call')} of {clean(line.name)} refused.")
        if chart.accounts > 1:
            text.append(f" {chart.accounts - 1:,} others are not drawn.", "dim")
    return text


def _moment(at: float, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M}" if isfinite(at) else ""
