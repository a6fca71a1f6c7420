"""Every query of every panel on a real Prometheus, fed by the adapter through the real stack."""

from __future__ import annotations

import math
import re
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import scenario
from collector.stack import PROGRAMS, Stack
from dashboards.builder import queries as q
from dashboards.builder import scope
from dashboards.builder.boards import budgets
from dashboards.builder.boards.shared_panels import legend
from dashboards.builder.labels import JOB
from dashboards.builder.rules import alert_model, forecast_records
from otel_budget import semconv as sc
from otel_budget.metric import prometheus_label
from panel_queries import ask, fill_in, last, recorded_decisions
from promtool import backend
from support.probes import eventually, get_json, query
from test_dashboards import GRAFANA, drop_downs, panels, substituted

TENANT = prometheus_label(sc.TENANT)
BUDGETS = "overview: Budgets, most urgent first"
PANELS = {
    f"{name}: {panel['title']}": panel
    for name, dashboard in GRAFANA.items()
    for panel in panels(dashboard)
    if panel["type"] != "text"
}


class World(NamedTuple):
    prometheus: str
    jaeger: str
    books: scenario.Books


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The stack after the scenario."""
    for program in PROGRAMS:
        backend(program)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(Path(directory), interval=1) as stack,
    ):
        books, process = scenario.run(stack.otlp_grpc)
        counted = sc.METRIC_DECISIONS.prometheus_name()
        expected = sum(books.decisions.values())
        arrived = eventually(
            lambda: query(stack.prometheus, f"sum({counted})"),
            lambda rows: bool(rows) and rows[0][1] == expected,
        )
        assert arrived[0][1] == expected
        # Rules count what happens after they first see a process, so it goes on for a while.
        ledger = alert_model.recorded("1h")
        with scenario.kept_alive(process):
            assert eventually(lambda: query(stack.prometheus, f"count({ledger})"), timeout=60)
            assert recorded_decisions(stack.prometheus, expected) == expected
            # The day's sum sees whole minutes alone.
            month = fill_in(PANELS["spend: This month"]["targets"][0]["expr"])
            assert eventually(lambda: query(stack.prometheus, month), timeout=90)
            yield World(stack.prometheus, stack.jaeger, books)


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    """A stack that has never seen anything."""
    for program in PROGRAMS:
        backend(program)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(Path(directory), programs=["prometheus"]) as stack,
    ):
        yield stack.prometheus


def legend_labels(panel: dict[str, Any], target: dict[str, Any]) -> set[str]:
    return set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))


#: Labels that only some budgets have (an agent's, a principal's), and those of a guard that tells
#: neither window nor unit.
OPTIONAL = {prometheus_label(a) for a in (sc.AGENT, sc.CAUSE, sc.PRINCIPAL, sc.TENANT, sc.WINDOW)}


#: In queries of levels, and of what rules record of them.
OF_BUDGETS = (
    prometheus_label(sc.SHARED),
    alert_model.UTILIZATION,
    alert_model.WITH_RESERVED,
    alert_model.CONSUMED,
    alert_model.LIMIT,
    alert_model.WINDOW_END_HELD,
)


#: It looks at what is counted every half hour, and the scenario is not that long: test_fleet.py.
#: And there is no hour before the scenario.
OLDER = {"health: Counted but not recorded, 24 h", "overview: Spend, the time before"}
ANSWERING = [where for where in PANELS if where not in OLDER]


def may_be_empty(target: dict[str, Any]) -> bool:
    """Those beyond the largest, what lies ahead, and the month before."""
    name = target["legendFormat"]
    return name == legend(scope.OTHERS) or name.endswith("forecast") or "[62d:1d]" in target["expr"]


@pytest.mark.parametrize("where", ANSWERING)
def test_every_target_answers_with_the_labels_of_its_legend(world: World, where: str) -> None:
    panel = PANELS[where]
    for target in panel["targets"]:
        if may_be_empty(target):
            continue
        rows, expr = ask(world.prometheus, target), target["expr"]
        assert rows, f"{target['refId']} is empty"
        assert all(math.isfinite(last(row)) for row in rows)
        for label in legend_labels(panel, target):
            found = [label in row["metric"] for row in rows]
            # Levels of a budget that services share are without job.
            optional = label in OPTIONAL or (label == JOB and any(n in expr for n in OF_BUDGETS))
            assert any(found) or optional, label
            if not optional:
                assert all(found), label


@pytest.mark.parametrize("where", ANSWERING)
def test_every_target_answers_for_one_tenant(world: World, where: str) -> None:
    for target in PANELS[where]["targets"]:
        if may_be_empty(target):
            continue
        rows = ask(world.prometheus, target, {"tenant": "globex", "service": scenario.SERVICE})
        assert rows, f"{target['refId']} is empty"
        assert {row["metric"].get(TENANT, "globex") for row in rows} == {"globex"}


@pytest.mark.parametrize("where", PANELS)
def test_with_no_data_nothing_fails_and_nothing_is_0(empty: str, where: str) -> None:
    for target in PANELS[where]["targets"]:
        assert ask(empty, target) == []


@pytest.mark.parametrize("name", GRAFANA)
def test_every_drop_down_offers_values(world: World, name: str) -> None:
    expected = {
        "service": {scenario.SERVICE},
        "environment": {scenario.ENVIRONMENT},
        "tenant": {"acme", "globex", "initech"},
        "agent": {"researcher", "coder", "support", "batch", "local"},
        "principal": set(),
        "model": set(scenario.PROVIDERS),
        "resource": {"llm_cost_usd", "llm_tokens", "tools", sc.GUARD_UNAVAILABLE},
    }
    for variable in drop_downs(GRAFANA[name]):
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found
        answer = get_json(
            f"{world.prometheus}/api/v1/label/{found[2]}/values",
            {"match[]": substituted(found[1])},
        )
        assert set(answer["data"]) == expected[variable["name"]]


def value(world: World, where: str, ref: int = 0, **chosen: str) -> float:
    (row,) = ask(world.prometheus, PANELS[where]["targets"][ref], chosen)
    return last(row)


def values(world: World, where: str, label: str, ref: int = 0) -> dict[str, float]:
    """Sums by one label."""
    found: dict[str, float] = {}
    for row in ask(world.prometheus, PANELS[where]["targets"][ref]):
        key = row["metric"].get(label, "")
        found[key] = found.get(key, 0) + last(row)
    return found


def test_spend_is_what_the_scenario_spent(world: World) -> None:
    spent = sum(world.books.cost.values())
    assert value(world, "overview: Spend, selected time") == pytest.approx(spent, abs=1e-9)
    assert value(world, "overview: Spend, last hour") == pytest.approx(spent, abs=1e-9)
    assert value(world, "drilldown: Spend") == pytest.approx(spent, abs=1e-9)
    by_tenant = {"" if tenant == "-" else tenant: cost for tenant, cost in world.books.cost.items()}
    assert values(world, "overview: Spend by tenant", TENANT) == pytest.approx(by_tenant)
    spend = value(world, "overview: Spend, selected time", tenant="acme")
    assert spend == pytest.approx(world.books.cost["acme"], abs=1e-9)


def test_calls_and_tokens_are_what_the_scenario_counted(world: World) -> None:
    books = world.books
    calls = sum(books.calls.values())
    assert value(world, "drilldown: Model calls") == calls
    assert value(world, "overview: Calls without a price") == books.unpriced / calls
    assert value(world, "drilldown: Tokens") == sum(books.tokens.values())
    prompt = sum(n for kind, n in books.tokens.items() if kind != sc.TOKENS_OUTPUT)
    read = books.tokens[sc.TOKENS_CACHE_READ]
    assert value(world, "overview: Prompt tokens from the cache") == pytest.approx(read / prompt)
    ratio = value(world, "drilldown: Estimate in real prompt tokens")
    assert ratio == pytest.approx(books.estimated / prompt)


def test_denials_are_what_the_scenario_saw(world: World) -> None:
    resource = prometheus_label(sc.RESOURCE)
    table = PANELS["overview: Denials"]["targets"]
    rows = ask(world.prometheus, table[0])
    found = {(row["metric"][TENANT], row["metric"][resource]): last(row) for row in rows}
    assert found == world.books.denials
    assert value(world, "overview: Refused calls") == sum(world.books.denials.values())
    assert value(world, "drilldown: Soft limits crossed") == world.books.soft
    ages = [last(row) for row in ask(world.prometheus, table[1])]
    assert all(0 <= age < 600 for age in ages)
    tools = {row["metric"].get(prometheus_label(sc.TOOL_NAME)) for row in rows}
    assert tools == {None, "shell"}


def test_guard_trouble_is_what_the_scenario_made(world: World) -> None:
    books = world.books
    assert value(world, "health: Guard exceptions") == books.guard_errors
    unreadable = books.decisions[sc.MALFORMED] + books.decisions[sc.LATE]
    assert value(world, "health: Malformed and late answers") == unreadable
    assert value(world, "health: Let through unguarded") == books.decisions[sc.LATE]
    assert value(world, "health: Telemetry errors") == 0
    assert value(world, "health: Age of the last datum") < 60


def test_budgets_are_as_full_as_the_guard_said(world: World) -> None:
    window = prometheus_label(sc.WINDOW)
    rows = ask(world.prometheus, PANELS[BUDGETS]["targets"][1])
    full = {
        (r["metric"].get(TENANT, "-"), r["metric"][window]): last(r)
        for r in rows
        if window in r["metric"]
    }
    expected = {
        key: world.books.cost[tenant] / (cap * factor)
        for tenant, cap in scenario.CAPS.items()
        for key, factor in (((tenant, "day"), 1), ((tenant, "month"), 30))
    }
    assert full == pytest.approx(expected)


def test_the_most_urgent_budget_is_first_and_each_has_a_verdict(world: World) -> None:
    window = prometheus_label(sc.WINDOW)
    ranked, used, left = (ask(world.prometheus, t) for t in PANELS[BUDGETS]["targets"][:3])
    assert [last(row) for row in ranked] == sorted((last(row) for row in ranked), reverse=True)
    assert {row["metric"][budgets.ROW] for row in ranked} == {
        row["metric"][budgets.ROW] for row in used
    }
    told = {(r["metric"].get(TENANT), r["metric"].get(window)): r["metric"] for r in ranked}
    first = ranked[0]["metric"]
    assert (first[TENANT], first[window]) == ("acme", "day")
    assert re.fullmatch(r"exhausted for \d+ min|empty in \d+ min", first[budgets.VERDICT])
    # Half of its month is over, and a thirtieth of two thirds is used.
    assert told["initech", "month"][budgets.VERDICT] == forecast_records.LASTS
    assert told["globex", None][budgets.VERDICT] == "over its soft limit"
    texts = {(r["metric"].get(TENANT), r["metric"].get(window)): r["metric"] for r in left}
    rest = round(30 * scenario.CAPS["acme"] - world.books.cost["acme"], 2)
    number, unit = texts["acme", "month"][budgets.LEFT].split()
    assert (float(number), unit) == (pytest.approx(rest, abs=0.011), "USD")


def test_the_forecast_comes_from_the_window_unless_it_is_being_emptied(world: World) -> None:
    """Half of each window has passed; the tenants' days were spent within seconds."""
    window = prometheus_label(sc.WINDOW)
    told: dict[str, dict[tuple[str, str], tuple[float, dict[str, str]]]] = {}
    for record in (alert_model.EXHAUSTION, alert_model.FORECAST):
        told[record] = {
            (labels.get(TENANT, "-"), labels[window]): (number, labels)
            for labels, number in query(world.prometheus, f"{record}{{{q.CAP}}}")
        }
    # Without what may be a reservation that is settled later: the least of the last minutes.
    settled = {
        (labels.get(TENANT, "-"), labels[window]): used
        for labels, used in query(world.prometheus, f"{alert_model.CONSUMED}{{{q.CAP}}}")
    }
    for tenant, cap in scenario.CAPS.items():
        for key, limit, length in (("day", cap, 1), ("month", 30 * cap, 30)):
            used = settled[tenant, key]
            left = max(limit - used, 0) / (used / (length * scenario.DAY / 2))
            found, _ = told[alert_model.EXHAUSTION][tenant, key]
            state = told[alert_model.FORECAST][tenant, key][1][forecast_records.STATE]
            if state == forecast_records.EMPTIED:
                assert key == "day"
                assert 0 < found < 3600
            else:
                assert found == pytest.approx(left, rel=1e-3)
    assert told[alert_model.FORECAST]["acme", "day"][1][forecast_records.STATE] in (
        forecast_records.EXHAUSTED,
        forecast_records.EMPTIED,
    )


