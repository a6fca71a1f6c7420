"""Where the programs of a stack listen."""

from __future__ import annotations

import atexit
import os
import random
import secrets
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from collector.stack import passwords

HOST = "127.0.0.1"
#: Every address of the stack by its environment variable. A variable that ends in PORT holds only
#: the port, because its program takes host and port separately.
DEFAULT_PORTS: Mapping[str, int] = {
    "OTELCOL_OTLP_GRPC": 4317,
    "OTELCOL_OTLP_HTTP": 4318,
    "OTELCOL_HEALTH": 13133,
    "OTELCOL_METRICS_PORT": 8888,
    "OTELCOL_SCRAPE": 8889,
    "JAEGER_OTLP": 14317,
    "JAEGER_QUERY": 16686,
    "JAEGER_QUERY_GRPC": 16685,
    "JAEGER_HEALTH": 13134,
    "JAEGER_METRICS_PORT": 8887,
    "PROMETHEUS_ADDRESS": 9090,
    "ALERTMANAGER_ADDRESS": 9093,
}


class StackError(Exception):
    """Something the user can fix; the message is one sentence that says how."""


def variable_value(variable: str, address: str) -> str:
    """What the variable holds for this ``host:port``."""
    return address.rpartition(":")[2] if variable.endswith("PORT") else address


#: Ports that are given out together; the first of them is bound as long as this process lives.
_BLOCK = 20
_claims: Final = ExitStack()
atexit.register(_claims.close)


def free_addresses() -> dict[str, str]:
    """Free loopback addresses, one for each variable of `DEFAULT_PORTS`.

    Their ports are below the range that the system uses for outgoing connections, so that a
    program that was killed can come back to its port; and in a block that no other process is given
    while this one lives, so that two runs of the tests never choose the same.
    """
    blocks = range(20000, 32000, _BLOCK)
    for first in random.sample(blocks, len(blocks)):
        claim = socket.socket()
        try:
            claim.bind((HOST, first))
        except OSError:
            claim.close()
            continue
        free = [port for port in range(first + 1, first + _BLOCK) if _is_free(HOST, port)]
        if len(free) < len(DEFAULT_PORTS):
            claim.close()
            continue
        _claims.enter_context(claim)
        return {
            variable: f"{HOST}:{port}" for variable, port in zip(DEFAULT_PORTS, free, strict=False)
        }
    raise StackError("No free ports were found between 20000 and 32000.")


def check_free(addresses: Mapping[str, str]) -> None:
    """Raise `StackError`, with a free address to choose, where something listens already."""
    for variable, address in addresses.items():
        host, _, port = address.rpartition(":")
        if not _is_free(host, int(port)):
            other = variable_value(variable, free_addresses()[variable])
            raise StackError(
                f"Port {port} on {host} is in use; stop what listens there, or choose another "
                f"with {variable}={other}."
            )


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


class Addresses:
    """The addresses of one stack, as its users need them.

    Args:
        addresses: ``host:port`` by the variables of `DEFAULT_PORTS`.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = dict(addresses)
        self.password = secrets.token_urlsafe(24)

    @staticmethod
    def default_addresses(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The documented addresses, where `environment` does not name others.

        Raises:
            StackError: A variable does not hold an address.
        """
        addresses = {}
        for variable, port in DEFAULT_PORTS.items():
            value = environment.get(variable, str(port))
            host, _, number = value.rpartition(":")
            if not number.isdigit() or not 0 < int(number) < 65536:
                wanted = "a port" if variable.endswith("PORT") else "host:port"
                raise StackError(f"{variable}={value!r} is not an address; write {wanted}.")
            addresses[variable] = f"{host or HOST}:{number}"
        return addresses

    @property
    def otlp_grpc(self) -> str:
        """The Collector's OTLP/gRPC endpoint, in the form of ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return self._url("OTELCOL_OTLP_GRPC")

    @property
    def otlp_http(self) -> str:
        """The Collector's OTLP/HTTP endpoint, without ``/v1/...``."""
        return self._url("OTELCOL_OTLP_HTTP")

    @property
    def collector_health(self) -> str:
        """Answers 200 while the Collector is healthy."""
        return self._url("OTELCOL_HEALTH")

    @property
    def collector_metrics(self) -> str:
        """The Collector's own metrics, for Prometheus."""
        return self._url("OTELCOL_METRICS_PORT") + "/metrics"

    @property
    def prometheus(self) -> str:
        """Base URL of Prometheus, with its login."""
        return self._url("PROMETHEUS_ADDRESS", f"{passwords.USER}:{self.password}@")

    @property
    def jaeger(self) -> str:
        """Base URL of Jaeger's query API."""
        return self._url("JAEGER_QUERY")

    @property
    def alertmanager(self) -> str:
        """Base URL of Alertmanager, with its login."""
        return self._url("ALERTMANAGER_ADDRESS", f"{passwords.USER}:{self.password}@")

    def _url(self, variable: str, login: str = "") -> str:
        return f"http://{login}{self.addresses[variable]}"
