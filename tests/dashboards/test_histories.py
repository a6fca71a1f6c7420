"""The queries on two days of ordinary life, whose truth is known: gaps, nights, restarts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.builder import queries as q
from process_histories import DAY, EXACT, LENGTH, RESTARTS, History, history, without
from promtool import promtool

#: Seconds after a minute at which is asked.
_AFTER = 20
#: Every 23 minutes of the second day: no round number, so that every phase of a restart is met.
_INSTANTS = range(DAY + 11, LENGTH, 23)
_WINDOWS = {"10m": 10, "1h": 60, "6h": 360, "1d": DAY}
Question = tuple[int, str, float | None]


def _ask(told: History, questions: Iterable[Question], tmp_path: Path) -> None:
    """Ask promtool; a question is the minute, an expression and its value (None: absent)."""
    tests: list[dict[str, Any]] = [
        {
            "expr": expr,
            "eval_time": f"{minute}m{_AFTER}s",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for minute, expr, value in questions
    ]
    assert tests
    group = {
        "interval": "1m",
        "input_series": [{"series": 'x{i="a"}', "values": told.values}],
        "promql_expr_test": tests,
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"tests": [group]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, (done.stdout + done.stderr)[:3000]


def _near(minute: int, expr: str, truth: float, *, tolerance: float = 0.01) -> Question:
    """Within 1 % (or `tolerance`) of the truth; where nothing arrived, absent or 0."""
    allowed = tolerance * truth + 1e-4
    if truth < 1e-9:
        return minute, f"({expr}) > {allowed}", None
    return minute, f"abs(({expr}) - {truth:.6f}) <= bool {allowed:.6f}", 1


def _near_or_absent(minute: int, expr: str, truth: float) -> Question:
    return minute, f"abs(({expr}) - {truth:.6f}) > {0.01 * truth + 1e-4:.6f}", None


def _totals(told: History, windows: Iterable[str], tolerance: float = 0.01) -> Iterable[Question]:
    for window in windows:
        expr = f"sum({q.total('x', window)})"
        for minute in _INSTANTS:
            now = minute + _AFTER / 60
            truth = told.counted(now - _WINDOWS[window], now)
            yield _near(minute, expr, truth, tolerance=tolerance)


@pytest.mark.parametrize("name", EXACT)
def test_totals_are_exact_over_gaps_nights_and_rare_exports(name: str, tmp_path: Path) -> None:
    _ask(EXACT[name], _totals(EXACT[name], _WINDOWS), tmp_path)


@pytest.mark.parametrize("name", EXACT)
def test_today_is_exact_over_gaps_and_midnight(name: str, tmp_path: Path) -> None:
    questions = [
        _near(minute, q.today("x"), EXACT[name].counted(DAY, minute + _AFTER / 60))
        for minute in _INSTANTS
    ]
    _ask(EXACT[name], questions, tmp_path)


@pytest.mark.parametrize("name", RESTARTS)
def test_today_is_absent_where_a_restart_hides_it(name: str, tmp_path: Path) -> None:
    questions = [
        _near_or_absent(minute, q.today("x"), RESTARTS[name].counted(DAY, minute + _AFTER / 60))
        for minute in _INSTANTS
    ]
    _ask(RESTARTS[name], questions, tmp_path)


@pytest.mark.parametrize("name", RESTARTS)
def test_the_time_since_midnight_sees_through_restarts(name: str, tmp_path: Path) -> None:
    """What a panel asks that begins at midnight: its range grows with the day."""
    told = RESTARTS[name]
    questions = []
    for minute in range(DAY + 121, LENGTH, 173):
        expr = f"sum({q.total('x', f'{60 * (minute - DAY) + _AFTER}s')})"
        truth = told.counted(DAY, minute + _AFTER / 60)
        tolerance = 0.05 if told is RESTARTS["a cron job with a fixed id"] else 0.01
        questions.append(_near(minute, expr, truth, tolerance=tolerance))
    _ask(told, questions, tmp_path)


def test_totals_are_estimates_where_a_restart_lies_inside_the_window(tmp_path: Path) -> None:
    """What the documents say of instance ids that are used again."""
    cron = RESTARTS["a cron job with a fixed id"]
    _ask(cron, _totals(cron, ["10m"]), tmp_path)  # no window holds two runs
    _ask(cron, _totals(cron, ["6h", "1d"], 0.1), tmp_path)
    for told in (RESTARTS["restarted at one o'clock"], RESTARTS["a crash loop for an hour"]):
        _ask(told, _totals(told, ["6h", "1d"]), tmp_path)


_LONG_AGO = {500}
_TOLD_ONCE = {
    "for 75 minutes": history(without((1900, 1975)), calls=_LONG_AGO),
    "for the night": history(without((1380, 1920)), calls=_LONG_AGO),
    "ten minutes between exports": history(range(3, LENGTH, 10), calls=_LONG_AGO),
}


@pytest.mark.parametrize("name", _TOLD_ONCE)
def test_what_happened_long_ago_does_not_happen_again_after_a_gap(
    name: str, tmp_path: Path
) -> None:
    expr = q.happened("x", "10m")
    _ask(_TOLD_ONCE[name], [(minute, expr, None) for minute in range(DAY, LENGTH, 5)], tmp_path)


def test_the_histories_are_what_they_are_called() -> None:
    """The checks above would pass on nothing."""
    assert all(told.counted(DAY, LENGTH) > 3 for told in EXACT.values())
    assert RESTARTS["a cron job with a fixed id"].counted(DAY, LENGTH) > 3
