"""Thresholds that the chart's values can change: marked where they stand in rules and dashboards.

While a file is rendered, each such threshold is a number that nothing else uses, so that queries
can still be parsed. Afterwards that number becomes a mark, `<<table.entry>>`, and how the threshold
is written there is part of it: `<<table.entry / 3600>>` or `<<table.entry %>>`. The chart puts the
values in (`templates/_marks.tpl`).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from functools import cache
from typing import Any, Final

from dashboards.builder.rules.pipeline_alerts import JAEGER_JOB, NEEDED_JOBS
from dashboards.builder.scope import JAEGER_DEFAULT
from dashboards.builder.thresholds import DEFAULT_FILE, Thresholds

#: What the chart puts in besides thresholds.
RUNBOOK_BASE: Final = "<<runbookBase>>"
EXPECTED_SERVICE: Final = "<<expectedService>>"
#: Jobs have other names under other charts; the Collectors' is given by this one's PodMonitor.
_JOBS: Final = {job: f"<<jobs.{job}>>" for job in (*NEEDED_JOBS, JAEGER_JOB) if job != "otelcol"}
_OTHERS: Final = {
    JAEGER_DEFAULT: "<<jaegerUrl>>",
    f'job=~"{"|".join(NEEDED_JOBS)}"': f'job=~"{"|".join(_JOBS.get(j, j) for j in NEEDED_JOBS)}"',
    f'job="{JAEGER_JOB}"': f'job="{_JOBS[JAEGER_JOB]}"',
}
#: Not values of the chart: panels count a guard's answers by the buckets next to its times, the
#: list of shares makes as many queries, and the cache's prices are the panels' estimate alone.
FIXED: Final = frozenset(
    {
        "utilization_told",
        "guard_slow_seconds",
        "guard_late_seconds",
        "cache_read",
        "cache_write",
        "cache_output",
    }
)
_BASE: Final = 770_000_000
#: As days that are no weeks, which is how the parser writes them, too.
_DAYS: Final = 77_001
_WEEK: Final = 7
#: How thresholds are written, by format: what it adds to the mark.
_FORMATS: Final = {"": "", "g": "", ".0%": " %"}


class _Mark(float):
    """A threshold that is written as its stand-in."""

    marks: Marks
    meaning: str

    def __format__(self, format_spec: str) -> str:
        if format_spec not in _FORMATS:
            raise ValueError(
                f"{self.meaning} is written as {format_spec!r}, which templates/_marks.tpl of the "
                "chart cannot: teach it, or write the threshold otherwise."
            )
        return self.marks.number(self.meaning + _FORMATS[format_spec])

    def __truediv__(self, other: Any) -> _Mark:
        return self.marks.mark(f"{self.meaning} / {other}")


class Marks:
    """The stand-ins of one rendering."""

    def __init__(self) -> None:
        self._meanings: list[str] = []

    def thresholds(self, thresholds: Thresholds) -> Thresholds:
        """These thresholds, those that the chart's values can change marked."""
        marked: dict[str, Any] = {
            "runbook_base": RUNBOOK_BASE,
            "expected_services": (EXPECTED_SERVICE,),
        }
        for name, meaning in values().items():
            duration = isinstance(getattr(thresholds, name), str)
            marked[name] = self.days(meaning) if duration else self.mark(meaning)
        return replace(thresholds, **marked)

    def mark(self, meaning: str) -> _Mark:
        """A number that is written as a stand-in for `meaning`, and as JSON."""
        mark = _Mark(self.number(meaning))
        mark.marks, mark.meaning = self, meaning
        return mark

    def number(self, meaning: str) -> str:
        """The stand-in of a number."""
        return str(_BASE + self._index(meaning))

    def days(self, meaning: str) -> str:
        """The stand-in of a duration."""
        return f"{_DAYS + _WEEK * self._index(meaning)}d"

    def _index(self, meaning: str) -> int:
        if meaning not in self._meanings:
            self._meanings.append(meaning)
        return self._meanings.index(meaning)

    def fill(self, text: str) -> str:
        """The text with marks instead of stand-ins, and of what else is a value."""

        def mark(found: re.Match[str]) -> str:
            index = int(found[1]) - _BASE if found[1] else (int(found[2]) - _DAYS) // _WEEK
            return f"<<{self._meanings[index]}>>"

        for other, its_mark in _OTHERS.items():
            text = text.replace(other, its_mark)
        return re.sub(r"\b(77\d{7})(?:\.0)?\b|\b(77\d{3})d\b", mark, text)


@cache
def places() -> dict[str, str]:
    """Where each threshold of a table stands in `thresholds.toml`, as `table.entry`."""
    file = tomllib.loads(DEFAULT_FILE.read_text(encoding="utf-8"))
    return {
        f"{table}_{entry}": f"{table}.{entry}"
        for table, entries in file.items()
        if isinstance(entries, dict)
        for entry in entries
    }


@cache
def values() -> dict[str, str]:
    """The thresholds that the chart's values can change, and where they stand there."""
    return {name: where for name, where in places().items() if name not in FIXED}
