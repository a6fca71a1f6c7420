"""The goals of the alerts over simulated months: `make test-alerts`, not part of `make test`.

SEEDS chooses the months, RULES another folder of rule files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

import pytest
import yaml

from dashboards.builder.rules import alert_model
from month import exports, goals, guarded, shapes, simulation
from month.guarded import Runaway, Tenant
from promtool import promtool
from support.paths import ROOT

RULES = Path(os.environ.get("RULES") or ROOT / "collector" / "prometheus" / "rules").resolve()
SEEDS = tuple(map(int, (os.environ.get("SEEDS") or "707 1010").split()))
pytestmark = pytest.mark.timeout(3600)
#: The records that read themselves, which rulesim works out by itself.
_HELD = (
    alert_model.WINDOW_END_HELD,
    alert_model.CONSUMED_HELD,
    alert_model.LIMIT_HELD,
    alert_model.REFUSED_HELD,
    alert_model.highest("10m"),
    alert_model.COST_HIGHEST,
)
_RECORDS = f'{{__name__=~"{"|".join(_HELD)}"}}'


@pytest.fixture(scope="session")
def outcomes() -> dict[int, simulation.Outcome]:
    """All months, two at a time."""
    simulation.backend("rulesim")
    with ProcessPoolExecutor(2) as pool:
        found = pool.map(partial(simulation.simulate, rules=RULES), SEEDS)
        return dict(zip(SEEDS, found, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_alerts_reach_their_goals(seed: int, outcomes: dict[int, simulation.Outcome]) -> None:
    verdict = goals.judge(outcomes[seed])
    print(f"\n{verdict.table()}")
    assert verdict.missed() == []


def test_without_the_alerts_of_pace_more_goals_are_missed(
    outcomes: dict[int, simulation.Outcome],
) -> None:
    """The check itself. One of them alone may be missing: the others tell most of its runaways.

    At fifty times the pace what calls in progress hold can be refused before half is gone.
    """
    pace = ("LLMBudgetEmptying", "LLMBudgetBurn", "LLMBudgetMonthBurn", "LLMBudgetSpendSpike")
    for outcome in outcomes.values():
        without = goals.judge(
            outcome, lambda one: not one.alert.startswith((*pace, "LLMBudgetDenied"))
        )
        in_time = [
            str(telling)
            for telling in without.tellings
            if not telling.late
            and telling.runaway.window == "day"
            and telling.tenant not in goals.AS_USUAL
        ]
        assert in_time == []
        assert len(without.missed()) > len(goals.judge(outcome).missed())


def test_rulesim_says_what_promtool_says(tmp_path: Path) -> None:
    """A day and its midnight, in which alerts begin and end: alerts and what they read."""
    minutes = 26 * shapes.HOUR
    usual = shapes.bursts((4, 8), (0.02, 0.06), (5, 25), hours=(1, 8))
    cast = [
        Tenant(name=f"{pace}x", shape=usual, runaways=(Runaway(start=at, pace=pace, longest=150),))
        for at, pace in ((200, 6), (90, 30))
    ]
    series = list(_first(cast, minutes))
    found, samples = simulation.evaluate(series, RULES, minutes=minutes, delay=0, query=_RECORDS)
    assert {one["alert"] for one in found} >= {"LLMBudgetEmptying", "LLMBudgetExhausted"}
    assert all(any(f'"{record}"' in name for name in samples) for record in _HELD)
    expected = [
        {
            "expr": 'ALERTS{alertstate="firing"}',
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": _labels(one["labels"]), "value": 1}
                for one in found
                if one["from"] <= simulation.START + 60 * minute <= one["to"]
            ],
        }
        for minute in range(0, minutes, 5)
    ]
    expected += [
        {
            "expr": _RECORDS,
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": name, "value": values[minute]}
                for name, values in samples.items()
                if minute in values
            ],
        }
        for minute in range(0, minutes, 5)
    ]
    names = ["llm-budget-records", "llm-budget-limits", "llm-budget-spend"]
    test = {
        "interval": "1m",
        "start_timestamp": simulation.START,
        "input_series": [
            {"series": name + "}", "values": values}
            for name, values in (one.split("} ", 1) for one in series)
        ],
        "promql_expr_test": expected,
    }
    test_file = tmp_path / "test.yml"
    test_file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(RULES / f"{name}.yml") for name in names],
                "evaluation_interval": "1m",
                "group_eval_order": names,
                "fuzzy_compare": True,
                "tests": [test],
            }
        )
    )
    done = promtool("test", "rules", test_file)
    assert done.returncode == 0, (done.stdout + done.stderr)[:3000]


def _first(cast: list[Tenant], minutes: int) -> Iterator[str]:
    """The series that begin in the first minutes."""
    for tenant in cast:
        month = guarded.live(tenant, 2, True, Random(tenant.name))
        for line in exports.lines(tenant, month, exports.deploys(0)):
            gap = line.split("} ", 1)[1].split(" ", 1)[0]
            if not gap.startswith("_x") or int(gap[2:]) < minutes:
                yield line


def _labels(labels: dict[str, str]) -> str:
    every = {**labels, "alertstate": "firing"}
    return "ALERTS{" + ",".join(f'{name}="{value}"' for name, value in every.items()) + "}"
