"""The forecast of months: by the trailing seven days, once they are days of this month."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dashboards.builder import thresholds
from dashboards.builder.rules import alert_model, forecast_records
from promtool import promtool
from rule_cases.case import DAY, prom

_EACH: Final = 288  # points of a day, one in five minutes
_DAYS: Final = 30
_LIMIT: Final = 300

#: What is used a day in the first ten days and afterwards, the day that is asked, what is forecast
#: then, and in how many days.
MONTHS: dict[str, tuple[int, int, int, str, float | None]] = {
    "fast, then slow": (20, 1, 18, forecast_records.LASTS, 92.0),
    "slow, then fast": (1, 20, 18, forecast_records.RUNS_OUT, 6.5),
    "fast, then nothing": (20, 0, 18, forecast_records.LASTS, None),
    "only the window's own pace yet": (20, 1, 6, forecast_records.RUNS_OUT, 9.0),
    "too early": (20, 1, 2, forecast_records.TOO_EARLY, None),
}


def _steadily(start: float, a_day: float, days: int) -> tuple[str, float]:
    """Points from `start` on, and where they end."""
    step = a_day / _EACH
    return f"{start}{step:+.12f}x{_EACH * days - 1}", start + a_day * days


def _series(first: int, afterwards: int) -> dict[str, str]:
    begun, at = _steadily(0.0, first, 10)
    went_on, _ = _steadily(at, afterwards, _DAYS - 10)
    points = _EACH * _DAYS
    return {
        alert_model.CONSUMED: f"{begun} {went_on}",
        alert_model.LIMIT: f"{_LIMIT}x{points}",
        alert_model.WINDOW_LENGTH: f"{86400 * _DAYS}x{points}",
        alert_model.WINDOW_REMAINING: f"{86400 * _DAYS}-300x{points}",
    }


@pytest.mark.parametrize("name", MONTHS)
def test_a_month_goes_by_its_last_seven_days(name: str, tmp_path: Path) -> None:
    first, afterwards, day, state, days = MONTHS[name]
    labels = {**prom(DAY), "budget_window": "month"}
    written = ",".join(f'{label}="{value}"' for label, value in labels.items())
    rules = [
        {"record": rule.record, "expr": rule.expr}
        for rule in forecast_records.forecast(thresholds.load())
    ]
    group = {"name": "forecast", "interval": "30m", "rules": rules}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
    told = f'{written},{forecast_records.STATE}="{state}"'
    asked: list[tuple[str, list[dict[str, Any]]]] = [
        (
            alert_model.FORECAST,
            [{"labels": f"{alert_model.FORECAST}{{{told}}}", "value": 1}],
        ),
        (
            f"round({alert_model.EXHAUSTION} / 86400, 0.01)",
            [] if days is None else [{"labels": f"{{{written}}}", "value": days}],
        ),
    ]
    test = {
        "interval": "5m",
        "input_series": [
            {"series": f"{metric}{{{written}}}", "values": values}
            for metric, values in _series(first, afterwards).items()
        ],
        "promql_expr_test": [
            {"expr": expr, "eval_time": f"{day}d", "exp_samples": samples}
            for expr, samples in asked
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": ["rules.yml"],
                "evaluation_interval": "30m",
                "fuzzy_compare": True,
                "tests": [test],
            }
        )
    )
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
