"""The hop of the clocks: do the programs that keep our telemetry have our time?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from otel_budget.verify import http
from otel_budget.verify.hop import Hop, Problem

_NAME: Final = "clocks agree"
#: Seconds. Panels and alerts, which look back minutes, do not notice less.
TOLERATED: Final = 60.0
#: How far ahead of its own clock Prometheus takes a sample.
_REFUSED_AHEAD: Final = 600.0


def ahead_of(programs: Mapping[str, str | None]) -> dict[str, float]:
    """By how many seconds this machine is ahead of each program that tells its time.

    Args:
        programs: Their URLs by what they are called.
    """
    ahead: dict[str, float] = {}
    for program, url in programs.items():
        if url is None:
            continue
        with suppress(OSError, ValueError):  # the program's own hop reports it
            told = http.ask(url).ahead
            if told is not None:
                ahead[program] = told
    return ahead


def check(ahead: Mapping[str, float]) -> Hop:
    """The clocks' hop.

    Args:
        ahead: What `ahead_of` returned.
    """
    if not ahead:
        return Hop(_NAME, "skipped", "no program told its time: pass --prometheus URL")
    wrong = {program: by for program, by in ahead.items() if abs(by) > TOLERATED}
    if not wrong:
        return Hop(_NAME, "passed", f"with {', '.join(ahead)}, to the second or so")
    alone = len(wrong) == len(ahead)
    detail = "; ".join(f"this machine is {_apart(by)} {program}" for program, by in wrong.items())
    return problem(next(iter(wrong.values())), detail, alone=alone).hop(_NAME)


def problem(ahead: float, detail: str, *, alone: bool = True) -> Problem:
    """What a clock that differs does.

    Args:
        ahead: Seconds by which this machine is ahead; negative if it is behind.
        detail: What was found.
        alone: Whether every program differs, so that it is probably this machine that is wrong.
    """
    if ahead > _REFUSED_AHEAD:
        effect = "Prometheus refuses what is more than ten minutes ahead: these metrics are lost"
    elif ahead > 0:
        effect = "spans and metrics lie in the future, where panels do not look yet"
    else:
        effect = (
            "metrics are stored under a time long past, or refused as too old: panels of now and "
            "alerts do not see them"
        )
    whose = "the clock of this machine is wrong" if alone else "one of these clocks is wrong"
    return Problem(
        detail,
        f"{whose}; {effect}",
        "set the clock, and let chrony or systemd-timesyncd keep it; what was sent stays under the "
        "wrong time",
    )


def _apart(ahead: float) -> str:
    hours, seconds = divmod(round(abs(ahead)), 3600)
    parts = [f"{hours} h"] if hours else []
    parts += [f"{seconds // 60} min"] if seconds >= 60 else []
    if not hours and seconds < 600:
        parts += [f"{seconds % 60} s"]
    return " ".join(parts) + (" ahead of" if ahead > 0 else " behind")