def test_a_dot_of_the_latency_panel_leads_to_a_trace(world: World) -> None:
    """Exemplars are on the histogram that the panels ask, and their traces are in Jaeger."""
    (target,) = PANELS["drilldown: Time of the guard's answers (95th percentile)"]["targets"]
    assert target["exemplar"]
    bucket = sc.METRIC_GUARD_DURATION.prometheus_name() + "_bucket"
    assert bucket in target["expr"]
    now = time.time()
    found = get_json(
        f"{world.prometheus}/api/v1/query_exemplars",
        {"query": bucket, "start": f"{now - 600:.0f}", "end": f"{now + 1:.0f}"},
    )["data"]
    traces = {
        exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]
    }
    assert traces
    trace = eventually(lambda: get_json(f"{world.jaeger}/api/traces/{traces.pop()}")["data"])
    assert trace


@pytest.mark.parametrize("where", ["overview: Denials", "drilldown: Soft limits and denials"])
def test_the_resource_of_a_denial_links_to_its_denials_in_jaeger(world: World, where: str) -> None:
    (link,) = (
        p["value"][0]
        for override in PANELS[where]["fieldConfig"]["overrides"]
        for p in override["properties"]
        if p["id"] == "links" and override["matcher"]["options"] == "Resource"
    )
    cells = {"Service": scenario.SERVICE, "Tenant": "acme"}
    url = re.sub(
        r'\$\{__data\.fields\["(\w+)"\]:percentencode\}', lambda m: cells[m[1]], link["url"]
    ).replace("${jaeger}", world.jaeger)
    page, _, search = url.partition("?")
    assert page == f"{world.jaeger}/search"
    parameters = dict(urllib.parse.parse_qsl(search, strict_parsing=True))
    answer = eventually(lambda: get_json(f"{world.jaeger}/api/traces", parameters)["data"])
    spans = [span for trace in answer for span in trace["spans"]]
    tags = [{tag["key"]: tag["value"] for tag in span["tags"]} for span in spans]
    denied = [tag for tag in tags if tag.get(sc.DECISION) == sc.DENY]
    assert len(denied) == world.books.denials["acme", "llm_cost_usd"]
    assert {tag[sc.TENANT] for tag in denied} == {"acme"}
    # What the panel beside it says of spend per session: the totals are on the spans.
    assert any(sc.SESSION_COST in tag for tag in tags)
