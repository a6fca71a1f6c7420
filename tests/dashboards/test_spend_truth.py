"""`otel-budget spend` on a real Prometheus with a history whose truth is known."""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from collector.stack import Stack
from dashboards.builder import queries as q
from dashboards.builder.labels import MODEL, PROVIDER, TENANT
from otel_budget import semconv as sc
from otel_budget.cli import spend
from otel_budget.metric import Metric
from otel_budget.verify import expected
from promtool import promtool
from rule_cases.case import series
from support.cli_runs import Result, command

pytestmark = [pytest.mark.backend("prometheus", "promtool"), pytest.mark.timeout(180)]

HOUR, DAY = 60, 24 * 60
#: In minutes: the day before yesterday, or so.
NOW = int(time.time()) // 60
BEGIN = NOW // HOUR * HOUR - 2 * DAY
END = BEGIN + DAY
CLAUDE = {sc.METRIC_MODEL: "claude-sonnet-4-5", sc.METRIC_PROVIDER: "anthropic"}
GPT = {sc.METRIC_MODEL: "gpt-4o", sc.METRIC_PROVIDER: "openai"}
LLAMA = {sc.METRIC_MODEL: "llama-local", sc.METRIC_PROVIDER: "ollama"}

Point = tuple[int, float]


def told(
    instance: str, tenant: str, model: dict[str, str], *points: Point, user: str = ""
) -> Iterator[str]:
    """A process's counters: minutes and USD; a call costs a cent and takes 100 and 20 tokens."""
    who = {sc.TENANT: tenant, sc.PRINCIPAL: user}
    labels = {name: value for name, value in (who | model).items() if value}
    counters: list[tuple[Metric, dict[str, str], float]] = [
        (sc.METRIC_CALLS, {}, 100),
        (sc.METRIC_TOKENS, {sc.TOKEN_TYPE: sc.TOKENS_INPUT}, 10_000),
        (sc.METRIC_TOKENS, {sc.TOKEN_TYPE: sc.TOKENS_OUTPUT}, 2_000),
        (sc.METRIC_UNPRICED_CALLS, {sc.REASON: sc.UNKNOWN_MODEL}, 100)
        if model is LLAMA
        else (sc.METRIC_COST, {sc.COST_SOURCE: sc.COST_FROM_PRICES}, 1),
    ]
    for metric, more, factor in counters:
        name = series(metric, labels | more, instance=instance)
        yield from (f"{name} {value * factor} {minute * 60}\n" for minute, value in points)


def steadily(first: int, last: int, start: float) -> list[Point]:
    """A process that spends a cent a minute."""
    return [(minute, start + (minute - first) * 0.01) for minute in range(first, last + 1)]


