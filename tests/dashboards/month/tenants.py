"""The cast of the month: who spends as usual, and who runs away when."""

from __future__ import annotations

from typing import Final

from month.guarded import Runaway, Tenant
from month.shapes import (
    DAY,
    DAYS,
    HOUR,
    WEEKEND,
    Shape,
    batch,
    bursts,
    grown,
    hourly,
    office,
    released,
    seldom,
    steady,
    together,
)

_MONTH: Final = {"month": 2000.0}
#: What an office spends a working day of a month's limit: together about 70 %.
_OF_A_MONTH: Final = 0.032

HEALTHY: Final = (
    Tenant(name="office-berlin", shape=office(0.55, zone=2)),
    Tenant(name="office-sydney", shape=office(0.6, zone=10), service="support"),
    Tenant(name="office-seattle", shape=office(0.6, zone=-7)),
    Tenant(name="office-tokyo-small", shape=office(0.3, zone=9), calls=120, service="worker"),
    Tenant(name="machines", shape=steady(0.65), service="support"),
    Tenant(name="machines-full", shape=steady(0.85, spread=0.03)),
    Tenant(
        name="spiky", shape=bursts((3, 7), (0.03, 0.08), (5, 25)), calls=600, service="support"
    ),
    Tenant(
        name="workshop",
        shape=together(
            office(0.25, zone=1), bursts((1, 3), (0.04, 0.09), (10, 30), days=range(5))
        ),
    ),
    Tenant(name="nightly", shape=batch((0.3, 0.45), (30, 60), at=2 * HOUR + 15), service="jobs"),
    Tenant(
        name="nightly-office",
        shape=together(office(0.3, zone=2), batch((0.3, 0.4), (40, 60), at=22 * HOUR)),
    ),
    Tenant(
        name="weekly",
        shape=together(
            office(0.2, zone=0), batch((0.3, 0.4), (70, 120), at=4 * HOUR, days=(6,))
        ),
        service="worker",
    ),
    Tenant(name="cron", shape=hourly(0.6), service="jobs"),
    Tenant(name="cron-heavy", shape=hourly(0.8, minutes=(4, 9), at=40), service="jobs"),
    Tenant(name="monday", shape=office(0.42, zone=1, monday=1.6), service="support"),
    Tenant(name="growing", shape=office(0.5, zone=-4, factor=grown(0.3))),
    Tenant(name="weekend", shape=office(0.5, days=WEEKEND, hours=(10, 22))),
    Tenant(name="eighty-five", shape=office(0.85, zone=2, spread=0.02), service="support"),
    Tenant(
        name="to-the-brim",
        shape=office(1.05, zone=0, hours=(8, 20), spread=0.03),
        stops_at=0.97,
        soft=0.95,
    ),
    Tenant(name="idle", shape=seldom(4, 0.004), service="support"),
    Tenant(name="month-office", shape=office(_OF_A_MONTH, zone=2), limits=_MONTH, calls=20_000),
    Tenant(
        name="month-machines", shape=steady(0.9 / DAYS), limits=_MONTH, calls=20_000,
        service="support",
    ),
    Tenant(
        name="month-closing",
        shape=together(
            office(0.02, zone=1), batch((0.025, 0.035), (130, 170), at=20 * HOUR, only=(27, 28, 29))
        ),
        limits=_MONTH,
        calls=20_000,
    ),
    Tenant(
        name="day-and-month", shape=office(0.6, zone=-5), limits={"day": 100.0, "month": 2000.0}
    ),
    Tenant(name="deny-list", shape=office(0.4, zone=2), policy=45),
    Tenant(name="huge-estimates", shape=office(0.5, zone=-7), huge=3, service="support"),
    Tenant(name="no-limit", shape=office(80.0, zone=2), limits={}, calls=1),
    Tenant(
        name="released", shape=office(0.32, zone=1, factor=released(15, 2.0)), service="support"
    ),
)  # fmt: skip


def _at(day: int, hour: int, minute: int = 0) -> int:
    return day * DAY + hour * HOUR + minute


def _loose(
    name: str, shape: Shape, *runaways: tuple[int, float], service: str = "agents"
) -> Tenant:
    found = tuple(Runaway(start=start, pace=pace) for start, pace in runaways)
    return Tenant(name=name, shape=shape, runaways=found, service=service)


