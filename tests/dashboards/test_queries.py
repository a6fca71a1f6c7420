"""The query helpers on promtool: births, ends, restarts and midnight, to the cent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dashboards.builder import queries as q
from promtool import promtool

#: Three one-shot jobs, a process that ended before the window, one that goes on.
JOBS = {
    'x{i="job1"}': "_x20 0.75 _x100",
    'x{i="job2"}': "_x40 0.75 _x100",
    'x{i="job3"}': "_x70 0.75x1 _x100",
    'x{i="ended"}': "5x10 _x200",
    'x{i="goes on"}': "8x50 9x200",
}
RESTARTED = {'x{i="same id"}': "8x50 9x5 0+1x3 3x100"}
#: Evaluation starts at 22:00 UTC: midnight is at 120 m.
NIGHT = {
    'x{i="over midnight"}': "0+1x120 120+2x60 _x30",
    'x{i="ended before"}': "7x60 _x300",
    'x{i="born after"}': "_x150 4x300",
    'x{i="job after"}': "_x140 2 _x300",
}


@pytest.mark.parametrize(
    ("series", "expr", "at", "expected"),
    [
        pytest.param(JOBS, f"sum({q.total('x', '1h')})", "75m20s", 3.25, id="jobs and growth"),
        pytest.param(JOBS, f"sum({q.total('x', '2h')})", "75m20s", 16.25, id="all of it"),
        pytest.param(JOBS, f"sum({q.total('x', '10m')})", "75m20s", 0.75, id="born in it"),
        pytest.param(JOBS, f"sum({q.total('x', '1h')})", "6h10m", None, id="unknown is not 0"),
        pytest.param(RESTARTED, f"sum({q.total('x', '10m')})", "75m20s", 0, id="calm"),
        pytest.param(JOBS, f"count({q.happened('x', '10m')})", "75m20s", 1, id="happened"),
        pytest.param(RESTARTED, f"count({q.happened('x', '10m')})", "65m20s", 1, id="restart"),
        pytest.param(NIGHT, f"sum({q.today('x')})", "200m20s", 120 + 4 + 2, id="today"),
        pytest.param(NIGHT, f"sum({q.today('x')})", "119m20s", 119 + 7, id="before midnight"),
        pytest.param(JOBS, q.share("sum(x)", "sum(y)"), "30m", None, id="share of nothing"),
        pytest.param(JOBS, q.share("sum(x{i='none'})", "sum(x)"), "30m", 0, id="none of it"),
    ],
)
def test_a_query_gives_the_wanted_values(
    series: dict[str, str], expr: str, at: str, expected: float | None, tmp_path: Path
) -> None:
    samples = [] if expected is None else [{"labels": "{}", "value": expected}]
    group = {
        "interval": "1m",
        "input_series": [{"series": name, "values": v} for name, v in series.items()],
        "promql_expr_test": [{"expr": expr, "eval_time": at, "exp_samples": samples}],
    }
    if series is NIGHT:
        group["start_timestamp"] = 22 * 3600
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"fuzzy_compare": True, "tests": [group]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
