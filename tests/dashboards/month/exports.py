"""What the processes of a month export: series in promtool's notation, a sample a minute."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from random import Random
from typing import Final

from month.guarded import LENGTHS, Month, Tenant
from month.shapes import DAY, DAYS, HOUR, MINUTES, WORKING_DAYS
from otel_budget import semconv as sc
from rule_cases.case import budget, series

#: Minutes for which a guard tells the level of a tenant after it was served.
_TOLD: Final = 5
_MODEL: Final = {sc.METRIC_MODEL: "claude-sonnet-4-5"}
#: From the first of its samples to the one after its last.
Life = tuple[int, int, str]


@dataclass(frozen=True)
class Service:
    """Processes that ask one guard.

    Attributes:
        processes: How many side by side.
        shared: What the guard says of it ("" says nothing).
        holds: Whether the guard counts reservations as consumed.
        jobs: Whether a process lives only as long as its job.
    """

    processes: int
    shared: str
    holds: bool
    jobs: bool = False


SERVICES: Final[Mapping[str, Service]] = {
    "agents": Service(2, "true", holds=True),
    "support": Service(3, "true", holds=False),
    "worker": Service(1, "", holds=True),
    "jobs": Service(1, "true", holds=False, jobs=True),
}


def deploys(seed: int) -> dict[str, list[list[Life]]]:
    """The lives of each service's processes: all are replaced on working days, one by one."""
    random = Random(f"deploys {seed}")
    found: dict[str, list[list[Life]]] = {}
    for name, service in SERVICES.items():
        if service.jobs:
            continue
        at = [
            day * DAY + random.randint(8 * HOUR, 17 * HOUR)
            for day in range(DAYS)
            if day % 7 in WORKING_DAYS
        ]
        lives = []
        for process in range(service.processes):
            edges = [0, *(minute + 2 * process for minute in at), MINUTES]
            lives.append(
                [(a, b, f"{name}-{process}-{n}") for n, (a, b) in enumerate(pairwise(edges))]
            )
        found[name] = lives
    return found


def lines(tenant: Tenant, month: Month, lives: Mapping[str, list[list[Life]]]) -> Iterator[str]:
    """The series of one tenant.

    Args:
        tenant: Who.
        month: What happened.
        lives: Of `deploys`.
    """
    service = SERVICES[tenant.service]
    told = {window: _sampled(values, LENGTHS[window]) for window, values in month.told.items()}
    for process in range(service.processes):
        asked = sorted(set(month.asked.get(process, ())))
        mine = _jobs(tenant, asked) if service.jobs else lives[tenant.service][process]
        for begin, end, instance in mine:
            yield from _levels(tenant, told, _serving(asked, begin, end), instance)
            at = month.cost.get(process, {}).items()
            yield from _counter(
                series(
                    sc.METRIC_COST, {sc.TENANT: tenant.name, **_MODEL},
                    instance=instance, job=tenant.service,
                ),
                [(minute, cost) for minute, cost in at if begin <= minute < end - 1],
                begin, end,
            )  # fmt: skip
            for (where, hit), minutes in month.hits.items():
                if where == process:
                    inside = [(m, 1.0) for m in minutes if begin <= m < end - 1]
                    yield from _counter(_hits(tenant, hit, instance), inside, begin, end)


def _hits(tenant: Tenant, hit: tuple[str, str, str, str, str], instance: str) -> str:
    kind, point, resource, window, cause = hit
    attributes = {
        sc.TENANT: tenant.name, sc.KIND: kind, sc.DECISION_POINT: point, sc.RESOURCE: resource,
        sc.WINDOW: window, sc.CAUSE: cause,
    }  # fmt: skip
    known = {name: value for name, value in attributes.items() if value}
    return series(sc.METRIC_THRESHOLD_HITS, known, instance=instance, job=tenant.service)


def _jobs(tenant: Tenant, asked: list[int]) -> list[Life]:
    """A process for each stretch of work, which ends a minute after it."""
    found: list[Life] = []
    for minute in asked:
        if found and minute <= found[-1][1] + 5:
            found[-1] = (found[-1][0], minute + 3, found[-1][2])
        else:
            found.append((minute, minute + 3, f"{tenant.name}-{len(found)}"))
    return [(begin, min(end, MINUTES), name) for begin, end, name in found]


def _sampled(values: list[float], length: int) -> list[float]:
    """A value a sample: at a reset the new window's, in which nothing was spent yet."""
    return [0.0 if n % length == 0 else values[n - 1] for n in range(MINUTES)]


def _serving(asked: list[int], begin: int, end: int) -> list[tuple[int, int]]:
    """The stretches of samples in which a process tells a tenant's levels."""
    found: list[tuple[int, int]] = []
    for minute in asked[bisect.bisect_left(asked, begin) : bisect.bisect_left(asked, end)]:
        first, last = minute + 1, min(minute + 1 + _TOLD, end)
        if first >= last:
            continue
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _levels(
    tenant: Tenant, told: Mapping[str, list[float]], serving: list[tuple[int, int]], instance: str
) -> Iterator[str]:
    if not serving:
        return
    for window, limit in tenant.limits.items():
        length, values = LENGTHS[window], told[window]
        attributes = budget(
            window, who={sc.TENANT: tenant.name}, shared=SERVICES[tenant.service].shared
        )

        gauges = (
            (sc.METRIC_CONSUMED, [_runs(values[a:b]) for a, b in serving]),
            (sc.METRIC_UTILIZATION, [_runs([v / limit for v in values[a:b]]) for a, b in serving]),
            (sc.METRIC_LIMIT, [_same(f"{limit:g}", b - a) for a, b in serving]),
            (sc.METRIC_WINDOW_LENGTH, [_same(str(60 * length), b - a) for a, b in serving]),
            (sc.METRIC_WINDOW_REMAINING, [_falling(a, b, length) for a, b in serving]),
        )
        for metric, pieces in gauges:
            name = series(metric, attributes, instance=instance, job=tenant.service)
            yield f"{name} {' '.join(_gaps(pieces, serving))}"


def _gaps(pieces: Iterable[str], stretches: list[tuple[int, int]]) -> Iterator[str]:
    """The pieces of the stretches, and what is omitted between them."""
    reached = 0
    for piece, (begin, end) in zip(pieces, stretches, strict=True):
        if begin > reached:
            yield f"_x{begin - reached}"
        yield piece
        reached = end


def _runs(values: list[float]) -> str:
    return " ".join(
        _same(text, len(list(same))) for text, same in groupby(f"{v:.6g}" for v in values)
    )


def _same(text: str, number: int) -> str:
    return text if number == 1 else f"{text}x{number - 1}"


def _falling(begin: int, end: int, length: int) -> str:
    """The seconds left of a window, a minute less each time."""
    found = []
    while begin < end:
        until = min(end, begin - begin % length + length)
        left = 60 * (length - begin % length)
        found.append(str(left) if until == begin + 1 else f"{left}-60x{until - begin - 1}")
        begin = until
    return " ".join(found)


def _counter(name: str, counted: list[tuple[int, float]], begin: int, end: int) -> Iterator[str]:
    """A counter from its first count to the end of its process."""
    if not counted:
        return
    total, pieces = 0.0, []
    edges = sorted(counted)
    reached = edges[0][0] + 1
    for minute, by in edges:
        if minute + 1 > reached:
            pieces.append(_same(f"{total:.9g}", minute + 1 - reached))
            reached = minute + 1
        total += by
    pieces.append(_same(f"{total:.9g}", max(1, end - reached)))
    yield f"{name} _x{edges[0][0] + 1} {' '.join(pieces)}"