def history() -> Iterator[str]:
    """Lives of all kinds around the day that is asked for."""
    # Its $10.80 before the day and what it spends after it do not count: $14.40 do.
    yield from told("a1", "acme", CLAUDE, *steadily(BEGIN - 3 * HOUR, END + HOUR, 9.0), user="ann")
    # Jobs that are born on the day, one of them exporting a single time.
    yield from told("a2", "acme", GPT, *steadily(BEGIN + 60, BEGIN + 70, 2.5), user="bob")
    yield from told("g1", "globex, inc.", CLAUDE, (BEGIN + 500, 0.75))
    yield from told("i1", "initech", CLAUDE, (BEGIN - 30, 5.0), (BEGIN - 1, 5.0))
    yield from told("i2", "initech", CLAUDE, (END + 1, 5.0), (END + 2, 5.0))
    yield from told("l1", "local", LLAMA, (BEGIN + 5, 0.03))
    uncounted = {sc.TENANT: "local", **LLAMA, sc.REASON: sc.ABANDONED}
    yield f"{series(sc.METRIC_CALLS_WITHOUT_USAGE, uncounted)} 2 {(BEGIN + 7) * 60}\n"
    yield from told("n1", "", CLAUDE, (END, 0.25))  # the last instant belongs to the day
    yield from told("v1", f"{expected.NAME}-1", CLAUDE, (BEGIN + 9, 100.0))


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="otel-budget-", ignore_cleanup_errors=True) as name:
        stack = Stack(Path(name), programs=["prometheus"])
        stack.directory.joinpath("history.txt").write_text("".join((*history(), "# EOF\n")))
        done = promtool(
            "tsdb", "create-blocks-from", "openmetrics",
            stack.directory / "history.txt", stack.directory / "prometheus-data",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        with stack:
            yield stack.prometheus


def at(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ask(prometheus: str, *options: str, begin: int = BEGIN, end: int = END) -> Result:
    times = ("--from", at(begin), "--to", at(end))
    return command("spend", *times, "--prometheus", prometheus, *options)


def rows(result: Result) -> list[dict[str, str]]:
    assert result.code == 0, result.err
    return list(csv.DictReader(StringIO(result.out)))


def test_each_tenant_is_charged_what_it_spent_in_the_time(prometheus: str) -> None:
    result = ask(prometheus)
    assert result.err == ""
    first = rows(result)[0]
    assert first == {
        "ChargePeriodStart": at(BEGIN),
        "ChargePeriodEnd": at(END),
        "ChargeCategory": "Usage",
        "ServiceCategory": "AI and Machine Learning",
        "BillingCurrency": "USD",
        "ConsumedUnit": "Tokens",
        "EffectiveCost": "17",
        "ConsumedQuantity": "204000",
        "x_Tenant": "acme",
        "x_Calls": "1700",
        "x_UnpricedCalls": "0",
        "x_UncountedCalls": "",
    }
    names = ("x_Tenant", "EffectiveCost", "ConsumedQuantity", "x_Calls")
    calls = ("x_UnpricedCalls", "x_UncountedCalls")
    assert [tuple(row[name] for name in names + calls) for row in rows(result)] == [
        ("acme", "17", "204000", "1700", "0", ""),
        ("globex, inc.", "0.75", "9000", "75", "0", ""),
        ("", "0.25", "3000", "25", "0", ""),
        ("local", "", "360", "3", "3", "2"),
    ]


def test_spend_is_told_apart_by_several_things_at_once(prometheus: str) -> None:
    found = rows(ask(prometheus, "--by", "user", "--by", "model"))
    names = ("x_User", "ProviderName", "x_Model", "EffectiveCost")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("ann", "anthropic", "claude-sonnet-4-5", "14.4"),
        ("bob", "openai", "gpt-4o", "2.6"),
        ("", "anthropic", "claude-sonnet-4-5", "1"),
        ("", "ollama", "llama-local", ""),
    ]
    columns = list(found[0])
    own = [name for name in columns if name.startswith("x_")]
    assert columns[-len(own) :] == own


def test_the_parts_of_a_time_add_up(prometheus: str) -> None:
    parts = [
        float(row["EffectiveCost"] or 0)
        for begin in range(BEGIN, END, 6 * HOUR)
        for row in rows(ask(prometheus, begin=begin, end=begin + 6 * HOUR))
    ]
    assert sum(parts) == pytest.approx(18)


def test_what_no_metric_tells_is_said(prometheus: str) -> None:
    result = ask(prometheus, "--by", "agent")
    assert len(rows(result)) == 1
    assert result.err == (
        "otel-budget: the metrics tell no agent; name its label in metric_labels.\n"
    )
    empty = ask(prometheus, begin=BEGIN - 2 * DAY, end=BEGIN - DAY)
    assert rows(empty) == []
    assert empty.out.startswith("ChargePeriodStart,")
    assert "no call is recorded from" in empty.err


def test_what_prometheus_no_longer_keeps_is_refused(prometheus: str) -> None:
    for days in (90, 63, 62.5):
        result = ask(prometheus, begin=NOW - int(days * DAY))
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("otel-budget: Prometheus keeps 9w, and a day before ")
    assert ask(prometheus, begin=NOW - int(61.5 * DAY)).code == 0


def test_the_query_is_that_of_the_dashboards() -> None:
    cost = q.selector(sc.METRIC_COST.prometheus_name(), q.NOT_CANARY)
    boards = q.by("sum", (TENANT, PROVIDER, MODEL), q.total(cost, "86400s"))
    attributes = [sc.TENANT, sc.METRIC_PROVIDER, sc.METRIC_MODEL]
    assert spend.query(sc.METRIC_COST, attributes, 86400) == boards
