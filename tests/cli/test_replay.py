"""`otel-budget replay`: what a budget would have done to a log, exactly."""

from __future__ import annotations

import gzip
import json
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from support.cli_runs import Replay, assert_one_sentence, command
from support.otlp_receiver import receiver
from support.ports import free_port

EXCERPT = str(files("otel_budget") / "data" / "azure_llm_2023_code_excerpt.csv")
#: Of the excerpt.
INPUT, OUTPUT = 855_018, 9_820


# -- numbers -------------------------------------------------------------------------------
def test_without_a_limit_every_token_is_there(report: Any) -> None:
    result = report(EXCERPT)
    assert (result["rows"], result["recorded_calls"], result["refused_calls"]) == (400, 400, 0)
    assert result["tokens"] == {
        "input": INPUT,
        "output": OUTPUT,
        "cache_read": 0,
        "cache_write": 0,
    }
    assert result["bad_rows"] == []


@pytest.mark.parametrize("per", ["tenant", "session", "all"])
def test_with_a_limit_no_call_is_missing_and_a_refused_one_adds_nothing(
    report: Any, per: str
) -> None:
    result = report(EXCERPT, "--limit-tokens", "5e5", "--per", per)
    assert result["recorded_calls"] + result["refused_calls"] == 400
    assert result["refused_calls"] > 0
    assert result["tokens"]["input"] + result["refused_input_tokens"] == INPUT
    assert result["tokens"]["output"] + result["refused_output_tokens"] == OUTPUT
    # The call that reaches the cap is the last one that is recorded.
    assert 500_000 <= sum(result["tokens"].values()) < 510_000
    (level,) = result["tenants"][0]["levels"]
    assert level["consumed"] == sum(result["tokens"].values())
    assert level["limit"] == 500_000
    (first,) = result["first_refusals"]
    assert first["line"] == result["recorded_calls"] + 2  # the header is line 1


def test_a_limit_in_usd_prices_what_has_a_model(report: Any) -> None:
    result = report(EXCERPT, "--limit-usd", 1, "--model", "gpt-4.1", "--provider", "openai")
    tokens = result["tokens"]
    assert result["cost_usd"] == pytest.approx((tokens["input"] * 2 + tokens["output"] * 8) / 1e6)
    assert 1 <= result["cost_usd"] < 1.05
    assert result["unpriced_calls"] == {}
    (level,) = result["tenants"][0]["levels"]
    assert level["consumed"] == pytest.approx(result["cost_usd"])


def test_a_call_without_a_price_is_reported(replay: Replay) -> None:
    result = replay(EXCERPT, "--limit-usd", 1, "--model", "no-such-model")
    assert result.code == 0
    text = " ".join(result.out.split())
    assert "No price for 400 calls of no-such-model: no published price. Helps: --rate" in text
    assert "$0" not in text.replace("Budget: $1.00", "").replace("of $1.00", "")


def test_the_clock_is_that_of_the_log_and_windows_reset(log: Any, report: Any) -> None:
    path = log(
        "timestamp,input_tokens,output_tokens",
        "2024-02-28T23:59:58,100,0",
        "2024-02-28T23:59:59Z,100,0",
        "2024-02-29T01:00:00+01:00,100,0",  # midnight in UTC
        "2024-02-29T00:00:01,100,0",
    )
    result = report(path, "--limit-tokens", 100, "--window", "day")
    assert [first["line"] for first in result["first_refusals"]] == [3]
    assert (result["recorded_calls"], result["refused_calls"]) == (2, 2)
    assert report(path, "--limit-tokens", 100, "--window", "month")["recorded_calls"] == 1


def test_rows_out_of_order_are_put_in_order(log: Any, report: Any, replay: Replay) -> None:
    path = log(
        "time,prompt_tokens,completion_tokens",
        "2024-01-02,100,0",
        "2024-01-01,60,0",
        "2024-01-03,100,0",
        "2024-01-01,60,0",
        "2024-01-01,60,0",
    )
    result = report(path, "--limit-tokens", 100)
    assert result["reordered"] is True
    assert [first["line"] for first in result["first_refusals"]] == [6]
    assert result["recorded_calls"] == 4
    assert "put into the order of their times" in replay(path).out


@pytest.mark.parametrize("divisor", [1, 1e-3, 1e-6, 1e-9])
def test_times_may_be_numbers(log: Any, report: Any, divisor: float) -> None:
    moment = int(1_709_164_799 / divisor)
    path = log("ts,input_tokens,output_tokens", f"{moment},1,1")
    (first,) = report(path, "--limit-tokens", 0)["first_refusals"]
    assert first["timestamp"] == pytest.approx(1_709_164_799, abs=1)


