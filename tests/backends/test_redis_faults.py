"""The histories of faulty Redis guards are what each fault makes of them."""

from __future__ import annotations

import pytest

from otel_budget import semconv as sc
from otel_budget.metric import Metric
from support.redis_faults import GUARDS, LIMIT, run
from support.redis_server import RedisServer, needed

#: Over midnight of some day.
MINUTES = range(30_000_960 - 60, 30_000_960 + 10)
Told = dict[tuple[str, str, int], float]


@pytest.fixture(scope="module")
def told() -> Told:
    """(tenant, metric, minute) -> the sum of recorded costs, the largest of levels."""
    needed()
    found: Told = {}
    with RedisServer() as server:
        for minute, process, points in run(server.url, MINUTES):
            assert process.instance.rpartition(" ")[0] in GUARDS
            for (metric, pairs), value in points.items():
                attributes = dict(pairs)
                if metric.kind == "gauge":
                    assert attributes[sc.WINDOW] == "day"
                    assert attributes[sc.SHARED] == "true"
                key = (attributes.get(sc.TENANT, ""), metric.name, minute)
                before = found.get(key, 0.0)
                found[key] = before + value if metric is sc.METRIC_COST else max(before, value)
    return found


def grown(told: Told, tenant: str, metric: Metric) -> float:
    """By how much it grew up to the last minute of the first day."""
    midnight = MINUTES[-1] - 9
    assert midnight % 1440 == 0
    name = metric.name
    return told[tenant, name, midnight - 1] - told[tenant, name, MINUTES[0] + 3]


@pytest.mark.parametrize(
    ("tenant", "least", "most"),
    [
        ("healthy", 1, 1),
        ("leaked reservation", 1, 1),
        ("lost settles", 0.4, 0.6),
        ("double charge", 2, 2),
        ("never accrues", 0, 0),
    ],
)
def test_the_guard_counts_so_much_of_what_was_recorded(
    told: Told, tenant: str, least: float, most: float
) -> None:
    cost = grown(told, tenant, sc.METRIC_COST)
    assert cost > 1.0
    share = grown(told, tenant, sc.METRIC_CONSUMED) / cost
    assert least - 1e-9 <= share <= most + 1e-9


@pytest.mark.parametrize("tenant", GUARDS)
def test_only_a_leaked_reservation_is_older_than_its_life(told: Told, tenant: str) -> None:
    ages = [told.get((tenant, sc.METRIC_RESERVATION_AGE.name, minute), 0.0) for minute in MINUTES]
    assert max(ages) > 60
    if tenant == "leaked reservation":
        assert ages[-1] == pytest.approx(3600, abs=120)
    else:
        assert max(ages) <= 300


@pytest.mark.parametrize("tenant", GUARDS)
def test_every_minute_tells_the_budget(told: Told, tenant: str) -> None:
    for minute in MINUTES[3:]:
        assert told[tenant, sc.METRIC_LIMIT.name, minute] == LIMIT
        remaining = told[tenant, sc.METRIC_WINDOW_REMAINING.name, minute]
        assert remaining == pytest.approx(86_400 - minute * 60 % 86_400)
        assert 0 <= told[tenant, sc.METRIC_RESERVED.name, minute] < 1
