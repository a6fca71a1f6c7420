"""What people have: each product's log is recognised, and its calls are counted once."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_budget.cli.replay.log.formats import FORMATS
from otel_budget.cli.replay.log.numbers import decimal_mark, plain
from otel_budget.cli.replay.log.reading import ReadingOptions, read_logs
from otel_budget.cli.replay.log.sources import sources_of
from otel_budget.cli.terminal import CommandError
from support.cli_runs import assert_one_sentence, command
from support.paths import ROOT

SAMPLES = ROOT / "tests" / "data" / "replay"
#: Per million tokens: input, output, cache read, cache write.
GPT = (2.0, 8.0, 0.5, 2.0)
SONNET = (3.0, 15.0, 0.3, 3.75)

Report = Callable[..., Any]


def cost(rates: tuple[float, ...], *counts: int) -> float:
    return sum(rate * count for rate, count in zip(rates, counts, strict=False)) / 1e6


CLAUDE_CODE = cost(SONNET, 30, 80, 2200, 200)
LITELLM = cost(GPT, 1000, 100) + cost(SONNET, 1000, 100) + cost(SONNET, 500, 100, 1000)
LITELLM_ASIDE = {"answered from the gateway's own cache": 1, "failed call": 1, "repeated": 1}
USAGE = cost(GPT, 51_000, 11_301, 80_000)


@pytest.mark.parametrize(
    ("file", "name", "counted", "aside"),
    [
        (
            "claude_code.jsonl",
            "Claude Code transcript",
            (2, (30, 80, 2200, 200), CLAUDE_CODE),
            {"no model call": 3, "repeated": 2, "failed call": 1},
        ),
        ("litellm.jsonl", "LiteLLM spend logs", (3, (2500, 300, 1000, 0), LITELLM), LITELLM_ASIDE),
        ("litellm.csv", "LiteLLM spend logs", (3, (2500, 300, 1000, 0), LITELLM), LITELLM_ASIDE),
        (
            "litellm_page.json",
            "LiteLLM spend logs",
            (3, (2500, 300, 1000, 0), LITELLM),
            LITELLM_ASIDE,
        ),
        (
            "openai_chat.jsonl",
            "provider responses",
            (2, (700, 150, 800, 0), cost(GPT, 700, 150, 800)),
            {},
        ),
        (
            "openai_responses.jsonl",
            "provider responses",
            (1, (200, 100, 800, 0), cost(GPT, 200, 100, 800)),
            {"failed call": 1},
        ),
        (
            "anthropic_messages.jsonl",
            "provider responses",
            (2, (110, 17, 1000, 200), cost(SONNET, 110, 17, 1000, 200)),
            {},
        ),
        (
            "openai_batch.jsonl",
            "batch output",
            (1, (1000, 100, 0, 0), cost(GPT, 1000, 100) / 2),
            {"failed call": 2},
        ),
        (
            "anthropic_batch.jsonl",
            "batch output",
            (1, (1000, 100, 0, 0), cost(SONNET, 1000, 100) / 2),
            {"failed call": 1},
        ),
        ("openai_usage.csv", "OpenAI usage export", (482, (51000, 11301, 80000, 0), USAGE), {}),
        (
            "openai_usage.json",
            "OpenAI usage export",
            (482, (51000, 11301, 80000, 0), USAGE),
            {"holds no call": 1},
        ),
        (
            "langfuse.json",
            "Langfuse observations",
            (2, (210, 107, 1800, 0), cost(GPT, 200, 100, 800) + cost(SONNET, 10, 7, 1000)),
            {"no model call": 1, "failed call": 1},
        ),
        (
            "langfuse_older.jsonl",
            "Langfuse observations",
            (2, (1500, 150, 0, 0), cost(GPT, 1500, 150)),
            {},
        ),
        (
            "langsmith.jsonl",
            "LangSmith runs",
            (2, (1200, 200, 800, 0), cost(GPT, 1200, 200, 800)),
            {"no model call": 2, "failed call": 1},
        ),
        (
            "helicone.csv",
            "Helicone requests",
            (2, (1010, 107, 1000, 0), cost(GPT, 1000, 100) + cost(SONNET, 10, 7, 1000)),
            {"failed call": 1, "answered from the gateway's own cache": 1},
        ),
        (
            "otlp_spans.jsonl",
            "OpenTelemetry spans and events",
            (2, (700, 150, 800, 0), cost(GPT, 700, 150, 800)),
            {"sum of an agent's model calls": 1, "failed call": 1, "no model call": 1},
        ),
        (
            "audit.jsonl",
            "OpenTelemetry spans and events",
            (0, (0, 0, 0, 0), None),
            {
                "warning in the audit file, which tells no tokens": 1,
                "refusal in the audit file, which tells no tokens": 1,
            },
        ),
        ("german.csv", "CSV", (2, (3500, 1212, 0, 0), cost(GPT, 3500, 1212)), {}),
    ],
)
def test_a_format_is_recognised_and_each_call_counts_once(
    report: Report, file: str, name: str, counted: Any, aside: Any
) -> None:
    calls, tokens, usd = counted
    result = report(SAMPLES / file)
    assert result["formats"] == {name: 1}
    assert result["recorded_calls"] == calls
    assert tuple(result["tokens"].values()) == tokens
    assert result["cost_usd"] == (pytest.approx(usd) if calls else 0)
    assert result["rows_set_aside"] == aside
    assert result["unpriced_calls"] == {}
    assert result["bad_rows"] == []
    assert result["rows"] == result["rows_read"] + sum(aside.values())


def test_every_format_has_a_sample(report: Report) -> None:
    named = {name for file in SAMPLES.iterdir() for name in report(file)["formats"]}
    assert named >= {form.name for form in FORMATS}


def test_a_report_fits_a_terminal_and_names_what_it_read(replay: Any) -> None:
    for file in SAMPLES.iterdir():
        text = replay(file, "--limit", "1000tokens/user/day", "--soft", "0.5").out
        assert max(map(len, text.splitlines())) <= 80, file
    text = " ".join(replay(SAMPLES / "litellm.jsonl").out.split())
    assert "6 rows = 3 read + 3 set aside (" in text
    assert "Cost by the log itself: $0.0109; by the prices here: $0.0106 (-2.8%)" in text
    assert "A row of it stands for many calls" in replay(SAMPLES / "openai_usage.csv").out


def test_who_called_is_read_too(report: Report) -> None:
    result = report(SAMPLES / "litellm.jsonl", "--by", "user", "--by", "tenant,day")
    tables = {tuple(table["by"]): table["rows"] for table in result["groups"]}
    assert {row["user"]: row["calls"] for row in tables["user",]} == {"amy": 2, "bob": 1}
    ((red),) = tables["tenant", "day"]
    assert (red["tenant"], red["day"], red["calls"]) == ("red", "2025-11-24", 3)
    result = report(SAMPLES / "litellm.jsonl", "--column", "tenant=model_group")
    assert len(result["tenants"]) == 3  # the user's own column, of a known format, too


def test_many_files_are_one_log_in_which_a_call_counts_once(report: Report, tmp_path: Path) -> None:
    transcript = (SAMPLES / "claude_code.jsonl").read_bytes()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one.jsonl").write_bytes(transcript)
    (tmp_path / "two.jsonl.gz").write_bytes(gzip.compress(transcript))
    (tmp_path / "notes.md").write_text("no log")
    for named in ([tmp_path], [tmp_path / "**" / "*.jsonl*"], sorted(tmp_path.glob("**/*.jsonl*"))):
        result = report(*named)
        assert len(result["files"]) == 2
        assert (result["recorded_calls"], result["rows_set_aside"]["repeated"]) == (2, 6)


# -- pipes ---------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["-", "/dev/stdin", "fifo"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_pipe_is_read(how: str, packed: bool, tmp_path: Path) -> None:
    content = (SAMPLES / "german.csv").read_bytes()  # read twice: once for its decimal marks
    content = gzip.compress(content) if packed else content
    name, given_in = how, content
    if how == "fifo":  # as a process substitution is
        name, given_in = str(tmp_path / "pipe"), b""
        os.mkfifo(name)
        threading.Thread(target=Path(name).write_bytes, args=[content], daemon=True).start()
    done = subprocess.run(
        [sys.executable, "-c", "from otel_budget.cli import main; main()", "replay", name, "--csv"],
        input=given_in, capture_output=True, cwd=ROOT, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"acme,2,0,0,4712" in done.stdout


# -- JSON in every layout --------------------------------------------------------------------
@pytest.mark.parametrize(
    "write",
    [
        lambda rows: "\n".join(map(json.dumps, rows)),
        lambda rows: json.dumps(rows),
        lambda rows: json.dumps(rows, indent=4),
        lambda rows: json.dumps({"data": rows, "next": None}),
        lambda rows: json.dumps({"object": "page", "data": rows}, indent=2),
        lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
        lambda rows: json.dumps({"data": rows[:9]}) + "\n" + json.dumps({"data": rows[9:]}),
    ],
    ids=["lines", "array", "pretty array", "page", "pretty page", "pretty objects", "pages"],
)
def test_every_layout_of_json(report: Report, tmp_path: Path, write: Any) -> None:
    rows = [{"model": "gpt-4.1", "note": "[{" * 400, "usage":
             {"prompt_tokens": n, "completion_tokens": 1, "total_tokens": n + 1}}
            for n in range(1000)]  # fmt: skip
    path = tmp_path / "log.json"
    path.write_text(write(rows), encoding="utf-8")
    result = report(path)
    assert (result["rows"], result["rows_read"]) == (1000, 1000)
    assert result["tokens"]["input"] == sum(range(1000))


def test_an_array_that_is_cut_off_says_what_was_not_read(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    row = json.dumps({"input_tokens": 1, "output_tokens": 1})
    path.write_text(f"[{row}, {row}, " + row[:9])
    result = report(path)
    assert (result["rows_read"], result["rows_refused"]) == (2, 1)
    assert "what follows in the file is not read" in result["bad_rows"][0]["why"]
    assert result["bad_rows"][0]["line"] == 3


# -- numbers -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["1.000", "2.000"], None),
        (["1,000"], None),
        (["1.000", "2.500"], ","),
        (["1,000", "2,512"], "."),
        (["1.000", "7.0"], "."),
        (["1.000", "12345"], "."),
        (["1.000", "1.000.000"], ","),
        (["1,234.00"], "."),
        (["1.234,00"], ","),
        (["1 234", "12"], "."),
        (["12", "7.0"], "."),
        ([], "."),
    ],
)
def test_marks_are_told_apart_by_the_column_as_a_whole(cells: list[str], mark: Any) -> None:
    assert decimal_mark(cells, whole=True) == mark


@given(st.integers(0, 10**12), st.sampled_from([(".", ","), (",", ".")]))
def test_a_number_reads_as_it_was_written(number: int, marks: Any) -> None:
    decimal, thousands = marks
    grouped = f"{number:,}".replace(",", thousands)
    for text in (str(number), grouped, f"{grouped}{decimal}00", f"{number:_}"):
        assert plain(text, decimal) == str(number)
        told = decimal_mark([text], whole=True)
        assert told is None or plain(text, told) == str(number)


def test_a_column_that_leaves_it_open_is_refused_with_the_option(
    replay: Any, report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("prompt_tokens;completion_tokens\n1.000;5\n2.000;6\n")
    assert_one_sentence(replay(path), "'1.000'", "may be 1 or 1000", "--decimal ,")
    assert report(path, "--decimal", ",")["tokens"]["input"] == 3000
    assert report(path, "--decimal", ".")["tokens"]["input"] == 3
    path.write_text("prompt_tokens;completion_tokens\n1.000;5,00\n2.000;6\n")
    assert report(path)["tokens"]["input"] == 3000  # the other column tells
    path.write_text("prompt_tokens;completion_tokens\n1.234.567;1\n7,5;6\n9.5;1\n")
    assert_one_sentence(replay(path), "cannot be told apart", "--decimal")


# -- every row ---------------------------------------------------------------------------------
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
KEYS = st.sampled_from(
    [
        *("usage", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "type"),
        *("message", "model", "id", "object", "timestamp", "spend", "cache_hit", "metadata"),
        *("status", "result", "results", "response", "custom_id", "run_type", "extra", "data"),
        *("usageDetails", "traceId", "resourceSpans", "scopeSpans", "spans", "attributes", "key"),
        *("value", "sessionId", "num_model_requests", "request_created_at", "created"),
    ]
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)
LINES = st.lists(
    st.text(max_size=30)
    | VALUES.map(json.dumps)
    | st.dictionaries(KEYS, VALUES, max_size=8).map(json.dumps)
    | st.just(json.dumps({"input_tokens": 1, "output_tokens": 1})),
    max_size=12,
)


@given(LINES, st.sampled_from([file.name for file in SAMPLES.iterdir()]))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_row_is_read_set_aside_or_refused(
    tmp_path: Path, lines: list[str], sample: str
) -> None:
    path = tmp_path / "rubbish"
    lines = [line.replace("\n", " ").replace("\r", " ").replace("\0", " ") for line in lines]
    sound = (SAMPLES / sample).read_text(encoding="utf-8")
    for content in ("\n".join(lines), sound + "\n".join(lines)):
        path.write_text(content, encoding="utf-8", errors="replace")
        try:
            reading = read_logs(sources_of([str(path)]), ReadingOptions())
        except CommandError:  # its sentence is tested with each mistake
            continue
        assert reading.rows == reading.kept + sum(reading.aside.values()) + reading.refused
        assert len(list(reading.calls)) == reading.kept
        assert len(reading.bad) == reading.refused
        if sample.endswith(".jsonl") and content.startswith(sound[:1]) and content is not sound:
            filled = [line for line in content.split("\n") if line.strip()]
            assert reading.rows >= len(filled) - 1


def test_a_repeated_id_is_set_aside_only_if_the_call_is_the_same(
    report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "request_id,input_tokens,output_tokens\nr,1,1\nr,1,1\nr,5,1\ns,1,1\n,1,1\n,1,1\n"
    )
    result = report(path)
    assert (result["rows_read"], result["rows_set_aside"]) == (5, {"repeated": 1})
    # Whoever names the column says that it tells calls apart: the largest of each stands.
    result = report(path, "--column", "id=request_id")
    assert (result["rows_read"], result["tokens"]["input"]) == (4, 8)


def test_a_row_that_sums_up_calls_counts_them(report: Report, replay: Any, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("day,requests,Prompt Tokens,Completion Tokens\n1,12,5,5\n2,0,5,5\n3,9,5,5\n")
    result = report(path)
    assert (result["recorded_calls"], result["rows_set_aside"]) == (21, {"holds no call": 1})
    assert "A row of it stands for many calls" in replay(path).out
    path.write_text("requests,input_tokens,output_tokens\nhello,5,5\n")  # what was asked for
    assert report(path)["recorded_calls"] == 1


def test_of_several_files_a_line_says_which(replay: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("input_tokens,output_tokens\n1,1\nx,1\n")
    (tmp_path / "c.json").write_text('[{"input_tokens": 1, "output_tokens": "x"}]')
    text = replay(tmp_path, "--limit", "0tokens/all/day").out.replace("\n", "")
    assert "a.csv, line 3: its prompt tokens 'x' are not a whole number" in text
    assert "c.json, item 1: its completion tokens 'x'" in text
    assert re.search(r"First refusal of calls without a tenant, line 2 of .*a\.csv", text)


def test_a_crashing_pipe_leaves_no_traceback() -> None:
    result = command("replay", str(SAMPLES / "nothing.csv"))
    assert_one_sentence(result, "there is no file")
