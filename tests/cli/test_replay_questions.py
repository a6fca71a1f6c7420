"""What an analyst asks of a log: other windows, own rates, the right limit, a picture, size."""

from __future__ import annotations

import io
import json
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_budget import SessionInfo
from otel_budget.cli.replay.recommend import Largest
from otel_budget.cli.replay.windows import RollingBook
from otel_budget.guards import Limit
from support.cli_runs import assert_one_sentence, command
from support.otlp_receiver import receiver
from support.paths import ROOT

Report = Callable[..., Any]


def calls(number: int = 3_000, seed: int = 7) -> Iterator[str]:
    """Calls of a month by a few tenants and users."""
    chance = random.Random(seed)
    yield "time,tenant,user,model,input_tokens,output_tokens"
    at = datetime(2025, 11, 1, tzinfo=UTC)
    for _ in range(number):
        at += timedelta(seconds=chance.expovariate(1 / 860))
        tenant = chance.choice("aaab")
        tokens = int(chance.lognormvariate(7, 1))
        yield f"{at.isoformat()},{tenant},u{chance.randrange(9)},gpt-4.1,{tokens},{tokens // 9}"


# -- windows -----------------------------------------------------------------------------------
def test_days_are_those_of_the_time_zone(log: Any, report: Report) -> None:
    """New York's clocks went back on 2 November 2025: that day had 25 hours."""
    path = log(
        "time,input_tokens,output_tokens",
        "2025-11-02T03:59:00Z,60,0",  # the day before
        "2025-11-02T04:00:00Z,60,0",
        "2025-11-03T04:59:00Z,60,0",  # the 25th hour
        "2025-11-03T05:00:00Z,60,0",
    )
    options = (path, "--limit", "60tokens/all/day", "--by", "day")
    result = report(*options, "--timezone", "America/New_York")
    assert result["refused_calls"] == 1
    days = {row["day"]: row["calls"] + row["denials"] for row in result["groups"][-1]["rows"]}
    assert days == {"2025-11-01": 1, "2025-11-02": 2, "2025-11-03": 1}
    assert report(*options)["refused_calls"] == 2
    week = (path, "--limit", "60tokens/all/week", "--timezone", "America/New_York")
    assert report(*week)["refused_calls"] == 2  # it begins on Monday at 05:00 UTC


def test_times_can_be_asked_for(log: Any, report: Report, replay: Any) -> None:
    path = log("time,input_tokens,output_tokens", *(f"2025-11-0{day},1,1" for day in range(1, 7)))
    result = report(path, "--from", "2025-11-02", "--to", "2025-11-04")
    assert result["recorded_calls"] == 2
    assert result["rows_set_aside"] == {"outside --from and --to": 4}
    berlin = ("--from", "2025-11-02T01:00", "--timezone", "Europe/Berlin")
    assert report(path, *berlin)["recorded_calls"] == 5
    assert "2025-11-01 01:00:00 to 2025-11-06 01:00:00" in " ".join(
        replay(path, "--timezone", "Europe/Berlin").out.split()
    )