_IDLE: Final = seldom(4, 0.004)
_BUSY: Final = office(0.5, zone=2)
RUNAWAYS: Final = (
    _loose("idle-50-night", _IDLE, (_at(8, 3), 50), service="support"),
    _loose("idle-50-day", _IDLE, (_at(15, 14, 20), 50)),
    _loose("idle-20-night", _IDLE, (_at(9, 2, 40), 20)),
    _loose("idle-20-twice", _IDLE, (_at(10, 13), 20), (_at(21, 4), 20), service="worker"),
    _loose("idle-20-new", _IDLE, (_at(3, 11), 20)),
    _loose("idle-10-day", _IDLE, (_at(16, 9, 30), 10), service="support"),
    _loose("idle-10-midnight", _IDLE, (_at(11, 23, 40), 10)),
    _loose("idle-6-night", _IDLE, (_at(17, 1), 6)),
    _loose("idle-6-weekend", _IDLE, (_at(19, 12), 6), service="support"),
    _loose("idle-3-day", _IDLE, (_at(22, 8), 3)),
    _loose("busy-50-morning", _BUSY, (_at(14, 8, 10), 50)),
    _loose("busy-50-afternoon", _BUSY, (_at(23, 12, 30), 50), service="support"),
    _loose("busy-20-midday", _BUSY, (_at(8, 10, 45), 20)),
    _loose("busy-20-new", office(0.5, zone=-4), (_at(4, 17), 20), service="support"),
    _loose("busy-20-weekend", _BUSY, (_at(13, 15), 20)),
    _loose("busy-10-morning", office(0.6, zone=10), (_at(16, 0, 30), 10)),
    _loose("busy-6-midday", _BUSY, (_at(10, 9, 50), 6)),
    _loose("busy-6-night", _BUSY, (_at(24, 1, 30), 6), service="support"),
    _loose("busy-6-twice", office(0.4, zone=0), (_at(9, 13), 6), (_at(18, 11), 10)),
    _loose("busy-3-morning", office(0.4, zone=-7), (_at(17, 16), 3), service="support"),
    _loose("busy-3-night", _BUSY, (_at(22, 20), 3)),
    _loose("steady-50", steady(0.6), (_at(12, 5), 50)),
    _loose("steady-6", steady(0.5), (_at(15, 6), 6), service="support"),
    _loose("steady-3", steady(0.5), (_at(20, 3), 3)),
    _loose("spiky-10", bursts((3, 7), (0.03, 0.08), (5, 25)), (_at(18, 5), 10)),
    _loose("cron-20", hourly(0.5), (_at(25, 7, 30), 20), service="jobs"),
    _loose(
        "nightly-20", batch((0.3, 0.4), (40, 60), at=2 * HOUR), (_at(23, 13), 20), service="support"
    ),
    _loose("weekend-10", office(0.5, days=WEEKEND, hours=(10, 22)), (_at(24, 9), 10)),
    Tenant(
        name="month-idle-20", shape=seldom(4, 0.0003), limits=_MONTH, calls=20_000,
        runaways=(Runaway(start=_at(9, 3), pace=20, window="month", longest=2 * DAY),),
    ),
    Tenant(
        name="month-office-5", shape=office(_OF_A_MONTH, zone=2), limits=_MONTH, calls=20_000,
        runaways=(Runaway(start=_at(8, 18), pace=5, window="month", longest=4 * DAY),),
    ),
    Tenant(
        name="month-office-20", shape=office(_OF_A_MONTH, zone=-4), limits=_MONTH, calls=20_000,
        runaways=(Runaway(start=_at(11, 15), pace=20, window="month", longest=2 * DAY),),
        service="support",
    ),
    Tenant(
        name="month-machines-5", shape=steady(0.5 / DAYS), limits=_MONTH, calls=20_000,
        runaways=(Runaway(start=_at(12, 22), pace=5, window="month", longest=4 * DAY),),
        service="support",
    ),
    Tenant(
        name="both-10", shape=office(0.4, zone=2), limits={"day": 100.0, "month": 2000.0},
        runaways=(Runaway(start=_at(17, 10), pace=10),),
    ),
)  # fmt: skip
TENANTS: Final = (*HEALTHY, *RUNAWAYS)
