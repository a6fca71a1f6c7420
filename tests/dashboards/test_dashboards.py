"""The dashboards as files: names, variables, queries, and the public linter's rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from dashboards.builder import collector_metrics, output, scope, thresholds
from dashboards.builder import queries as q
from dashboards.builder.__main__ import main
from dashboards.builder.labels import ENVIRONMENT, JOB
from dashboards.builder.rules import alert_model, fleet_records, rule_groups
from otel_budget import semconv as sc
from otel_budget.metric import Metric, prometheus_label
from support.paths import ROOT

NAMES = ("overview", "drilldown", "burndown", "spend", "health")
GRAFANA = {n: json.loads((ROOT / f"dashboards/grafana/{n}.json").read_text()) for n in NAMES}
PERSES = {n: json.loads((ROOT / f"dashboards/perses/{n}.json").read_text()) for n in NAMES}
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:`[^`]*`|[^}`])*)\}")
EVERYWHERE = {"service", "environment"}
WHO = EVERYWHERE | {"tenant", "agent", "principal"}
#: Which drop-downs a query on each metric must honour: those whose label it carries.
HONOURS = {
    "budget.decisions": WHO,
    "budget.threshold_hits": WHO | {"resource"},
    "budget.tokens": WHO | {"model"},
    "budget.cost": WHO | {"model"},
    "budget.calls": WHO | {"model"},
    "budget.unpriced_calls": WHO | {"model"},
    "budget.calls_without_usage": WHO | {"model"},
    "budget.estimated_tokens": WHO | {"model"},
    "budget.consumed": WHO | {"resource"},
    "budget.limit": WHO | {"resource"},
    "budget.utilization": WHO | {"resource"},
    "budget.reserved": WHO | {"resource"},
    "budget.reservation.age": WHO | {"resource"},
    "budget.window.length": WHO | {"resource"},
    "budget.window.remaining": WHO | {"resource"},
    "budget.uncounted_calls": WHO | {"resource"},
    "budget.guard.duration": EVERYWHERE,
    "budget.guard.errors": EVERYWHERE,
    "budget.telemetry.errors": EVERYWHERE,
    "budget.label_overflows": EVERYWHERE,
}
#: Of series that rules record of what all processes counted: the same as of the metric.
FLEET = {
    fleet_records.total(metric, "1m"): HONOURS[metric.name] for metric in fleet_records.COUNTED
}
FLEET |= {
    fleet_records.bucket_total(sc.METRIC_GUARD_DURATION, "1m"): EVERYWHERE,
    fleet_records.total(sc.METRIC_COST, fleet_records.COMPARED): HONOURS["budget.cost"],
    fleet_records.recorded(sc.METRIC_COST): HONOURS["budget.cost"],
    fleet_records.last(sc.METRIC_DECISIONS, "1m"): WHO,
}
#: Of series that rules record for each budget: they have no job.
RECORDED = {"environment", "tenant", "agent", "principal", "resource"}
COLLECTOR = {
    collector_metrics.CLOCK_AHEAD,
    collector_metrics.QUEUE_SIZE,
    collector_metrics.QUEUE_CAPACITY,
    *(
        name
        for places in collector_metrics.LOSSES.values()
        for where in places
        for name in collector_metrics.counters(where).values()
    ),
}


def series_names(*, suffixes: bool = True) -> dict[str, Metric]:
    """Every series name the package can cause -> its metric."""
    found = {}
    for metric in sc.METRICS:
        parts = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {q.Names(suffixes).of(metric, part): metric for part in parts}
    return found


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def drop_downs(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """The variables that a person chooses from."""
    return [
        variable
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query" and not variable.get("hide")
    ]


def queries() -> Iterator[tuple[str, str]]:
    for name, dashboard in GRAFANA.items():
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                where = f"{name}: {panel['title']}: {target['refId']}"
                yield where, target["expr"].replace(scope.RECORDS, fleet_records.WINDOWS[0])


def substituted(expr: str) -> str:
    """The query as it is asked, everything chosen."""
    for variable, value in (
        ("$__rate_interval", "5m"),
        ("$__range", "6h"),
        ("$__interval", "1m"),
        ("$__to", "1796000000000"),
    ):
        expr = expr.replace(variable, value)
    return re.sub(r"\$\w+|\$\{\w+:regex\}", ".*", expr)


QUERIES = dict(queries())
RECORDS = {
    rule.record: rule.expr
    for group in rule_groups.groups(thresholds.load(), q.Names())
    for rule in group.rules
    if isinstance(rule, alert_model.Record)
}
pytestmark = pytest.mark.filterwarnings("error")


def test_the_table_of_drop_downs_knows_every_metric() -> None:
    assert set(HONOURS) == {metric.name for metric in sc.METRICS}


@pytest.mark.parametrize("where", QUERIES)
def test_each_query_is_promql(where: str) -> None:
    promql_parser.parse(substituted(QUERIES[where]))


@pytest.mark.parametrize("where", QUERIES)
def test_each_query_asks_what_exists_and_honours_its_variables(where: str) -> None:
    known = series_names()
    expr = QUERIES[where]
    for name, matchers in SELECTOR.findall(expr):
        chosen = set(re.findall(r"=~`\$\{(\w+):regex\}`", matchers))
        if name in RECORDS:
            assert chosen == FLEET.get(name, RECORDED), name
            continue
        assert name in known, f"{name} is no metric of semconv.py"
        metric = known[name]
        assert chosen == HONOURS[metric.name], name
        labels = {JOB, ENVIRONMENT, "le"}
        labels |= {prometheus_label(a) for a in metric.attributes}
        if metric.labelled:
            labels |= {prometheus_label(a) for a in sc.LABELS.values()}
        asked = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
        assert asked <= labels, f"{name} has no label {asked - labels}"
    bare = set(re.findall(r"\b(?:otelcol|budget)_\w+\b(?!\{)", re.sub(r'"[^"]*"', "", expr)))
    labels = {prometheus_label(value) for value in vars(sc).values() if isinstance(value, str)}
    assert bare - labels <= COLLECTOR


def test_every_metric_is_on_a_dashboard() -> None:
    """Itself, or what rules record of it."""
    asked: set[str] = set()
    todo = list(QUERIES.values())
    while todo:
        for name in set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", todo.pop())) - asked:
            asked.add(name)
            todo += [RECORDS[name]] if name in RECORDS else []
    known = series_names()
    assert {known[name].name for name in asked & known.keys()} == {m.name for m in sc.METRICS}


@pytest.mark.parametrize("name", NAMES)
def test_perses_shows_what_grafana_shows(name: str) -> None:
    """Titles, descriptions, queries, legends, thresholds and variables, panel by panel."""
    perses = PERSES[name]["spec"]
    drawn = {panel["spec"]["display"]["name"]: panel["spec"] for panel in perses["panels"].values()}
    assert len(drawn) == len(perses["panels"])
    assert list(drawn) == [panel["title"] for panel in panels(GRAFANA[name])]
    for panel in panels(GRAFANA[name]):
        other = drawn[panel["title"]]
        assert other["display"]["description"] == panel["description"]
        asked = [query["spec"]["plugin"]["spec"] for query in other.get("queries", ())]
        if panel.get("timeFrom"):  # a panel of Perses has no time of its own
            (query,) = asked
            assert "$__range" not in query["query"]
            continue
        assert [a["query"] for a in asked] == [
            t["expr"].replace(":regex}", "").replace("${", "$") for t in panel.get("targets", ())
        ]
        for ask, target in zip(asked, panel.get("targets", ()), strict=True):
            assert ask.get("seriesNameFormat", "__auto") == target["legendFormat"]
        if "thresholds" in other["plugin"]["spec"]:
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]
            mine = other["plugin"]["spec"]["thresholds"]["steps"]
            assert [s["value"] for s in mine] == [s["value"] for s in steps]
    placed = [i["content"]["$ref"] for layout in perses["layouts"] for i in layout["spec"]["items"]]
    assert placed == [f"#/spec/panels/{key}" for key in perses["panels"]]
    lists = drop_downs(GRAFANA[name])
    others = [v["spec"] for v in perses["variables"] if v["kind"] == "ListVariable"]
    assert others.pop()["plugin"]["spec"]["values"] == list(fleet_records.WINDOWS)
    for variable, other in zip(lists, others, strict=True):
        spec = other["plugin"]["spec"]
        query = f"label_values({scope.escaped(spec['matchers'][0])}, {spec['labelName']})"
        assert (other["name"], query) == (variable["name"], variable["query"]["query"])
        assert other["customAllValue"] == variable["allValue"] == ".*"


def test_spend_today_is_from_midnight_whatever_is_selected() -> None:
    (panel,) = (p for p in panels(GRAFANA["overview"]) if p["title"] == "Spend today (UTC)")
    assert panel["timeFrom"] == "now/d"
    assert GRAFANA["overview"]["timezone"] == "utc"
    assert "$__range" in panel["targets"][0]["expr"]
    cost = scope.Scope(q.Names()).select(sc.METRIC_COST)
    query = PERSES["overview"]["spec"]["panels"]["spend_today"]["spec"]["queries"][0]
    assert query["spec"]["plugin"]["spec"]["query"] == q.today(cost)


UNITS = {"currencyUSD": "usd", "percentunit": "percent-decimal", "s": "seconds"}


@pytest.mark.parametrize("name", NAMES)
def test_grafana_and_perses_show_the_same_units(name: str) -> None:
    spec = PERSES[name]["spec"]["panels"]
    for drawn, panel in zip(spec.values(), panels(GRAFANA[name]), strict=True):
        plugin = drawn["spec"]["plugin"]["spec"]
        found = plugin.get("format") or plugin.get("yAxis", {}).get("format")
        if found is None:
            continue
        unit = panel["fieldConfig"]["defaults"]["unit"]
        assert found["unit"] == UNITS.get(unit, found["unit"])
        assert (unit in UNITS) == (found["unit"] in UNITS.values())


def test_a_board_that_asks_every_process_asks_rarely() -> None:
    """And none can be told to ask more often than the records are made."""
    for name, dashboard in GRAFANA.items():
        exact = any(
            "[$__range]" in target["expr"] and scope.RECORDS not in target["expr"]
            for panel in panels(dashboard)
            for target in panel.get("targets", ())
            if sc.METRIC_COST.prometheus_name() in target["expr"]
        )
        assert exact == (name in ("overview", "drilldown"))
        rarely = {"health": "1m", "spend": "15m"}  # days are recorded every half hour
        assert dashboard["refresh"] == rarely.get(name, "5m")
        offered = dashboard["timepicker"]["refresh_intervals"]
        assert dashboard["refresh"] in offered
        assert offered[0] == fleet_records.WINDOWS[0]


def test_no_panel_shares_its_place() -> None:
    for dashboard in GRAFANA.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken
            taken |= cells


def test_the_variant_without_suffixes_asks_for_the_same_metrics(tmp_path: Path) -> None:
    assert main(["--no-suffixes", "--out", str(tmp_path)]) == 0
    for path, text in output.files(thresholds.load()).items():
        variant = (tmp_path / path).read_text()
        for name, metric in series_names().items():
            other = name.replace(
                metric.prometheus_name(), metric.prometheus_name(suffixes=False), 1
            )
            asked = bool(re.search(rf"\b{name}\b", text))
            assert asked == bool(re.search(rf"\b{other}\b", variant))
            assert other == name or not re.search(rf"\b{name}\b", variant)


def test_check_finds_a_file_that_was_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    assert main(["--out", str(tmp_path), "--check"]) == 0
    (tmp_path / "dashboards/grafana/overview.json").write_text("{}")
    assert main(["--out", str(tmp_path), "--check"]) == 1
    assert "dashboards/grafana/overview.json is out of date" in capsys.readouterr().err


def test_a_renamed_metric_breaks_the_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is committed no longer is what would be written, for dashboards and for rules."""
    renamed = Metric("budget.spend", "counter", "USD", "", sc.METRIC_COST.attributes)
    monkeypatch.setattr(sc, "METRIC_COST", renamed)
    stale = output.differing(output.files(thresholds.load()), ROOT)
    assert any(path.startswith("dashboards/grafana/") for path in stale)
    assert any(path.startswith("collector/prometheus/rules/") for path in stale)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("soft = 0.8", "soft = 'much'"), "utilization_soft must be of type float"),
        (("soft = 0.8", ""), "missing entry utilization_soft"),
        (("soft = 0.8", "soft = 0.8\nsofter = 0.7"), "unknown entry utilization_softer"),
        (("soft = 0.8", "soft ="), "Invalid value"),
        (("told = [0.5", "told = [1"), "utilization_told must be a list of numbers with a decimal"),
    ],
)
def test_a_wrong_threshold_is_said_in_a_sentence(
    change: tuple[str, str],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text(thresholds.DEFAULT_FILE.read_text().replace(*change))
    assert main(["--thresholds", str(file), "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


def test_a_changed_threshold_reaches_alert_and_dashboard(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.toml"
    text = thresholds.DEFAULT_FILE.read_text()
    file.write_text(text.replace("soft = 0.8", "soft = 0.7").replace("told = [0.5", "told = [0.6"))
    files = output.files(thresholds.load(file))
    limits = files["collector/prometheus/rules/llm-budget-limits.yml"]
    assert ">= 0.6" in limits
    assert '"60%"' in limits
    overview = json.loads(files["dashboards/grafana/overview.json"])
    table = next(p for p in panels(overview) if p["title"] == "Budgets, most urgent first")
    (used,) = (
        {each["id"]: each["value"] for each in override["properties"]}
        for override in table["fieldConfig"]["overrides"]
        if override["matcher"]["options"] == "Used"
    )
    assert used["thresholds"]["steps"][1]["value"] == 0.7


# -- the rules of Grafana's dashboard-linter ------------------------------------------------
#: Its rules that do not hold here, and why.
EXCLUDED = {
    "template-job": "the drop-down is called Service, after service.name, and its All is `.*`",
    "template-instance": "the SDK's instance ids are random: nobody can choose among them",
    "target-job": "the matcher is there, with $service; see HONOURS",
    "target-instance": "as template-instance",
    "target-counter-agg": "totals are differences of counters: increase() misses births",
    "target-rate-interval": "increase() and resets() over $__range stand beside those differences,"
    " for restarts; rates themselves use $__rate_interval (checked here)",
    "target-logql": "no logs are asked",
    "target-logql-auto": "no logs are asked",
}


@pytest.mark.parametrize("name", NAMES)
class TestLinter:
    def test_a_dashboard_is_uneditable_and_of_a_known_schema(self, name: str) -> None:
        dashboard = GRAFANA[name]
        assert dashboard["editable"] is False
        assert dashboard["schemaVersion"] == 42
        assert dashboard["uid"] == f"otel-budget-{name}"
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])

    def test_the_data_source_is_a_variable(self, name: str) -> None:
        found = [v for v in GRAFANA[name]["templating"]["list"] if v["type"] == "datasource"]
        assert [(v["name"], v["label"], v["query"]) for v in found] == [
            ("datasource", "Data Source", "prometheus")
        ]

    def test_each_variable_is_a_query_of_the_data_source(self, name: str) -> None:
        lists = drop_downs(GRAFANA[name])
        assert [v["name"] for v in lists] == [v.name for v in scope.VARIABLES]
        for variable in lists:
            assert variable["datasource"]["uid"] == "${datasource}"
            assert variable["refresh"] == 2  # template-on-time-change-reload
            assert variable["multi"]
            assert variable["includeAll"]
            selector = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert selector
            promql_parser.parse(substituted(selector[1]))  # template-label-promql

    def test_each_panel_follows_the_linters_rules(self, name: str) -> None:
        for panel in panels(GRAFANA[name]):
            assert panel["title"]
            assert panel["description"]
            if panel["type"] == "text":
                continue
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])

    def test_rates_use_the_rate_interval(self, name: str) -> None:
        for panel in panels(GRAFANA[name]):
            for target in panel.get("targets", ()):
                ranges = re.findall(r"\brate\([^[]*\[([^\]]+)\]", target["expr"])
                assert set(ranges) <= {"$__rate_interval"}


def test_each_excluded_linter_rule_has_its_reason() -> None:
    assert all(len(reason) > 10 for reason in EXCLUDED.values())
