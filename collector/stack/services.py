"""How each program of a stack is started from the shipped files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from collector.backends import BIN
from collector.stack import passwords
from collector.stack.addresses import Addresses, free_addresses, variable_value

FOLDER = Path(__file__).resolve().parents[1]
#: What Prometheus stores and uses start times with; experimental, for the overlay of that name.
START_TIMES = ("st-storage", "use-start-timestamps")


@dataclass
class Service:
    """One process: how it is started, and which URLs answer 200 once it is ready."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    ready: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self.process is not None and self.process.poll() is None


class Services(Addresses):
    """The programs with the addresses, folders and variables of one stack; arguments as there."""

    def __init__(
        self,
        directory: Path,
        *,
        overlays: Sequence[str | Path] = (),
        addresses: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        interval: int | None = None,
    ) -> None:
        super().__init__(free_addresses() if addresses is None else addresses)
        self.directory = directory.resolve()
        self.environment = {**self._variables(), **(environment or {})}
        self.overlays = tuple(overlays)
        self.interval = interval

    @property
    def audit_file(self) -> Path:
        """The threshold events, one OTLP JSON object per line."""
        return Path(self.environment["OTELCOL_AUDIT_FILE"])

    def service(self, name: str) -> Service:
        """The named program, not started yet; writes the files it needs."""
        service: Service = getattr(self, f"_{name}")()
        return service

    def _variables(self) -> dict[str, str]:
        variables = {
            variable: variable_value(variable, address)
            for variable, address in self.addresses.items()
        }
        return variables | {
            "PROMETHEUS_URL": self._url("PROMETHEUS_ADDRESS"),
            "PROMETHEUS_AUTHORIZATION": passwords.header(self.password),
            "OTELCOL_QUEUE_DIR": str(self.directory / "queue"),
            "OTELCOL_AUDIT_FILE": str(self.directory / "audit" / "threshold-hits.jsonl"),
            "JAEGER_DATA_DIR": str(self.directory / "jaeger"),
        }

    def _service(self, name: str, arguments: Iterable[str], *ready: str) -> Service:
        return Service(
            name=name,
            command=[str(BIN / name), *arguments],
            environment=self.environment,
            ready=ready,
            log=self.directory / "logs" / f"{name}.log",
        )

    def _otelcol(self) -> Service:
        overlays = [
            FOLDER / "overlays" / f"{overlay}.yaml" if isinstance(overlay, str) else overlay
            for overlay in self.overlays
        ]
        files = [FOLDER / "config.yaml", *overlays]
        arguments = [argument for file in files for argument in ("--config", str(file))]
        service = self._service("otelcol", arguments, self.collector_health)
        service.command = ["sh", str(FOLDER / "start.sh"), *service.command]
        return service

    def _jaeger(self) -> Service:
        arguments = ["--config", str(FOLDER / "jaeger" / "jaeger.yaml")]
        # Jaeger reports that it is healthy before its query server listens.
        ready = (self._url("JAEGER_HEALTH") + "/status", self.jaeger + "/api/services")
        return self._service("jaeger", arguments, *ready)

    def _prometheus(self) -> Service:
        configuration = self._render_prometheus()
        features = ["exemplar-storage", *(START_TIMES if "start-times" in self.overlays else ())]
        arguments = [
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self.directory / 'prometheus-data'}",
            f"--web.listen-address={self.addresses['PROMETHEUS_ADDRESS']}",
            "--storage.tsdb.retention.time=63d",  # as in compose.yaml
            "--web.enable-otlp-receiver",
            "--web.cors.origin=none",
            f"--web.config.file={self._web_config()}",
            f"--enable-feature={','.join(features)}",
        ]
        return self._service("prometheus", arguments, self.prometheus + "/-/ready")

    def _alertmanager(self) -> Service:
        arguments = [
            f"--config.file={FOLDER / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={self.directory / 'alertmanager-data'}",
            f"--web.listen-address={self.addresses['ALERTMANAGER_ADDRESS']}",
            "--cluster.listen-address=",
            f"--web.config.file={self._web_config()}",
        ]
        return self._service("alertmanager", arguments, self.alertmanager + "/-/ready")

    def _web_config(self) -> Path:
        """Beside Prometheus' configuration, which names the password by a relative path."""
        return passwords.write(self.directory / "prometheus" / "secrets", self.password)

    def _render_prometheus(self) -> Path:
        """The shipped folder with this stack's addresses as targets."""
        folder = self.directory / "prometheus"
        for written in ("rules", "targets"):  # an earlier run may have had others
            shutil.rmtree(folder / written, ignore_errors=True)
        shutil.copytree(FOLDER / "prometheus", folder, dirs_exist_ok=True)
        targets = {
            "prometheus": "PROMETHEUS_ADDRESS",
            "otelcol": "OTELCOL_METRICS_PORT",
            "jaeger": "JAEGER_METRICS_PORT",
            "alertmanager": "ALERTMANAGER_ADDRESS",
        }
        if "scrape" in self.overlays:
            targets["scrape"] = "OTELCOL_SCRAPE"
        for name, variable in targets.items():
            file = folder / "targets" / f"{name}.yml"
            file.write_text(yaml.safe_dump([{"targets": [self.addresses[variable]]}]))
        configuration = folder / "prometheus.yml"
        if self.interval is not None:
            loaded: dict[str, Any] = yaml.safe_load(configuration.read_text())
            interval = f"{self.interval}s"
            loaded["global"] |= {"scrape_interval": interval, "evaluation_interval": interval}
            configuration.write_text(yaml.safe_dump(loaded))
            for file in (folder / "rules").glob("*.yml"):
                rules: dict[str, Any] = yaml.safe_load(file.read_text())
                for group in rules["groups"]:
                    # What is recorded for each minute is recorded once a minute, but now.
                    if group.pop("query_offset", None) is None:
                        group.pop("interval", None)
                file.write_text(yaml.safe_dump(rules))
        return configuration
