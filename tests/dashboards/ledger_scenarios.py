"""Guards that count right, in the ways that guards are run, and guards that do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from guard_model import DAY, Fault, Process, Store
from otel_budget import semconv as sc

STILL, UNDER = "LLMBudgetGuardNotCounting", "LLMBudgetGuardUndercounts"
MORE, EARLY = "LLMBudgetGuardCountsMore", "LLMBudgetRefusedFarFromLimit"
LEAK = "LLMBudgetReservationLeaked"
Calls = Callable[[int], Iterable[float]]
MONTH = 30 * DAY


@dataclass(frozen=True)
class Scenario:
    """Processes, and the alerts that must fire at some time; no other may."""

    name: str
    processes: Callable[[], list[Process]]
    fires: frozenset[str] = frozenset()
    #: From the afternoon over midnight.
    hours: tuple[int, int] = (16, 30)


def steady(seed: int, a_minute: float = 2.0, cost: float = 0.01) -> Calls:
    """Calls at random, day and night."""
    numbers = random.Random(seed)

    def calls(minute: int) -> Iterable[float]:
        times = int(a_minute) + (numbers.random() < a_minute % 1)
        return [cost * numbers.uniform(0.3, 3) for _ in range(times)]

    return calls


def sparse(seed: int) -> Calls:
    """A call every 50 minutes or so."""
    return steady(seed, a_minute=0.02, cost=0.5)


def office(calls: Calls) -> Calls:
    """From eight to six."""
    return lambda minute: calls(minute) if 8 <= minute // 60 % 24 < 18 else ()


def none(minute: int) -> Iterable[float]:
    """No calls."""
    return ()


def two(
    fault: Fault | None = None,
    *,
    one_store: bool,
    calls: Callable[[int], Calls] = steady,
    **how: object,
) -> list[Process]:
    """Two processes, with one store or each with its own."""
    stores = (
        [Store(fault or Fault())] * 2
        if one_store
        else [Store(fault or Fault()), Store(fault or Fault())]
    )
    return [
        Process(instance=name, store=store, calls=calls(seed), **how)  # type: ignore[arg-type]
        for seed, (name, store) in enumerate(zip("ab", stores, strict=True), 1)
    ]


def _each(label: str, names: str, fault: Fault | None = None) -> list[Process]:
    """Budgets of two owners in one process: each spends for itself."""
    return [
        Process(
            instance="a", store=Store(fault or Fault()), calls=steady(seed),
            owner={sc.TENANT: "acme", label: name}, spender={},
        )
        for seed, name in enumerate(names.split(), 1)
    ]  # fmt: skip


def _replaced(fault: Fault | None = None, **how: object) -> list[Process]:
    """A process that is replaced by another every five hours; the store stays."""
    store, calls = Store(fault or Fault()), steady(1)
    return [
        Process(
            instance=f"p{number}", store=store, calls=calls,
            lives=(number * 300, number * 300 + 300), **how,
        )  # type: ignore[arg-type]
        for number in range(6)
    ]  # fmt: skip


def _jobs() -> list[Process]:
    """Jobs of ten minutes, each with a guard of its own in memory."""
    return [
        Process(
            instance=f"job{number}", store=Store(), calls=steady(number, cost=0.1),
            lives=(number * 25, number * 25 + 10),
        )
        for number in range(70)
    ]  # fmt: skip


def _asleep() -> list[Process]:
    """A process that tells nothing between eight in the evening and nine in the morning."""
    awake: Callable[[int], bool] = lambda minute: 9 <= minute // 60 % 24 < 20  # noqa: E731
    calls = steady(1)
    return [
        Process(
            instance="a", store=Store(), exports=awake,
            calls=lambda minute: calls(minute) if awake(minute) else (),
        )
    ]  # fmt: skip


def _beside_an_unguarded_service() -> list[Process]:
    return [
        Process(instance="a", store=Store(), calls=steady(1, cost=0.002)),
        Process(instance="b", job="batch", store=Store(), calls=steady(2, cost=0.1), guarded=False),
    ]


def _beside_another_agent() -> list[Process]:
    """One agent has a budget; another spends much more and has none."""
    mine, other = _each(sc.AGENT, "coder researcher")
    mine.calls, other.calls, other.guarded = steady(1, cost=0.002), steady(2, cost=0.1), False
    return [mine, other]


def _busier_than_yesterday() -> list[Process]:
    """Hardly a call on the first day, then a batch right after midnight."""
    quiet, busy = steady(1, a_minute=0.05), steady(2, cost=0.2)
    return [
        Process(
            instance="a", store=Store(), shared=True,
            calls=lambda minute: busy(minute) if minute >= 24 * 60 + 2 else quiet(minute),
        )
    ]  # fmt: skip


def _full() -> list[Process]:
    return two(one_store=True, shared=True, limit=5.0)


def _case(name: str, processes: Callable[[], list[Process]], *fires: str) -> Scenario:
    return Scenario(name, processes, frozenset(fires))


FROZEN, THIRD, DOUBLE = Fault(settles=None), Fault(settles=3), Fault(charges=2)
SECOND = Fault(settles=2)
HEALTHY = (
    _case("shared", lambda: two(one_store=True)),
    _case("shared, and says so", lambda: two(one_store=True, shared=True)),
    _case("in the process", lambda: two(one_store=False)),
    _case("in the process, and says so", lambda: two(one_store=False, shared=False)),
    _case("day and month", lambda: two(one_store=True, windows=(DAY, MONTH))),
    _case(
        "two services", lambda: [*two(one_store=True)[:1], *two(one_store=True, job="batch")[1:]]
    ),
    _case("per user", lambda: _each(sc.PRINCIPAL, "ann bob")),
    _case("per agent", lambda: _each(sc.AGENT, "coder researcher")),
    _case("sparse", lambda: two(one_store=True, calls=sparse, shared=True)),
    _case("sparse in the process", lambda: two(one_store=False, calls=sparse)),
    _case("office hours", lambda: two(one_store=True, calls=lambda n: office(steady(n)))),
    _case("replaced, shared", _replaced),
    _case("replaced, and says it is shared", lambda: _replaced(shared=True)),
    _case("jobs with a guard each", _jobs),
    Scenario("silent at night", _asleep, hours=(0, 36)),
    _case("in tokens", lambda: two(one_store=True, unit="tokens", limit=1e9)),
    _case("an unguarded service beside it", _beside_an_unguarded_service),
    _case("an agent without a budget beside it", _beside_another_agent),
    _case("busier than the day before", _busier_than_yesterday),
    _case("full, and refuses", _full),
    _case("no calls", lambda: two(one_store=True, calls=lambda n: none)),
)
BROKEN = (
    _case("frozen", lambda: two(FROZEN, one_store=True), STILL),
    _case("frozen, and says it is shared", lambda: two(FROZEN, one_store=True, shared=True), STILL),
    _case("frozen in the process", lambda: two(FROZEN, one_store=False), STILL),
    _case(
        "frozen in office hours",
        lambda: two(FROZEN, one_store=True, calls=lambda n: office(steady(n))),
        STILL,
    ),
    _case("frozen and sparse", lambda: two(FROZEN, one_store=True, calls=sparse), STILL),
    _case("frozen for each user", lambda: _each(sc.PRINCIPAL, "ann bob", FROZEN), STILL),
    _case("charges twice", lambda: two(DOUBLE, one_store=True), MORE),
    _case(
        "charges twice, and says it is shared",
        lambda: two(DOUBLE, one_store=True, shared=True),
        MORE,
    ),
    _case("charges twice in the process", lambda: two(DOUBLE, one_store=False, shared=False), MORE),
    _case("tokens as USD", lambda: two(Fault(charges=1000), one_store=True, limit=1e9), MORE),
    _case("counts each second call", lambda: two(SECOND, one_store=True, shared=True), UNDER),
    _case(
        "counts each third call in the process",
        lambda: two(THIRD, one_store=False, shared=False),
        UNDER,
    ),
    _case("counts one in 150", lambda: two(Fault(settles=150), one_store=True), STILL),
    _case("frozen in tokens", lambda: two(FROZEN, one_store=True, unit="tokens"), STILL),
    _case(
        "charges tokens twice", lambda: two(DOUBLE, one_store=True, unit="tokens", limit=1e9), MORE
    ),
    _case("leaks a reservation", lambda: two(Fault(leaks_at=17 * 60), one_store=True), LEAK),
    _case(
        "decides by another count than it tells",
        lambda: two(Fault(decides_by=5), one_store=True, limit=20.0),
        EARLY,
    ),
)
#: Where the comparison cannot be made: broken, and silent.
SILENT = (
    _case(
        "half is lost, and it is not known whether it is shared",
        lambda: two(SECOND, one_store=True),
    ),
    _case("frozen, without a tenant", lambda: two(FROZEN, one_store=True, owner={})),
    _case(
        "frozen, a limit per session",
        lambda: two(FROZEN, one_store=True, resource="session_cost_usd"),
    ),
    _case(
        "charges twice beside calls without a price",
        lambda: two(DOUBLE, one_store=True, beside=sc.METRIC_UNPRICED_CALLS),
    ),
    _case(
        "charges twice beside calls without usage",
        lambda: two(DOUBLE, one_store=True, beside=sc.METRIC_CALLS_WITHOUT_USAGE),
    ),
    _case("frozen, in a unit of its own", lambda: two(FROZEN, one_store=True, unit="credits")),
)
SCENARIOS = (*HEALTHY, *BROKEN, *SILENT)
