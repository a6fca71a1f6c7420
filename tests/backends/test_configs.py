"""Every shipped YAML file: accepted by its program, and consistent with the others."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.backends import BIN, SOURCES
from collector.stack import FOLDER

OVERLAYS = sorted(file.stem for file in (FOLDER / "overlays").glob("*.yaml"))
#: All orders of no interest: one Collector is either a gateway or sends to gateways.
COMBINATIONS = [
    (),
    *[(name,) for name in OVERLAYS],
    *itertools.combinations([name for name in OVERLAYS if name != "gateway"], 2),
    ("gateway", "redaction", "auth"),
]


def run(
    program: str, *arguments: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / program, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def collector_configs(overlays: Iterable[str]) -> list[str | Path]:
    files = [FOLDER / "config.yaml", *(FOLDER / "overlays" / f"{name}.yaml" for name in overlays)]
    return [argument for file in files for argument in ("--config", file)]


@pytest.mark.backend("otelcol")
@pytest.mark.parametrize("overlays", COMBINATIONS, ids="+".join)
def test_the_collector_accepts_its_configuration(overlays: tuple[str, ...]) -> None:
    answer = run("otelcol", "validate", *collector_configs(overlays), OTELCOL_TOKEN="secret")
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.backend("otelcol")
def test_without_a_token_the_auth_overlay_does_not_start() -> None:
    answer = run("otelcol", "validate", *collector_configs(["auth"]))
    assert answer.returncode != 0
    assert "no bearer token provided" in answer.stderr


@pytest.mark.backend("promtool")
def test_prometheus_accepts_its_configuration() -> None:
    answer = run("promtool", "check", "config", FOLDER / "prometheus" / "prometheus.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.backend("amtool")
def test_alertmanager_accepts_its_configuration() -> None:
    answer = run("amtool", "check-config", FOLDER / "alertmanager" / "alertmanager.yml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.backend("jaeger")
def test_jaeger_accepts_its_configuration() -> None:
    answer = run("jaeger", "validate", "--config", FOLDER / "jaeger" / "jaeger.yaml")
    assert answer.returncode == 0, answer.stdout + answer.stderr


# -- without programs --------------------------------------------------------------------------
def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def all_collector_files() -> list[Path]:
    return [FOLDER / "config.yaml", *sorted((FOLDER / "overlays").glob("*.yaml"))]


def test_the_manifest_has_exactly_the_components_used() -> None:
    used = {
        (kind, name.partition("/")[0])
        for file in all_collector_files()
        for kind, components in load(file).items()
        if kind != "service"
        for name in components
    }
    # The name a component has in a configuration, by the module that provides it.
    special = {"otlp": "otlp_grpc", "otlphttp": "otlp_http", "filestorage": "file_storage"}
    manifest = load(FOLDER / "builder.yaml")
    built = set()
    for kind in ("receivers", "processors", "exporters", "connectors", "extensions"):
        for entry in manifest[kind]:
            module = entry["gomod"].split()[0].rpartition("/")[2]
            name = re.sub(f"{kind[:-1]}$", "", module)
            if kind in ("exporters", "extensions"):
                name = special.get(name, name)
            built.add((kind, name))
    assert {(k, name.replace("_", "")) for k, name in used} == {
        (k, name.replace("_", "")) for k, name in built
    }


def test_the_committed_collector_matches_the_manifest() -> None:
    manifest = load(FOLDER / "builder.yaml")
    wanted = {
        entry["gomod"] for kind, entries in manifest.items() if kind != "dist" for entry in entries
    }
    folder = SOURCES / "otelcol"
    required = set(re.findall(r"^\s+(\S+ v\S+)$", (folder / "go.mod").read_text(), re.M))
    assert wanted <= required
    sources = (folder / "components.go").read_text() + (folder / "main.go").read_text()
    assert wanted == set(re.findall(r'"(\S+ v[\d.]+)"', sources))
    assert f'Version:     "{manifest["dist"]["version"]}"' in sources


def test_every_component_is_in_a_pipeline_and_none_is_the_old_batch() -> None:
    for file in all_collector_files():
        config = load(file)
        service = config.get("service", {})
        used = set(service.get("extensions", ()))
        for pipeline in service.get("pipelines", {}).values():
            for names in pipeline.values():
                used |= set(names)
        defined = {
            name for kind, components in config.items() if kind != "service" for name in components
        }
        if file.name in ("auth.yaml", "distributed-store.yaml"):
            defined -= {"otlp", "otlp_http/prometheus"}  # they only say more of what is there
        assert defined <= used, file.name
        assert "batch" not in config.get("processors", {})


def test_every_address_is_a_variable_and_on_loopback_by_default() -> None:
    files = [*all_collector_files(), FOLDER / "jaeger" / "jaeger.yaml"]
    for file in files:
        for line in file.read_text().splitlines():
            key, _, value = line.strip().partition(": ")
            if key in ("endpoint", "host", "port", "hostnames"):
                assert re.match(r"\$\{env:[A-Z_]+:-", value), f"{file.name}: {line}"
        text = file.read_text()
        assert "0.0.0.0" not in text
        for host in re.findall(r"([\w.]+):\d{4,5}\b", text):
            assert host == "127.0.0.1", file.name


def test_every_queue_is_on_disk_and_never_gives_up() -> None:
    shipped = load(FOLDER / "config.yaml")["exporters"]
    for file in all_collector_files():
        for name, said in load(file).get("exporters", {}).items():
            exporter = shipped.get(name, {}) | said
            if name.partition("/")[0] in ("file", "prometheus"):
                continue
            assert exporter["sending_queue"]["storage"] == "file_storage", name
            assert exporter["retry_on_failure"]["max_elapsed_time"] == 0, name