def test_a_table_is_complete_however_many_tenants_there_are(
    log: Any, report: Any, replay: Replay
) -> None:
    rows = [f"tenant-{number},60,0" for number in range(150)] * 3
    path = log("tenant,input_tokens,output_tokens", *rows)
    result = report(path, "--limit-tokens", 100)
    assert (result["recorded_calls"], result["refused_calls"]) == (300, 150)
    assert len(result["first_refusals"]) == 150
    assert [tenant["denials"] for tenant in result["tenants"]] == [1] * 150
    assert "and 130 more; --json or --csv lists them all" in replay(path).out
    table = replay(path, "--csv").out.splitlines()
    assert table[0] == "tenant,calls,denials,soft_hits,tokens,cost_usd,unpriced_calls"
    assert table[1] == "tenant-0,3,0,0,180,,3"
    assert len(table) == 151


# -- columns -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "lines",
    [
        ("Time,Customer,Input Tokens,Output-Tokens,MODEL", "2024-01-01,acme,7,3,gpt-4.1"),
        ("time;tenant;ContextTokens;GeneratedTokens;model", "2024-01-01;acme;7;3;gpt-4.1"),
        ("\ufefftime\ttenant\ttokens_in\ttokens_out\tmodel", "2024-01-01\tacme\t7\t3\tgpt-4.1"),
        (
            '{"ts": 1704067200, "org": "acme", "model": "gpt-4.1", '
            '"usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}',
        ),
        (
            "",
            '{"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3.0, '
            '"gen_ai.request.model": "gpt-4.1", "tenant_id": "acme"}',
        ),
    ],
    ids=["names", "semicolons", "tabs", "nested", "otel"],
)
def test_columns_are_found_by_their_usual_names(log: Any, report: Any, lines: Any) -> None:
    result = report(log(*lines))
    (tenant,) = result["tenants"]
    assert (tenant["tenant"], tenant["calls"], tenant["tokens"]) == ("acme", 1, 10)
    assert tenant["cost_usd"] == pytest.approx((7 * 2 + 3 * 8) / 1e6)


def test_columns_can_be_named(log: Any, report: Any) -> None:
    path = log("a,b,c,tenant,who", "1,2,2024-01-01,wrong,right")
    named = ("prompt=a", "completion=b", "timestamp=c", "tenant=who")
    result = report(path, *(part for mapping in named for part in ("--column", mapping)))
    assert result["tokens"]["input"] == 1
    assert result["tenants"][0]["tenant"] == "right"


def test_cached_tokens_count_separately(log: Any, report: Any) -> None:
    path = log(
        "model,provider,prompt_tokens,output,cache_read_tokens,cache_write_tokens",
        "claude-sonnet-4-5,anthropic,10,1,1000,200",
        "gpt-4.1,openai,1010,1,1000,",
        "gpt-4.1,,1010,1,1000,",
        "mine,,1010,1,1000,",
    )
    result = report(path, "--column", "completion=output")
    assert result["tokens"] == {
        "input": 10 + 10 + 10 + 1010,
        "output": 4,
        "cache_read": 3000,
        "cache_write": 200,
    }
    # Neither the names of the columns nor that of the model tells: the tokens are a lower bound.
    assert result["unpriced_calls"] == {"cache_accounting": 1}


def test_tool_calls_are_checked(log: Any, report: Any) -> None:
    path = log(
        "session,tool_name,input_tokens,output_tokens",
        "s,shell_exec,10,1",
        "s,shell_exec,,",
        "s,read_file,,",
        "s,,10,1",
    )
    result = report(path, "--deny-tool", "shell*")
    assert (result["recorded_calls"], result["tool_denials"]) == (2, 2)


