"""Ports for this run alone, even while another run uses the same machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from collector.stack import free_addresses


def free_port() -> int:
    """A port on which nothing listens and that no other run gets."""
    return int(free_addresses()["OTELCOL_OTLP_HTTP"].rpartition(":")[2])


@contextmanager
def hung_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]
