"""The chart: accepted by helm, kubeconform and the Collector, and its gateway run as rendered."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.backends import BIN, SCHEMAS
from collector.schemas import PATTERN
from collector.stack import FOLDER, Stack, free_addresses, passwords
from collector.stack.services import Service
from otel_budget import semconv
from otel_budget.cli.files.command import write
from otel_budget.verify import collector
from support import chart, probes
from support.applications import Application, Scripted, deny

pytestmark = pytest.mark.backend("helm")
REMOTE = {
    "traces": {
        "endpoint": "tempo.example.com:443",
        "insecure": False,
        "headers": [{"name": "X-Scope-OrgID", "secret": "tempo", "key": "tenant"}],
    },
    "metrics": {
        "url": "https://mimir.example.com",
        "path": "/otlp",
        "headers": [{"name": "Authorization", "secret": "mimir", "key": "header"}],
    },
    "logs": {"url": "https://loki.example.com/otlp"},
    "auth": {"existingSecret": "otlp-token"},
    "redaction": {"existingSecret": "salt"},
    "certificates": {"existingSecret": "certificates"},
    "imagePullSecrets": [{"name": "registry"}],
    "gateway": {
        "overlays": ["redaction", "start-times", "tail-sampling"],
        "config": {"processors": {"memory_limiter": {"check_interval": "2s"}}},
        "tolerations": [{"key": "telemetry", "operator": "Exists"}],
        "queue": {"fsync": True, "storageClass": "fast"},
    },
    "agent": {"enabled": True, "hostPort": True, "podAnnotations": {"a": "b"}},
}
SETS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "defaults": ((), {}),
    "agent": (("agent.enabled=true",), {}),
    "no traces": (("traces.endpoint=",), {}),
    "operators": (chart.OPERATORS, {"perses": {"operator": True, "instanceSelector": {"a": "b"}}}),
    "remote": ((), REMOTE),
    "thresholds": (
        ("prometheusOperator.rules=true", "thresholds.burn_fast.share=0.3"),
        {"alerts": {"expectedServices": ["checkout"], "labels": {"team": "platform"}}},
    ),
}
#: Addresses that the cluster gives, and a stack's are instead.
LISTENS = ("OTELCOL_OTLP_GRPC", "OTELCOL_OTLP_HTTP", "OTELCOL_HEALTH", "OTELCOL_METRICS_PORT")


@cache
def rendered(name: str) -> list[dict[str, Any]]:
    values, more = SETS[name]
    return chart.render(*values, json={key: json.dumps(value) for key, value in more.items()})


def kubeconform(*files: Path) -> str:
    """What kubeconform complains of; it fetches nothing."""
    answer = subprocess.run(
        [BIN / "kubeconform", "-strict", "-schema-location", f"{SCHEMAS}/{PATTERN}", *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if answer.returncode == 0 else answer.stdout + answer.stderr


def written(folder: Path, objects: list[dict[str, Any]]) -> Path:
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    return file


def collectors(objects: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The pod of each Collector, and its configuration's files."""
    configs = {each["metadata"]["name"]: each for each in chart.of_kind(objects, "ConfigMap")}
    for kind in ("StatefulSet", "DaemonSet"):
        for each in chart.of_kind(objects, kind):
            pod = each["spec"]["template"]["spec"]
            (config,) = (v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v)
            yield pod, configs[config]["data"]


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Its variables; of a Secret's, the Secret's name."""
    return {
        each["name"]: each["value"]
        if "value" in each
        else each["valueFrom"]["secretKeyRef"]["name"]
        for each in container["env"]
    }


def test_helm_lints_what_the_checkout_and_the_wheel_carry(tmp_path: Path) -> None:
    write(tmp_path)
    for place in (chart.CHART, tmp_path / "collector" / "kubernetes"):
        answer = chart.helm("lint", "--strict", "--kube-version", chart.KUBERNETES, place)
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.backend("kubeconform")
@pytest.mark.parametrize("name", SETS)
def test_every_object_is_one_that_kubernetes_and_the_operators_know(
    name: str, tmp_path: Path
) -> None:
    assert kubeconform(written(tmp_path, rendered(name))) == ""


@pytest.mark.backend("kubeconform")
def test_the_examples_are_objects_that_kubernetes_and_the_operators_know() -> None:
    assert kubeconform(*sorted((chart.CHART / "examples").glob("*.yaml"))) == ""


@pytest.mark.backend("kubeconform")
@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("StatefulSet", "spec.template.spec.containers.0"),
        ("NetworkPolicy", "spec.ingress.0"),
        ("PodMonitor", "spec.podMetricsEndpoints.0"),
        ("PrometheusRule", "spec.groups.0.rules.0"),
        ("GrafanaDashboard", "spec.configMapRef"),
        ("PersesDashboard", "spec.config"),
    ],
)
def test_a_misspelt_field_is_found(kind: str, where: str, tmp_path: Path) -> None:
    misspelt = deepcopy(chart.of_kind(rendered("operators"), kind)[0])
    place: Any = misspelt
    for step in where.split("."):
        place = place[int(step) if step.isdigit() else step]
    place["mispelt"] = "x"
    assert "mispelt" in kubeconform(written(tmp_path, [misspelt]))


@pytest.mark.backend("otelcol")
@pytest.mark.parametrize("name", SETS)
def test_the_collector_accepts_its_configuration(name: str, tmp_path: Path) -> None:
    for pod, files in collectors(rendered(name)):
        (container,) = pod["containers"]
        for file, text in files.items():
            (tmp_path / file).write_text(text)
        arguments = [each.replace("/etc/otelcol", str(tmp_path)) for each in container["args"]]
        answer = subprocess.run(
            [BIN / "otelcol", "validate", *arguments],
            env=environment(container),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize("name", ["defaults", "remote"])
def test_collectors_may_do_nothing_that_they_need_not(name: str) -> None:
    for pod, _ in collectors(rendered(name)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in (*pod["initContainers"], *pod["containers"]):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert re.fullmatch(r"\S+:[\d.]+\S*", container["image"])
            assert "memory" in container["resources"]["limits"]


def test_no_secret_is_in_the_chart_and_nothing_is_open_to_a_browser() -> None:
    text = chart.template(*chart.OPERATORS, "agent.enabled=true").stdout
    assert "kind: Secret" not in text
    for switch in ("cors", "enable-lifecycle", "remote-write-receiver", "enableRemoteWrite"):
        assert switch not in text


class ChartStack(Stack):
    """A stack whose Collector is a rendered one.

    Args:
        directory: As a stack's.
        values: Of the chart; the backends' addresses are given, too.
        component: Which Collector.
        secrets: What the variables that come from Secrets hold.
        more: Variables that the cluster's addresses need other values of.
        programs: As a stack's.
    """

    def __init__(
        self,
        directory: Path,
        values: dict[str, Any],
        *,
        component: str = "gateway",
        secrets: dict[str, str] | None = None,
        more: dict[str, str] | None = None,
        programs: Sequence[str] = ("otelcol",),
    ) -> None:
        super().__init__(directory, addresses=free_addresses(), programs=programs)
        metrics = {
            "url": self.environment["PROMETHEUS_URL"],
            "headers": [{"name": "Authorization", "secret": "login", "key": "header"}],
        }
        traces = {"endpoint": self.environment["JAEGER_OTLP"]}
        given = {"traces": traces, "metrics": metrics, **values}
        objects = chart.render(json={key: json.dumps(value) for key, value in given.items()})
        mine = {"gateway": 0, "agent": -1}[component]
        self.pod, self.files = list(collectors(objects))[mine]
        login = {"METRICS_HEADER_0": passwords.header(self.password)}
        self.secrets = (login if component == "gateway" else {}) | (secrets or {})
        self.more = more or {}

    def _otelcol(self) -> Service:
        service = super()._otelcol()
        folder = self.directory / "otelcol"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (folder / name).write_text(text)
        (container,) = self.pod["containers"]
        command = [*container["command"], *container["args"]]
        for there, here in {
            "/shell/": "",
            "/etc/otelcol": str(folder),
            "/otelcol-contrib": str(BIN / "otelcol"),
        }.items():
            command = [each.replace(there, here) for each in command]
        variables = {
            each["name"]: each["value"].replace("/var/lib/otelcol", str(self.directory / "data"))
            for each in container["env"]
            if "value" in each
        }
        asked = {each["name"] for each in container["env"] if "valueFrom" in each}
        assert asked == set(self.secrets)
        service.command = command
        here = {name: self.environment[name] for name in LISTENS} | {"PATH": os.environ["PATH"]}
        service.environment = variables | self.secrets | here | self.more
        self.queue = Path(variables["OTELCOL_QUEUE_DIR"])
        return service


def refuse(stack: Stack, **headers: str) -> None:
    """An application's call that its guard refuses."""
    with Application(stack.otlp_grpc, "chart", headers=headers) as app:
        inner = Scripted()
        inner.answer = deny("no money")
        app.instrument(inner).check_before_llm("s", 10)
        app.flush()


