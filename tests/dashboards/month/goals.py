"""What the alerts must reach in a month, and how near they came."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from month.guarded import LENGTHS, Runaway
from month.shapes import DAY, HOUR
from month.simulation import Firing, Outcome
from month.tenants import HEALTHY, RUNAWAYS

_CRITICAL: Final = "critical"
_WARNING: Final = "warning"
#: Warnings of one tenant that begin within this time are one.
_ONE: Final = 4 * HOUR
#: From this pace on, half of the budget may be gone when it is told; below it, more.
_FAST: Final = 6.0
_FAST_GONE: Final = 0.5
_SLOW_GONE: Final = 0.8
#: Where usual traffic had used more than this when a runaway began, the share counts of what was
#: left then.
_USED: Final = 0.25
#: What is not reached, and how far from it. The first week of a tenant whose days differ, and the
#: week in which a release doubles the traffic, may have two warnings. A runaway that is no faster
#: than the tenant's own nightly batch is usual for it: it is told, but late.
_TWO_WARNINGS: Final = {("spiky", 0), ("nightly", 0), ("released", 2)}
AS_USUAL: Final = {"nightly-20": 1.1}


@dataclass(frozen=True)
class Telling:
    """When a runaway was told first.

    Attributes:
        tenant: Whose.
        runaway: Which.
        alert: What told it; "" if nothing did.
        after: Minutes from its start.
        gone: The share of the limit (or of what was left) that was gone by then.
        allowed: What may have been gone at most.
    """

    tenant: str
    runaway: Runaway
    alert: str
    after: float
    gone: float
    allowed: float

    @property
    def late(self) -> bool:
        """Whether it came too late, or never."""
        return not self.alert or self.gone >= self.allowed

    def __str__(self) -> str:
        what = f"{self.tenant} ({self.runaway.pace:g}x of a {self.runaway.window})"
        if not self.alert:
            return f"{what}: never told"
        return f"{what}: {self.alert} after {self.after:.0f} min, {self.gone:.0%} gone"


@dataclass(frozen=True)
class Verdict:
    """One month against the goals.

    Attributes:
        seed: The month's.
        pages: Critical alerts of healthy tenants.
        warnings: Tenant and week of each warning of a healthy tenant, with the alert.
        tellings: Of all runaways.
        strays: Critical alerts of the other tenants, days away from their runaways; no goal.
    """

    seed: int
    pages: tuple[Firing, ...]
    warnings: tuple[tuple[str, int, str], ...]
    tellings: tuple[Telling, ...]
    strays: tuple[Firing, ...]

    @property
    def often(self) -> Counter[tuple[str, int]]:
        """How many warnings each tenant had in each week."""
        return Counter((tenant, week) for tenant, week, _ in self.warnings)

    def missed(self) -> list[str]:
        """The goals that were missed, a sentence each."""
        return [
            *(f"{one.tenant}: {one.alert} at {_time(one.begin)}, no reason" for one in self.pages),
            *(
                f"{tenant}: {count} warnings in week {week + 1}, no reason: "
                + ", ".join(a for t, w, a in self.warnings if (t, w) == (tenant, week))
                for (tenant, week), count in self.often.items()
                if count > 1 + ((tenant, week) in _TWO_WARNINGS)
            ),
            *(str(one) for one in self.tellings if one.late),
        ]

    def table(self) -> str:
        """The month in a few lines: false alarms, and the worst telling of each kind."""
        kinds = Counter(alert for _, _, alert in self.warnings)
        lines = [
            f"seed {self.seed}: {len(HEALTHY)} healthy tenants, {len(self.pages)} critical alerts, "
            f"{len(self.warnings)} warnings (at most {max(self.often.values(), default=0)} a week "
            f"and tenant): {', '.join(f'{n} {alert}' for alert, n in kinds.items()) or 'none'}",
            f"  {len(self.strays)} critical alerts of the others days away from their runaways",
        ]
        groups: dict[tuple[str, float], list[Telling]] = defaultdict(list)
        for one in self.tellings:
            groups[one.runaway.window, one.runaway.pace].append(one)
        for (window, pace), found in sorted(groups.items()):
            worst = max(found, key=lambda one: one.gone)
            lines.append(f"  {window:5} {pace:3g}x  {len(found)} runaways, worst: {worst}")
        return "\n".join(lines)


def judge(outcome: Outcome, keep: Callable[[Firing], bool] = lambda one: True) -> Verdict:
    """Compare a month with the goals.

    Args:
        outcome: The month.
        keep: Which of its alerts there are; others are as if they had no rule.
    """
    firings = [one for one in outcome.firings if keep(one)]
    healthy = {tenant.name for tenant in HEALTHY}
    pages = tuple(one for one in firings if one.tenant in healthy and one.severity == _CRITICAL)
    warnings = tuple(_warnings(one for one in firings if one.tenant in healthy))
    return Verdict(
        outcome.seed, pages, warnings, tuple(_tellings(outcome, firings)),
        tuple(_strays(outcome, firings)),
    )  # fmt: skip


def _warnings(firings: Iterator[Firing]) -> Iterator[tuple[str, int, str]]:
    last: dict[str, float] = {}
    for one in firings:
        if one.severity == _WARNING and one.begin >= last.get(one.tenant, -_ONE) + _ONE:
            last[one.tenant] = one.begin
            yield one.tenant, int(one.begin // (7 * DAY)), one.alert


def _tellings(outcome: Outcome, firings: list[Firing]) -> Iterator[Telling]:
    for tenant in RUNAWAYS:
        for runaway, end in zip(tenant.runaways, outcome.ends[tenant.name], strict=True):
            limit = tenant.limits[runaway.window]
            values = outcome.spent[tenant.name][runaway.window]
            length = LENGTHS[runaway.window]
            used = values[runaway.start - 1] if runaway.start % length else 0.0
            allowed = _SLOW_GONE if runaway.pace < _FAST and runaway.window == "day" else _FAST_GONE
            allowed = AS_USUAL.get(tenant.name, allowed)
            first = next(
                (
                    one
                    for one in firings
                    if one.tenant == tenant.name
                    and one.severity in {_CRITICAL, _WARNING}
                    and runaway.start <= one.begin <= end
                ),
                None,
            )
            if first is None:
                yield Telling(tenant.name, runaway, "", 0, 1, allowed)
                continue
            since = sum(
                values[minute] - (values[minute - 1] if minute % length else 0)
                for minute in range(runaway.start, int(first.begin) + 1)
            )
            gone = since / (limit - used) if used > _USED * limit else (used + since) / limit
            after = first.begin - runaway.start
            yield Telling(tenant.name, runaway, first.alert, after, gone, allowed)


def _strays(outcome: Outcome, firings: list[Firing]) -> Iterator[Firing]:
    near = {
        tenant.name: [
            (runaway.start, end + DAY)
            for runaway, end in zip(tenant.runaways, outcome.ends[tenant.name], strict=True)
        ]
        for tenant in RUNAWAYS
    }
    for one in firings:
        stretches = near.get(one.tenant, [(0, one.begin)])
        told = any(begin <= one.begin <= end for begin, end in stretches)
        if one.severity == _CRITICAL and not told:
            yield one


def _time(minute: float) -> str:
    day, rest = divmod(int(minute), DAY)
    return f"day {day + 1}, {rest // 60:02}:{rest % 60:02}"