def test_a_rolling_window_forgets_what_is_older(log: Any, report: Report, replay: Any) -> None:
    path = log(
        "time,user,input_tokens,output_tokens",
        "2025-11-01T23:00,amy,60,0",
        "2025-11-02T01:00,amy,60,0",
        "2025-11-02T03:00,amy,60,0",  # 120 in the last five hours
        "2025-11-02T04:10,amy,60,0",  # the first is over
        "2025-11-02T04:11,bob,60,0",
    )
    result = report(path, "--limit", "100tokens/user/5h", "--limit", "500tokens/all/ever")
    assert [first["line"] for first in result["first_refusals"]] == [4]
    assert result["refused_calls"] == 1
    assert [limit["refused_calls"] for limit in result["limits"]] == [1, 0]
    assert report(path, "--limit", "100tokens/user/day")["refused_calls"] == 1
    assert (
        "100 tokens per user, 5h, soft at 80%" in replay(path, "--limit", "100tokens/user/5h").out
    )


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 50)), min_size=40, max_size=90))
def test_a_rolling_window_is_a_slice_late_at_most(uses: list[tuple[int, int]]) -> None:
    span, info = 2_400, SessionInfo(tenant="t")
    book = RollingBook(Limit(1e9, "tokens", window="ever"), 10, span, "40m")
    known: list[tuple[int, int]] = []
    now = 0
    for step, amount in uses:
        now += step
        used = book.used(now, "s", info)
        sure = sum(one for at, one in known if at > now - span)
        most = sum(one for at, one in known if at > now - span - span // 240)
        assert sure <= used <= most
        book.add(now, "s", info, amount)
        known.append((now, amount))


# -- money -------------------------------------------------------------------------------------
def test_own_rates_and_the_logs_own_cost(log: Any, report: Report, replay: Any) -> None:
    path = log(
        "model,provider,prompt_tokens,completion_tokens,cache_read_tokens,cost",
        "mine-1,openai,1000000,1000000,500000,7",
        "gpt-4.1,openai,1000000,0,0,",
        "strange,,1,1,,9",
    )
    rate = ("--rate", "mine-*=1/4/0.1")
    result = report(path, *rate)
    assert result["cost_usd"] == pytest.approx(0.5 + 0.05 + 4 + 2)
    assert result["compared_cost"] == {"calls": 1, "log_usd": 7, "our_usd": pytest.approx(4.55)}
    (unpriced,) = result["unpriced_models"]
    assert unpriced == {"model": "strange", "reason": "unknown_model", "calls": 1}
    result = report(path, *rate, "--log-cost", "--limit", "6usd/all/ever")
    assert result["unpriced_calls"] == {}
    assert (result["recorded_calls"], result["cost_usd"]) == (1, 7)  # the first reached the limit
    assert "$7.00; by the prices here: $4.55 (-35.0%), of 1 call with both." in " ".join(
        replay(path, *rate).out.split()
    )


def test_a_cost_that_is_not_known_is_never_nothing(log: Any, report: Report, replay: Any) -> None:
    path = log("tenant,model,input_tokens,output_tokens", "a,nope,5,5", "b,gpt-4.1,5,5", "b,,5,5")
    costs = {row["tenant"]: row["cost_usd"] for row in report(path)["tenants"]}
    assert costs == {"a": None, "b": pytest.approx(5e-5)}
    text = replay(path).out
    assert re.search(r"^a +1 +10 +- ", text, re.MULTILINE)
    assert re.search(r"^b +2 +20 +\$0\.\d+\+ ", text, re.MULTILINE)
    assert "No price for 1 call of nope: no published price. Helps: --rate MODEL=IN/OUT" in text
    assert "No price for 1 call: the log names no model. Helps: --model." in text
    assert "$0.00 " not in text


# -- the right limit ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("who", "window"), [("user", "hour"), ("tenant", "day"), ("all", "week"), ("tenant", "month")]
)
def test_a_recommended_limit_is_the_smallest(
    log: Any, report: Report, who: str, window: str
) -> None:
    path = log(*calls(1_000))
    found = {
        (each["unit"], each["per"], each["window"]): each
        for each in report(path, "--recommend")["recommended_limits"]
    }
    for unit, least in (("USD", 0.01), ("tokens", 1)):
        caps = found[unit, who, window]
        for name, most in (("refuses_nothing", 0), ("one_in_1000", 1), ("one_in_100", 10)):
            cap = caps[name]
            for limit, is_enough in ((cap, True), (round(cap - least, 2), False)):
                refused = report(path, "--limit", f"{limit}{unit}/{who}/{window}")["refused_calls"]
                assert (refused <= most) is is_enough, (unit, name, limit, refused)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1), st.integers(0, 9))
def test_the_largest_values_are_kept(values: list[tuple[int, int]], most: int) -> None:
    largest = Largest(most)
    for value, weight in values:
        largest.add(value, weight)
    told = largest.quantile(most)
    if sum(weight for _, weight in values) > most:
        assert sum(weight for value, weight in values if value > told) <= most
        assert sum(weight for value, weight in values if value >= told) > most