def denials(stack: Stack) -> int:
    return len(probes.spans(stack.jaeger, "chart", **{semconv.DECISION.replace(".", "__"): "deny"}))


DENIED = 'sum(budget_threshold_hits_total{job="chart",budget_kind="hard"})'


@pytest.mark.backend
def test_a_denial_waits_on_disk_for_its_backends_also_through_a_kill(directory: Path) -> None:
    with ChartStack(directory, {}, programs=("jaeger", "prometheus", "otelcol")) as stack:
        stack.kill("jaeger")
        stack.kill("prometheus")
        refuse(stack)
        assert list(stack.queue.iterdir())
        stack.kill("otelcol")
        for name in ("jaeger", "prometheus", "otelcol"):
            stack.launch(name)
        assert probes.eventually(lambda: denials(stack)) == 1
        assert probes.eventually(lambda: probes.total(stack.prometheus, DENIED)) == 1


@pytest.mark.backend
def test_an_agent_passes_a_denial_on_with_the_token(directory: Path) -> None:
    values: dict[str, Any] = {
        "agent": {"enabled": True},
        "auth": {"existingSecret": "otlp-token"},
        "gateway": {"overlays": ["tail-sampling", "redaction"], "samplingPercent": 0},
        "redaction": {"existingSecret": "salt"},
    }
    token = {"OTELCOL_TOKEN": "secret"}
    with ChartStack(
        directory / "gateway",
        values,
        secrets=token | {"OTELCOL_REDACTION_SALT": "salt"},
        programs=("jaeger", "prometheus", "otelcol"),
    ) as stack:
        gateway = stack.addresses["OTELCOL_OTLP_GRPC"]
        to = {"OTELCOL_GATEWAY": gateway, "OTELCOL_GATEWAYS": json.dumps([gateway])}
        with ChartStack(
            directory / "agent", values, component="agent", secrets=token, more=to
        ) as agent:
            refuse(agent, authorization="Bearer wrong")
            refuse(agent, authorization="Bearer secret")
            assert probes.eventually(lambda: denials(stack)) == 1
            assert probes.eventually(lambda: probes.total(stack.prometheus, DENIED)) == 1


@pytest.mark.backend
def test_without_a_place_for_traces_none_wait_for_one(directory: Path) -> None:
    values = {"traces": {"endpoint": ""}}
    with ChartStack(directory, values, programs=("prometheus", "otelcol")) as stack:
        refuse(stack)
        assert probes.eventually(lambda: probes.total(stack.prometheus, DENIED)) == 1
        told = collector.metrics(stack.collector_metrics)
        assert told.values
        assert told.waiting("traces") == []


def test_the_gateways_files_are_those_of_the_collector() -> None:
    ((_, files),) = collectors(rendered("defaults"))
    for name in ("config.yaml", "start.sh"):
        assert files[name] == (FOLDER / name).read_text()
