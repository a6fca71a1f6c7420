"""Run the rule files over the month of all tenants: which alerts fired for whom, and when."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from month import exports, guarded, tenants
from month.shapes import MINUTES
from otel_budget import semconv as sc
from otel_budget.metric import prometheus_label
from promtool import backend

#: Midnight (UTC) of 1 June 2026, a Monday.
START: Final = 1_780_272_000
#: The groups that tell about a tenant's money; the others look at guards, ledgers and pipelines.
GROUPS: Final = "llm-budget-(records|limits|spend)"
_TENANT: Final = prometheus_label(sc.TENANT)


@dataclass(frozen=True)
class Firing:
    """One alert from its first to its last minute, in minutes since the month began."""

    alert: str
    severity: str
    tenant: str
    begin: float
    end: float


@dataclass(frozen=True)
class Outcome:
    """What a month came to.

    Attributes:
        seed: The month's.
        firings: The alerts that name a tenant, as they began.
        spent: By tenant and window, what was spent of it at the end of each minute (USD).
        ends: By tenant, when each of its runaways ended.
    """

    seed: int
    firings: tuple[Firing, ...]
    spent: dict[str, dict[str, list[float]]]
    ends: dict[str, list[int]]


def simulate(seed: int, rules: Path, cast: Sequence[guarded.Tenant] = tenants.TENANTS) -> Outcome:
    """Simulate one month.

    Args:
        seed: Of all that is left to chance.
        rules: The folder of the rule files.
        cast: Whose month.
    """
    spent: dict[str, dict[str, list[float]]] = {}
    ends: dict[str, list[int]] = {}
    lives = exports.deploys(seed)

    def series() -> Iterable[str]:
        for tenant in cast:
            service = exports.SERVICES[tenant.service]
            random = Random(f"{seed} {tenant.name}")
            month = guarded.live(tenant, service.processes, service.holds, random)
            if tenant.runaways:
                spent[tenant.name], ends[tenant.name] = month.spent, month.ends
            yield from exports.lines(tenant, month, lives)

    found, _ = evaluate(series(), rules, minutes=MINUTES)
    firings = [
        Firing(
            one["alert"], one["labels"]["severity"], one["labels"][_TENANT],
            (one["from"] - START) / 60, (one["to"] - START) / 60,
        )
        for one in found
        if one["labels"].get(_TENANT)
    ]  # fmt: skip
    firings.sort(key=lambda one: one.begin)
    return Outcome(seed, tuple(firings), spent, ends)


def evaluate(
    series: Iterable[str], rules: Path, *, minutes: int, delay: int = 30, query: str = ""
) -> tuple[list[dict[str, Any]], dict[str, dict[int, float]]]:
    """What fired, as rulesim prints it, and by series and minute what `query` finds.

    Args:
        series: In promtool's notation, a value a minute from `START` on.
        rules: The folder of the rule files.
        minutes: How long.
        delay: Seconds from a sample to the next evaluation.
        query: What is asked of the records at the end.
    """
    files = sorted(map(str, rules.glob("*.yml")))
    command = [
        backend("rulesim"), "-start", str(START), "-minutes", str(minutes), "-delay", str(delay),
        "-groups", GROUPS, "-query", query, *files,
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+") as answers:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=answers, text=True
        ) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            for line in series:
                run.stdin.write(line + "\n")
            run.stdin.close()
            found = [json.loads(line) for line in run.stdout]
        answers.seek(0)
        told = answers.read()
    assert run.returncode == 0, f"rulesim failed: {told}"
    samples = dict(map(_samples, told.splitlines()))
    return found, samples


def _samples(line: str) -> tuple[str, dict[int, float]]:
    """A series as rulesim writes it: its name, and the values by minute."""
    name, values = line.split("} ", 1)
    at, found = 0, dict[int, float]()
    for word in values.split():
        if word.startswith("_x"):
            at += int(word[2:])
            continue
        if word != "stale":
            found[at] = float(word)
        at += 1
    return name + "}", found
