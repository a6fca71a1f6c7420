"""How full the budgets are: guards are polled by a thread, levels are read at collection."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from otel_budget import BudgetGuard, BudgetLevel, call_info, semconv
from otel_budget.telemetry.hubs import poll_levels
from otel_budget.telemetry.metrics import levels as levels_module
from otel_budget.telemetry.metrics import polling
from otel_budget.telemetry.metrics.levels import GAUGES, LevelRow, Levels
from otel_budget.telemetry.metrics.polling import Poller
from otel_budget.telemetry.metrics.tallies import Tallies
from support.backend import Backend
from support.guards import SyncScript


class Clock:
    now = 10_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (levels_module, polling):
        monkeypatch.setattr(module, "time", clock)
    return clock


class LeveledGuard(SyncScript):
    """A guard whose levels are the answers of a function."""

    def __init__(self, levels: Callable[[], Any]) -> None:
        super().__init__()
        self._levels = levels
        self.threads: list[str] = []

    def budget_levels(self) -> Any:
        self.threads.append(threading.current_thread().name)
        return self._levels()


def _level(resource: str = "usd", consumed: float = 4, limit: float | None = 5, **more: Any) -> Any:
    return BudgetLevel(resource, consumed, limit, **more)


def _resources(backend: Backend, metric: str = "budget.consumed") -> dict[str, float]:
    return {a["budget.resource"]: value for a, value in backend.series(metric)}


def _until(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.01)


def test_a_thread_asks_the_guard_and_neither_caller_nor_collection_does(backend: Backend) -> None:
    inner = LeveledGuard(lambda: [_level()])
    guard = backend.instrument(inner)
    guard.check_before_llm("s", 1)
    _until(lambda: _resources(backend) == {"usd": 4}, "the guard was not asked")
    backend.collect()
    guard.check_before_llm("s", 1)
    assert threading.current_thread().name not in inner.threads
    assert set(inner.threads) == {"otel-budget-levels"}


def _raise(error: BaseException) -> Any:
    raise error


async def _coroutine() -> list[Any]:
    return [_level()]


def _breaks_off() -> Iterator[Any]:
    yield _level()
    raise RuntimeError("half way")


@pytest.mark.parametrize(
    "levels",
    [
        lambda: _raise(RuntimeError("no")),
        lambda: _raise(SystemExit(1)),
        lambda: _raise(KeyboardInterrupt()),
        lambda: _raise(asyncio.CancelledError()),
        lambda: _raise(GeneratorExit()),
        _coroutine,
        _breaks_off,
        lambda: 7,
        lambda: [{"resource": "usd"}],
        lambda: [{"resource": "usd", "consumed": float("nan"), "limit": 1}],
    ],
    ids=["error", "exit", "interrupt", "cancelled", "generator", "coroutine", "breaks off", "int",
         "incomplete", "nan"],
)  # fmt: skip
def test_a_guard_that_raises_anything_is_counted_and_hurts_nobody(
    backend: Backend, levels: Any
) -> None:
    first = backend.instrument(LeveledGuard(levels), name="broken")
    second = backend.instrument(LeveledGuard(lambda: [_level("fine")]), name="fine")
    poll_levels()
    assert _resources(backend) == {"fine": 4}
    assert backend.value("budget.telemetry.errors", budget__component="budget_levels") >= 1
    poll_levels()  # the thread is still there
    assert _resources(backend) == {"fine": 4}
    assert first.check_before_llm("s", 1) is second.check_before_llm("s", 1) is None


def test_a_guard_that_hangs_is_left_alone_until_it_has_returned(backend: Backend) -> None:
    release = threading.Event()
    hanging = LeveledGuard(lambda: [_level("late")] if release.wait(60) else [])
    answers = itertools.count(1)
    fine = LeveledGuard(lambda: [_level("fine", next(answers), 1_000)])
    guards = [backend.instrument(hanging), backend.instrument(fine)]
    try:
        _until(lambda: "fine" in _resources(backend), "the hanging guard holds up the others")
        for _ in range(3):
            poll_levels(0.05)
        assert len(hanging.threads) == 1
        assert "late" not in _resources(backend)
    finally:
        release.set()
    assert backend.value("budget.telemetry.errors", budget__component="budget_levels") >= 1
    _until(lambda: "late" in _resources(backend), "its late answer is lost")
    _until(lambda: bool(poll_levels(1.0)) or len(hanging.threads) >= 2, "never asked again")
    del guards


def test_an_async_guard_has_a_plain_budget_levels(backend: Backend) -> None:
    class Guard(BudgetGuard):
        def budget_levels(self) -> list[BudgetLevel]:
            return [_level()]

    guard = backend.instrument(Guard())
    poll_levels()
    assert _resources(backend) == {"usd": 4}
    del guard


def test_levels_may_be_mappings_and_anything_else_is_left_out(backend: Backend) -> None:
    guard = backend.instrument(
        LeveledGuard(
            lambda: iter([{"resource": "usd", "consumed": 1, "limit": 2}, "rubbish", None])
        )
    )
    poll_levels()
    assert _resources(backend) == {"usd": 1}
    del guard


def test_an_endless_answer_ends(backend: Backend) -> None:
    guard = backend.instrument(
        LeveledGuard(lambda: (_level(f"r{number}") for number in itertools.count()))
    )
    poll_levels(20)
    series = backend.series("budget.consumed")
    assert 100 <= len(series) <= 1_800
    assert "_other_" in {a["budget.resource"] for a, _ in series}
    del guard


def test_of_several_levels_on_one_series_the_fullest_is_reported_whole(backend: Backend) -> None:
    guard = backend.instrument(
        LeveledGuard(
            lambda: [
                _level("usd", 90, 1_000, tenant="a", window="day", window_length=86_400),
                _level("usd", 9, 10, tenant="b", window="day", window_length=3_600),
                _level("usd", 500, None, tenant="c", window="day", window_length=60),
            ]
        ),
        metric_labels=(),
    )
    poll_levels()
    assert _resources(backend) == {"usd": 9}
    assert _resources(backend, "budget.limit") == {"usd": 10}
    assert _resources(backend, "budget.utilization") == {"usd": 0.9}
    assert _resources(backend, "budget.window.length") == {"usd": 3_600}
    del guard


@pytest.mark.parametrize("split", range(4))
def test_uncounted_calls_are_told_whichever_level_of_a_series_has_them(
    backend: Backend, split: int
) -> None:
    levels = [
        _level("usd", 2, 10, tenant="a", uncounted_calls=7),
        _level("usd", 9, 10, tenant="b"),
        _level("usd", 1, 10, tenant="c", uncounted_calls=3),
    ]
    guards = [  # one series, whether one guard reports it or two
        backend.instrument(LeveledGuard(lambda part=part: part), name="g", metric_labels=())
        for part in (levels[:split], levels[split:])
    ]
    poll_levels()
    assert _resources(backend) == {"usd": 9}
    assert _resources(backend, "budget.uncounted_calls") == {"usd": 7}
    del guards


def test_two_windows_of_one_resource_are_two_series(backend: Backend) -> None:
    guard = backend.instrument(
        LeveledGuard(
            lambda: [_level("usd", 95, 100, window="day"), _level("usd", 10, 100, window="month")]
        )
    )
    poll_levels()
    found = {a["budget.window"]: value for a, value in backend.series("budget.utilization")}
    assert found == {"day": 0.95, "month": 0.1}
    del guard


@pytest.mark.parametrize("consumed", [-1.0, 1e308])
def test_no_level_poisons_an_export(backend: Backend, consumed: float) -> None:
    guard = backend.instrument(
        LeveledGuard(
            lambda: [
                _level("\ud800" if consumed < 0 else "x" * 1_000, consumed, 1e-308, unit=""),
            ]
        ),
        name="\udfff",
    )
    poll_levels()
    assert backend.encode()
    for metric in ("budget.consumed", "budget.limit", "budget.utilization"):
        for attributes, value in backend.series(metric):
            assert 0 <= value < float("inf")
            assert all(len(text) <= 256 for text in attributes.values())
    del guard


def test_guard_names_are_capped_on_gauges_too(backend: Backend) -> None:
    guards = [
        backend.instrument(LeveledGuard(lambda: [_level()]), name=f"guard-{number}")
        for number in range(80)
    ]
    poll_levels(20)
    names = {a["budget.guard.name"] for a, _ in backend.series("budget.consumed")}
    assert len(names) <= 51
    assert "_other_" in names
    del guards


def test_a_guard_that_is_gone_has_no_levels_any_more(backend: Backend) -> None:
    guard = backend.instrument(LeveledGuard(lambda: [_level()]))
    poll_levels()
    assert _resources(backend) == {"usd": 4}
    del guard
    gc.collect()
    assert _resources(backend) == {}


def test_an_answer_is_reported_while_it_is_fresh(clock: Clock) -> None:
    answers: list[Any] = [[_level()]]
    poller = Poller(lambda *_: None)
    levels = Levels(Tallies(10), poller)
    guard = LeveledGuard(lambda: answers.pop() if answers else _raise(RuntimeError("gone")))
    poller.add(guard, lambda wrapper: wrapper.budget_levels(), "g", ())
    poller.poll(now=True)
    clock.now += 59
    poller.poll(now=True)  # fails, so the last answer stays
    assert len(levels.rows()) == 1
    clock.now += 2
    assert levels.rows() == {}


def test_a_guard_is_not_asked_before_it_is_due(clock: Clock) -> None:
    poller = Poller(lambda *_: None)
    guard = LeveledGuard(list)
    poller.add(guard, lambda wrapper: wrapper.budget_levels(), "g", ())
    for _ in range(5):
        poller.poll()
    assert len(guard.threads) == 1
    clock.now += 5
    poller.poll()
    assert len(guard.threads) == 2


def test_a_soft_limit_is_forgotten_after_five_minutes(backend: Backend, clock: Clock) -> None:
    soft = {"decision": "soft", "resource": "usd", "consumed": 4, "limit": 5}
    guard = backend.instrument(SyncScript(soft))
    guard.check_before_llm("s", 1)
    clock.now += 299
    assert _resources(backend) == {"usd": 4}
    clock.now += 2
    assert _resources(backend) == {}


def test_a_guard_that_has_levels_has_no_gauges_of_soft_limits(backend: Backend) -> None:
    inner = LeveledGuard(lambda: [_level("cap", 4, 5)])
    inner.answer = {"decision": "soft", "resource": "threshold", "consumed": 4, "limit": 4}
    guard = backend.instrument(inner)
    guard.check_before_llm("s", 1)
    poll_levels()
    assert _resources(backend) == {"cap": 4}


def test_rotating_resources_do_not_fill_the_gauges(backend: Backend) -> None:
    script = SyncScript()
    guard = backend.instrument(script)
    for number in range(1_000):
        script.answer = {
            "decision": "soft",
            "resource": f"budget-{number}",
            "consumed": 1,
            "limit": 2,
        }
        guard.check_before_llm("s", 1)
    series = backend.series("budget.consumed")
    assert len(series) <= 101
    assert not [a for a, _ in series if "otel.metric.overflow" in a]


def test_every_gauge_of_the_schema_reads_a_field_of_its_own() -> None:
    assert set(GAUGES) == {metric for metric in semconv.METRICS if metric.kind == "gauge"}
    row = LevelRow(*range(len(fields(LevelRow))))
    assert sorted(value_of(row) for value_of in GAUGES.values()) == list(range(len(GAUGES)))


def _tenants(backend: Backend, metric: str) -> set[str]:
    return {attributes["budget.tenant"] for attributes, _ in backend.series(metric)}


def test_idle_budgets_take_no_place_from_a_tenant_that_makes_calls(backend: Backend) -> None:
    guard = backend.instrument(
        LeveledGuard(lambda: [_level(tenant=f"idle-{number}") for number in range(200)])
    )
    poll_levels(20)
    for _ in range(3):
        assert len(_tenants(backend, "budget.consumed")) == 101
    with call_info(tenant="live"):
        guard.check_before_llm("s", 1)
    assert _tenants(backend, "budget.decisions") == {"live"}
    # Each collection asks for the same tenants again; each of the 100 beyond the cap counts once.
    assert backend.value("budget.label_overflows", budget__label="labels") == 100


def test_levels_are_read_once_per_collection(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[None] = []
    rows = Levels.rows

    def counted(levels: Levels, *args: Any) -> Any:
        reads.append(None)
        return rows(levels, *args)

    monkeypatch.setattr(Levels, "rows", counted)
    answers = itertools.count(1)
    guard = backend.instrument(LeveledGuard(lambda: [_level("usd", next(answers), 10)]))
    for collection in range(1, 4):
        poll_levels()
        gauges = backend.collect()
        (consumed,) = gauges["budget.consumed"].data.data_points
        (used,) = gauges["budget.utilization"].data.data_points
        assert used.value == consumed.value / 10
        assert len(reads) == collection
    del guard


def test_a_collection_makes_nothing_of_an_answer_that_the_poll_has_not_made(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_on: list[str] = []
    row_of = LevelRow.of

    def of(level: BudgetLevel) -> LevelRow:
        made_on.append(threading.current_thread().name)
        return row_of(level)

    monkeypatch.setattr(LevelRow, "of", of)
    answers = itertools.count(1)
    guards = [
        backend.instrument(LeveledGuard(lambda: [_level("usd", next(answers), 100)]), name=name)
        for name in ("one", "two")
    ]
    poll_levels()
    backend.collect()  # the first makes the rows itself: who reads them was not known before
    made_on.clear()
    before = next(answers)
    poll_levels()
    for _ in range(2):
        assert min(value for _, value in backend.series("budget.consumed")) > before
    assert set(made_on) == {"otel-budget-levels"}
    del guards


@pytest.mark.parametrize(
    ("invalid", "why"),
    [
        ({"resource": "usd", "consumed": float("nan"), "limit": 1}, "whose consumed cannot"),
        ({"resource": "usd", "consumed": 1, "limit": 1, "colour": "red"}, "whose colour cannot"),
        ({7: "usd"}, "that cannot be read"),
        ("rubbish", "of type str"),
    ],
    ids=["nan", "unknown key", "no text as key", "text"],
)
def test_an_invalid_level_costs_itself_alone(
    backend: Backend, caplog: Any, invalid: Any, why: str
) -> None:
    guard = backend.instrument(
        LeveledGuard(lambda: [_level("a"), invalid, {"resource": "b", "consumed": 2, "limit": 3}]),
        name="partly",
    )
    poll_levels()
    poll_levels()
    assert _resources(backend) == {"a": 4, "b": 2}
    assert backend.value("budget.telemetry.errors", budget__component="budget_levels") >= 2
    (message,) = [record.getMessage() for record in caplog.records]
    assert "budget_levels() of partly has a level" in message
    assert why in message
    del guard


def test_a_level_that_was_never_validated_is_reported_as_floats(backend: Backend) -> None:
    level = _level("usd", 1, 2)
    object.__setattr__(level, "consumed", Decimal("1.5"))
    guard = backend.instrument(LeveledGuard(lambda: [level, _level("other")]))
    poll_levels()
    assert _resources(backend) == {"usd": 1.5, "other": 4}
    assert _resources(backend, "budget.utilization") == {"usd": 0.75, "other": 0.8}
    assert backend.value("budget.telemetry.errors") == 0
    del guard