# -- guards --------------------------------------------------------------------------------
@pytest.fixture
def guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of guards for --guard."""
    (tmp_path / "guards_of_mine.py").write_text(
        "from otel_budget import Allow, Deny, SyncBudgetGuard, BudgetGuard\n"
        "seen = []\n"
        "class Plain(SyncBudgetGuard):\n"
        "    def __init__(self, clock):\n"
        "        self.clock = clock\n"
        "    def check_before_llm(self, session_id, estimated):\n"
        "        seen.append((session_id, estimated, self.clock()))\n"
        "        return Allow()\n"
        "class Async(BudgetGuard):\n"
        "    async def check_before_llm(self, session_id, estimated):\n"
        "        return Deny(resource='r', reason='no') if estimated > 2 else Allow()\n"
        "class Dicts:\n"
        "    def check_before_llm(self, session_id, estimated):\n"
        "        return {'decision': 'deny', 'resource': 'r', 'reason': 'no'} if estimated > 2"
        " else None\n"
        "    def record_after_llm(self, session_id, usage):\n"
        "        seen.append(usage['total_tokens'])\n"
        "class Raising:\n"
        "    def check_before_llm(self, session_id, estimated):\n"
        "        if estimated > 2:\n"
        "            raise RuntimeError('down')\n"
        "class Nothing:\n"
        "    pass\n"
        "def broken():\n"
        "    raise RuntimeError('no\\ndatabase')\n"
        "number = 5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "guards_of_mine", raising=False)
    import guards_of_mine  # type: ignore[import-not-found]

    return guards_of_mine


FIVE = ("time,input_tokens,output_tokens", *(f"2024-01-0{n},{n},1" for n in range(1, 6)))


def test_the_users_own_guard_follows_the_logs_clock(log: Any, report: Any, guards: Any) -> None:
    path = log(*FIVE, name="monday.csv")
    assert report(path, "--guard", "guards_of_mine:Plain")["recorded_calls"] == 5
    # Without a session column the file is one session, named after it.
    assert guards.seen[:2] == [("monday", 1, 1_704_067_200.0), ("monday", 2, 1_704_153_600.0)]


@pytest.mark.parametrize("factory", ["Async", "Dicts", "Raising"])
def test_a_guard_of_any_kind_refuses(log: Any, report: Any, guards: Any, factory: str) -> None:
    result = report(log(*FIVE), "--guard", f"guards_of_mine:{factory}")
    assert (result["recorded_calls"], result["refused_calls"]) == (2, 3)
    assert result["guard_errors"] == ({"RuntimeError": 3} if factory == "Raising" else {})
    assert guards.seen == ([2, 3] if factory == "Dicts" else [])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("guards_of_mine", "MODULE:FACTORY"),
        ("no_such_module:make", "cannot be imported"),
        ("guards_of_mine:nope", "has no nope"),
        ("guards_of_mine:number", "not a function or class"),
        ("guards_of_mine:broken", "RuntimeError: no database"),
        ("guards_of_mine:Nothing", "not a budget guard"),
    ],
)
def test_a_factory_that_makes_no_guard_gets_a_reason(
    replay: Replay, guards: Any, name: str, sentence: str
) -> None:
    assert_one_sentence(replay(EXCERPT, "--guard", name), sentence)


# -- rows that cannot be read --------------------------------------------------------------
BAD = (
    "timestamp,input_tokens,output_tokens",
    "2024-01-01,5,6",
    "2024-01-01,five,6",
    "2024-01-01,-5,6",
    "2024-01-01,5.5,6",
    "2024-01-01,1e999,6",
    "2024-01-01,,6",
    "yesterday,5,6",
    ",5,6",
    "2024-01-01,5",
    "2024-01-01,5,6",
)


def test_bad_rows_are_counted_with_their_lines(log: Any, report: Any, replay: Replay) -> None:
    result = report(log(*BAD))
    assert (result["recorded_calls"], result["tokens"]["input"]) == (2, 10)
    assert [bad["line"] for bad in result["bad_rows"]] == list(range(3, 11))
    whys = [bad["why"] for bad in result["bad_rows"]]
    assert whys[0] == "its prompt tokens 'five' are not a whole number"
    assert whys[4] == "it has no prompt tokens"
    assert whys[-1] == "it has 2 cells, the header 3"
    text = " ".join(replay(log(*BAD)).out.split())
    assert "10 rows = 2 read + 0 set aside + 8 refused." in text
    assert "Refused: 8 rows: line 3: its prompt tokens 'five'" in text
    assert "and 3 more." in text


def test_bad_lines_of_json_are_counted_too(log: Any, report: Any) -> None:
    good = '{"input_tokens": 1, "output_tokens": 1}'
    path = log(good, "{", "[]", '{"input_tokens": true, "output_tokens": 1}', "", good)
    result = report(path)
    assert [bad["line"] for bad in result["bad_rows"]] == [2, 3, 4]
    assert result["recorded_calls"] == 2


def test_strict_stops_at_the_first_bad_row(log: Any, replay: Replay) -> None:
    assert_one_sentence(replay(log(*BAD), "--strict"), "line 3", "'five'", "--strict")


def test_names_from_the_log_cannot_write_to_the_terminal(log: Any, replay: Replay) -> None:
    path = log("tenant,input_tokens,output_tokens", "[red]\x1b[2Jevil,5,6", "b,\x1b[2J,1")
    result = replay(path, "--limit-tokens", 1)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert "[red]" in result.out


# -- mistakes ------------------------------------------------------------------------------
def test_a_file_that_is_not_a_log_gets_a_remedy(tmp_path: Path, log: Any, replay: Replay) -> None:
    assert_one_sentence(replay(tmp_path / "none.csv"), "there is no file", "none.csv")
    assert_one_sentence(replay(tmp_path), "is a directory without a file that ends in .csv")
    assert_one_sentence(replay(f"{tmp_path}/*.csv"), "no file matches")
    (tmp_path / "empty").write_bytes(b"  \n")
    assert_one_sentence(replay(tmp_path / "empty"), "is empty")
    for content in (b"\0\0", "a,b\n1,2\n".encode("utf-16"), b"caf\xe9,b\n1,2\n"):
        (tmp_path / "binary").write_bytes(content)
        assert_one_sentence(replay(tmp_path / "binary"), "is not UTF-8 text", "iconv")
    for mark, program in ((b"PK\x03\x04", "unzip -p"), (b"BZh9", "bzip2 -dc"), (b"PAR1", "CSV")):
        (tmp_path / "packed").write_bytes(mark + b"\0" * 9)
        assert_one_sentence(replay(tmp_path / "packed"), program)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"input_tokens,output_tokens\n1,1\n" * 99)[:60])
    assert_one_sentence(replay(tmp_path / "cut.gz"), "cannot be read to its end")
    path = log("input_tokens,output_tokens", "1,1")
    assert_one_sentence(replay(path, path), "is named twice")
    assert_one_sentence(replay(log("a,b", "1,2")), "it has a, b", "--column prompt=NAME")
    assert_one_sentence(replay(log("input_tokens,output_tokens")), "only a header")
    assert_one_sentence(replay(log("input_tokens,output_tokens", "x,1")), "line 2", "'x'")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--limit-usd", "5"], "add --model"),
        (["--limit-tokens", "-1"], "zero or more"),
        (["--limit-tokens", "nan"], "zero or more"),
        (["--limit-tokens", "many"], "--limit-tokens"),
        (["--limit-tokens", "1", "--soft", "80"], "soft ratio"),
        (["--per", "nobody"], "--per nobody is none of tenant, user"),
        (["--limit", "5"], "5usd/user/day"),
        (["--limit", "5usd/user/day/day"], "5usd/user/day"),
        (["--limit", "5usd/fortnight"], "5usd/user/day"),
        (["--limit", "5usd", "--limit", "6usd", "--model", "m"], "two limits"),
        (["--rate", "gpt=1"], "MODEL=IN/OUT"),
        (["--rate", "gpt=1/x"], "MODEL=IN/OUT"),
        (["--by", "colour"], "--by colour is none of tenant"),
        (["--csv", "--by", "user", "--by", "day"], "one table"),
        (["--timezone", "Mars/Olympus"], "Europe/Berlin"),
        (["--from", "yesterday"], "2026-11-01"),
        (["--decimal", ";"], "neither . nor ,"),
        (["--from", "2030-01-01"], "outside --from and --to: 400"),
        (["--window", "fortnight"], "--window"),
        (["--column", "prompt"], "FIELD=NAME"),
        (["--column", "colour=red"], "FIELD=NAME"),
        (["--column", "prompt=Nope"], "no column 'Nope'"),
        (["--guard", "a:b", "--limit-usd", "1"], "--guard brings its own limits"),
        (["--otlp", "nonsense://"], "is not a URL"),
    ],
)
def test_a_wrong_option_gets_a_remedy(replay: Replay, options: list[str], sentence: str) -> None:
    options = [*options, "--model", "gpt-4.1"] if "--guard" in options else options
    assert_one_sentence(replay(EXCERPT, *options), sentence)


# -- as a program --------------------------------------------------------------------------
def test_in_a_pipe_there_is_a_report_and_no_progress() -> None:
    result = command("replay", EXCERPT, "--limit-tokens", "500000")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert "Budget: 500,000 tokens per tenant, day, soft at 80%." in result.out
    assert "First refusal of calls without a tenant at 2023-11-16 18:20:" in result.out
    assert "400 rows in" in result.out


class Slow(dict[str, int]):
    """Answers of a collector that takes its time."""

    def get(self, key: str, default: Any = None) -> Any:
        time.sleep(0.2)
        return super().get(key, default)


def test_otlp_sends_every_call_though_they_come_faster_than_batches(log: Any) -> None:
    rows = 3_000  # 6,001 spans: three times what a span processor's queue holds
    path = log("input_tokens,output_tokens,session", *(f"2,1,s{n % 3}" for n in range(rows)))
    with receiver() as collector:
        collector.status = Slow()
        result = command("replay", str(path), "--json", "-q", "--otlp", collector.url)
        assert (result.code, result.err) == (0, "")
        names = [span.name for span in collector.spans()]
        assert names.count("budget.record_after_llm") == rows
        (tokens,) = collector.sums("budget.tokens").values()
        assert {resource["service.name"] for resource in collector.resources()} == {
            "otel-budget-replay"
        }
    assert max(tokens) == 2 * rows == json.loads(result.out)["tokens"]["input"]


def test_otlp_without_a_collector_says_so() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert_one_sentence(command("replay", "--otlp", url, EXCERPT), "nothing listens at", url)
    # `--otlp` takes the next word only if it is a URL.
    result = command("replay", "--otlp", EXCERPT, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert_one_sentence(result, "nothing listens at", url)
