"""Drop-downs choose tenants, agents and models whatever they are called: on a real Prometheus."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import WEB
from collector.stack import Stack
from dashboards.builder import queries as q
from dashboards.builder import scope
from dashboards.builder.labels import TENANT
from otel_budget import semconv as sc
from otel_budget.verify.http import ask
from promtool import backend
from support.missing import skip_or_fail
from support.probes import eventually, get_json
from test_dashboards import GRAFANA, PERSES, drop_downs

NAMES = (
    "acme",
    "bob+test@corp.com",
    "bobbtest@corp.com",
    "Acme (EU)",
    "a.b",
    "axb",
    "d'Arc",
    'say "hi"',
    "back\\slash",
    "C:\\new",
    "a|b",
    "$5 {a} [b] ^*?",
    "$'s",
    "Größe/2",
)
#: Every metric behind a drop-down, with every label that one chooses.
METRICS = (
    sc.METRIC_DECISIONS,
    sc.METRIC_CONSUMED,
    sc.METRIC_CALLS,
    sc.METRIC_COST,
    sc.METRIC_THRESHOLD_HITS,
)
LABELS = (sc.TENANT, sc.AGENT, sc.PRINCIPAL, sc.METRIC_MODEL, sc.RESOURCE)
TENANTS_SPEND = scope.Scope(q.Names()).select(sc.METRIC_COST)


def _attributes(pairs: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items()]


def _resource(name: str) -> dict[str, Any]:
    stamp = str(time.time_ns())
    point = {
        "attributes": _attributes(dict.fromkeys(LABELS, name)),
        "asDouble": 1.0,
        "timeUnixNano": stamp,
    }
    metrics: list[dict[str, Any]] = []
    for metric in METRICS:
        body: dict[str, Any] = {"dataPoints": [point]}
        if metric.kind == "counter":
            body |= {"aggregationTemporality": 2, "isMonotonic": True}
        kind = "sum" if metric.kind == "counter" else "gauge"
        metrics.append({"name": metric.name, "unit": metric.unit, kind: body})
    resource = {
        "service.name": name,
        "service.instance.id": "1",
        "deployment.environment.name": name,
    }
    return {
        "resource": {"attributes": _attributes(resource)},
        "scopeMetrics": [{"metrics": metrics}],
    }


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    """A Prometheus with a service, a tenant and so on of each name."""
    backend("prometheus")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(Path(directory), programs=["prometheus"]) as stack,
    ):
        body = json.dumps({"resourceMetrics": [_resource(name) for name in NAMES]}).encode()
        url = f"{stack.prometheus}/api/v1/otlp/v1/metrics"
        assert ask(url, data=body, headers={"Content-Type": "application/json"}).status == 200
        series = q.selector(q.Names().of(sc.METRIC_COST))
        assert eventually(lambda: len(_tenants(stack.prometheus, series)) == len(NAMES))
        yield stack.prometheus


def _tenants(prometheus: str, selector: str) -> list[str]:
    answer = get_json(f"{prometheus}/api/v1/query", {"query": selector})
    return sorted(row["metric"][TENANT] for row in answer["data"]["result"])


def _by_grafana(query: str, chosen: dict[str, list[str]]) -> str:
    """Grafana's `${name:regex}`; All is put in as it is."""
    for variable in scope.VARIABLES:
        names = chosen.get(variable.name, ())
        values = [re.sub(r"[\\^$*+?.()|[\]{}/]", r"\\\g<0>", name) for name in names]
        pattern = f"({'|'.join(values)})" if len(values) > 1 else "".join(values)
        query = query.replace(f"${{{variable.name}:regex}}", pattern or scope.ALL_VALUE)
    return query


def _by_the_page(query: str, chosen: dict[str, list[str]]) -> str:
    """What the page's own code and Perses' make of it, in Node.js."""
    interpolation = WEB / "node_modules/@perses-dev/plugin-system/dist/utils/variables.js"
    if not interpolation.is_file():
        skip_or_fail("the page's packages are missing: run dashboards/web/setup.sh")
    values = {v.name: {"value": chosen.get(v.name, scope.ALL_VALUE)} for v in scope.VARIABLES}
    program = f"""
        import {{ withNames }} from "{WEB}/src/patterns.js";
        import {{ readFileSync }} from "node:fs";
        const code = readFileSync("{interpolation}", "utf8");
        const perses = await import("data:text/javascript," + encodeURIComponent(code));
        const asked = (spec, context) => perses.replaceVariables(spec.query, context.variableState);
        const plugins = withNames({{
          PrometheusTimeSeriesQuery: {{ getTimeSeriesData: asked }},
          PrometheusLabelValuesVariable: {{}},
        }});
        const [query, variableState] = JSON.parse(process.argv[1]);
        const plugin = plugins.PrometheusTimeSeriesQuery;
        process.stdout.write(plugin.getTimeSeriesData({{ query }}, {{ variableState }}));
    """
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program, json.dumps([query, values])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("chosen", [*([name] for name in NAMES), list(NAMES[1:4]), []], ids=str)
def test_a_query_finds_what_is_chosen_and_nothing_else(prometheus: str, chosen: list[str]) -> None:
    expected = sorted(chosen or NAMES)
    tenants = {"tenant": chosen} if chosen else {}
    assert _tenants(prometheus, _by_grafana(scope.escaped(TENANTS_SPEND), tenants)) == expected
    assert _tenants(prometheus, _by_the_page(TENANTS_SPEND, tenants)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_each_drop_down_narrows_the_next_by_the_name(prometheus: str, name: str) -> None:
    chosen = {variable.name: [name] for variable in scope.VARIABLES}
    for variable, other in zip(
        drop_downs(GRAFANA["overview"]), PERSES["overview"]["spec"]["variables"], strict=False
    ):
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found
        (matcher,) = other["spec"]["plugin"]["spec"]["matchers"]
        narrowed = variable["name"] != "service"
        for selector in (_by_grafana(found[1], chosen), _by_the_page(matcher, chosen)):
            answer = get_json(f"{prometheus}/api/v1/label/{found[2]}/values", {"match[]": selector})
            assert sorted(answer["data"]) == ([name] if narrowed else sorted(NAMES))


@pytest.mark.parametrize("board", GRAFANA)
def test_no_query_holds_a_name_in_a_string_with_escapes(board: str) -> None:
    """And none of Grafana's leaves the escaping to its data source, which forgets quotes."""
    for variable in scope.VARIABLES:
        for text in (json.dumps(GRAFANA[board]), json.dumps(PERSES[board])):
            assert f'=~\\"${variable.name}' not in text
        assert f"`${variable.name}`" not in json.dumps(GRAFANA[board])
    assert "`$tenant`" in json.dumps(PERSES[board])
