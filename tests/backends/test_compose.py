"""compose.yaml, as far as a machine without containers can check it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from collector.backends import BIN, SOURCES
from collector.stack import FOLDER, Stack

COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOT_ENV = dict(
    line.split("=", 1)
    for line in (FOLDER / ".env").read_text().splitlines()
    if line and not line.startswith("#")
)
PROGRAMS = {"otelcol", "prometheus", "alertmanager", "jaeger", "grafana"}
#: Run once, before the others.
ONCE = {"volumes", "passwords"}


def test_compose_has_the_whole_stack() -> None:
    assert set(SERVICES) == PROGRAMS | ONCE


def test_every_variable_is_set_or_required() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", text):
        assert name in DOT_ENV or rest.startswith((":-", ":?")), name


def test_images_are_named_in_one_place_and_pinned_to_what_is_built() -> None:
    for service in SERVICES.values():
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE\}", service["image"])
    for name, image in DOT_ENV.items():
        if name.endswith("_IMAGE"):
            assert re.search(r":v?\d+\.\d+\.\d+(-musl)?$", image), image
    assert (
        _tag("OTELCOL") == yaml.safe_load((FOLDER / "builder.yaml").read_text())["dist"]["version"]
    )
    # Module v0.316.0 of Prometheus is its release 3.16.0.
    major, minor, patch = _tag("PROMETHEUS").removeprefix("v").split(".")
    assert _required("prometheus") == f"v0.{int(major) * 100 + int(minor)}.{patch}"
    assert _required("alertmanager") == _tag("ALERTMANAGER")
    # Module v1.62.0 is the release candidate of Jaeger 2.0.0; its later tags do not build.
    assert (_required("jaeger"), _tag("JAEGER")) == ("v1.62.0", "2.0.0")


def _tag(name: str) -> str:
    return DOT_ENV[f"{name}_IMAGE"].rpartition(":")[2]


def _required(folder: str) -> str:
    text = (SOURCES / folder / "go.mod").read_text()
    found = re.search(rf"github.com/\w+/{folder} (v\S+)", text)
    assert found is not None
    return found[1]


def test_every_mounted_file_and_volume_exists() -> None:
    for name, service in SERVICES.items():
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("."):
                assert mount.endswith(":ro"), mount
                assert (FOLDER / source).exists(), f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"


def test_every_port_is_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 7
    for port in published:
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+_PORT\}:\d+", port), port
    assert not any("network_mode" in s for n, s in SERVICES.items() if n not in ONCE)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_contained(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    user = service["user"].split(":")[0]
    if name in ONCE:  # without a network, with the only capability it needs
        assert (user, service["network_mode"], service["cap_add"]) == ("0", "none", ["CHOWN"])
    else:
        assert int(user) > 0
        assert ("healthcheck" in service) == (name != "otelcol")


def test_grafana_lets_nobody_in_without_the_password() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_PASSWORD:?")
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert "GRAFANA_PASSWORD" not in DOT_ENV


def test_grafanas_provisioning_fits_compose_and_the_dashboards() -> None:
    folder = FOLDER / "grafana" / "provisioning"
    text = (folder / "datasources" / "datasources.yaml").read_text()
    sources = yaml.safe_load(text)["datasources"]
    assert {(source["uid"], source["type"]) for source in sources} == {
        ("prometheus", "prometheus"),
        ("jaeger", "jaeger"),
    }
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= set(SERVICES["grafana"]["environment"])
    (provider,) = yaml.safe_load((folder / "dashboards" / "dashboards.yaml").read_text())[
        "providers"
    ]
    mounted = {mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted


def test_every_variable_given_to_a_program_is_one_that_its_files_read() -> None:
    files = {
        "otelcol": [FOLDER / "config.yaml", *(FOLDER / "overlays").glob("*.yaml")],
        "jaeger": [FOLDER / "jaeger" / "jaeger.yaml"],
    }
    for name, read in files.items():
        known = {
            variable for file in read for variable in re.findall(r"\$\{env:(\w+)", file.read_text())
        }
        assert set(SERVICES[name]["environment"]) - {"GOMEMLIMIT", "PATH"} <= known


def test_the_programs_find_each_other() -> None:
    otelcol = SERVICES["otelcol"]["environment"]
    assert otelcol["JAEGER_OTLP"].split(":") == [
        "jaeger", SERVICES["jaeger"]["environment"]["JAEGER_OTLP"].split(":")[1],
    ]  # fmt: skip
    folder = FOLDER / "prometheus"
    shipped = {file.name for file in (folder / "targets").iterdir()}
    assert {file.name for file in (folder / "targets-compose").iterdir()} == shipped
    for name in shipped:
        (here,), (there,) = (
            yaml.safe_load((folder / which / name).read_text())[0]["targets"]
            for which in ("targets", "targets-compose")
        )
        assert here.split(":")[1] == there.split(":")[1]
        assert there.split(":")[0] == Path(name).stem in SERVICES


def test_prometheus_is_started_as_by_make_stack(directory: Path) -> None:
    """Except for addresses and paths."""
    ours = Stack(directory)._prometheus().command[1:]
    command = SERVICES["prometheus"]["command"]
    features = {flag for flag in ours if "enable" in flag or "cors" in flag}
    assert len(features) == 3
    assert features == {flag for flag in command if "enable" in flag or "cors" in flag}


@pytest.mark.backend("promtool")
def test_the_first_start_makes_a_password_and_later_ones_keep_it(directory: Path) -> None:
    """The script itself, with a stand-in for the image's htpasswd."""
    service = SERVICES["passwords"]
    (directory / "htpasswd").write_text(
        f"#!{sys.executable}\nimport bcrypt, sys\n"
        "hashed = bcrypt.hashpw(sys.stdin.buffer.read(), bcrypt.gensalt(4)).decode()\n"
        "print(f'{sys.argv[-1]}:{hashed}\\n')\n"
    )
    (directory / "htpasswd").chmod(0o755)
    secrets = directory / "secrets"
    secrets.mkdir()
    *shell, script = service["command"]
    before = {}
    for _ in range(2):
        subprocess.run(
            [*shell, "chown() { :; }\n" + script.replace("$$", "$")],
            cwd=secrets,
            env={
                "PATH": f"{directory}:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(sys.path),
                **service["environment"],
            },
            check=True,
        )
        files = {file.name: file.read_text() for file in secrets.iterdir()}
        assert files == before or not before
        before = files
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o600}
    password = files["password"]
    assert re.fullmatch(r"[\w-]{32}", password)
    hashed = yaml.safe_load(files["web.yml"])["basic_auth_users"]["otel-budget"]
    assert bcrypt.checkpw(password.encode(), hashed.encode())
    subprocess.run([BIN / "promtool", "check", "web-config", secrets / "web.yml"], check=True)
    # Where the programs look for it.
    for name, place in (("alertmanager", "/etc/alertmanager"), ("prometheus", "/etc/prometheus")):
        assert f"secrets:{place}/secrets:ro" in SERVICES[name]["volumes"]
    assert (
        "--web.config.file=/etc/alertmanager/secrets/web.yml" in SERVICES["alertmanager"]["command"]
    )
    login = yaml.safe_load(files["amtool.yml"])["basic_auth"]
    assert login["password_file"] == "/etc/alertmanager/secrets/password"