# -- the picture -------------------------------------------------------------------------------
def test_a_plot_shows_limit_use_and_refusals(log: Any, replay: Any, tmp_path: Path) -> None:
    path, picture = log(*calls(600)), tmp_path / "use.svg"
    limits = ("--limit", "60000tokens/tenant/day", "--limit", "0.02usd/user/12h")
    result = replay(path, *limits, "--plot", picture, "--plot", "-")
    assert result.code == 0
    root = ElementTree.parse(picture).getroot()
    name = "{http://www.w3.org/2000/svg}"
    texts = [text.text or "" for text in root.iter(f"{name}text")]
    assert "60,000 tokens per tenant, day, soft at 80%" in texts
    assert "limit 60 k" in texts
    assert any(re.fullmatch(r"a: \d+ calls? refused", text) for text in texts)
    assert "prefers-color-scheme: dark" in (root.find(f"{name}style").text or "")  # type: ignore[union-attr]
    classes = [line.get("class") for line in root.iter(f"{name}line")]
    assert classes.count("limit") == 2
    assert classes.count("refused") > 2
    for line in root.iter(f"{name}polyline"):
        points = [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
        assert all(one[0] <= other[0] for one, other in pairwise(points))
        assert all(0 <= x <= 900 and 50 <= y <= 260 for x, y in points)
    assert "refused  " in result.out
    assert "×" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert_one_sentence(replay(path, "--plot", picture), "--plot draws use against a limit")
    assert_one_sentence(replay(path, *limits, "--plot", "x.png"), "FILE.svg")
    assert_one_sentence(replay(path, *limits, "--plot", tmp_path / "no" / "x.svg"), "cannot be")


# -- size --------------------------------------------------------------------------------------
_MEASURED = """
import resource, sys
from otel_budget.cli.app import run
try:
    run(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """From 1,000 to 25,000 rows it may grow by 8 MB; as objects, the calls alone take over 30."""

    def megabytes(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("request_id,time,tenant,user,session,model,input_tokens,output_tokens\n")
            for n in range(rows):  # out of order, so that they are sorted, too
                at = 1_761_955_200 + n * 7 % rows
                file.write(f"r{n},{at},t{n % 9},u{n % 99},s{n},gpt-4.1,{n % 5000},9\n")
        limit = ("--limit", "1e9tokens/user/day", "--json", "-q")
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, "replay", str(path), *limit],
            capture_output=True, text=True, cwd=ROOT, timeout=110, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["recorded_calls"] == rows
        return int(done.stderr)

    assert megabytes(25_000) - megabytes(1_000) < 8


# -- telemetry ---------------------------------------------------------------------------------
def test_spans_and_events_carry_the_times_of_the_log(log: Any) -> None:
    path = log(
        "time,session,input_tokens,output_tokens",
        "2024-02-28T12:00:00Z,s,100,0",
        "2024-02-28T13:00:00Z,s,100,0",
    )
    with receiver() as collector:
        arguments = ("replay", str(path), "--limit", "100tokens", "--otlp", collector.url)
        result = command(*arguments)
        assert result.code == 0, result.err
        spans = collector.spans()
        starts = sorted({span.start_time_unix_nano // 10**9 for span in spans})
        assert starts == [1_709_121_600, 1_709_125_200]
        assert all(
            0 <= span.end_time_unix_nano - span.start_time_unix_nano < 10**10 for span in spans
        )
        (hit,) = collector.log_records()
        assert hit.time_unix_nano // 10**9 == 1_709_125_200
    text = " ".join(result.out.split())
    assert "spans and log events with the log's times" in text
    assert "Metrics carry the time of sending" in text


# -- the documented page -----------------------------------------------------------------------
def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replay: Any
) -> None:
    page = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    log = tmp_path / "calls.csv"
    log.write_text(
        "time,tenant,user,model,input_tokens,output_tokens,cost\n"
        + "".join(f"2026-11-0{day},a,u{day},in-house-1,900,90,0.5\n" for day in range(1, 9))
    )
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        piped, pipe, words = line.rpartition(" | ")
        assert piped in {"", "cat calls.csv"}
        if pipe:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
        name, *arguments = shlex.split(words)[1:]
        result = replay(*arguments)
        assert (name, result.code, result.err) == ("replay", 0, ""), line
    assert (tmp_path / "use.svg").read_text().startswith("<svg")


def test_a_replay_needs_no_sdk() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from otel_budget.cli.app import run; "
        "run(['replay', 'tests/data/replay/litellm.csv', '--limit', '1usd', '--recommend', '-q'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
