"""Three replicas of Cortex in place of Prometheus: the shipped overlay, rules and queries."""

from __future__ import annotations

import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from collector.stack import Stack
from otel_budget import semconv as sc
from promtool import backend
from support.applications import LoadApp
from support.distributed_store import CortexStore
from support.faults import COUNTERS, run_phase
from support.probes import eventually
from test_other_pages import remote_write

pytestmark = pytest.mark.timeout(300)


class World(NamedTuple):
    store: CortexStore
    collector: Stack


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The store, and a Collector with the shipped overlay that writes to its first replica."""
    for program in ("cortex", "otelcol"):
        backend(program)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "store").mkdir()
        store = CortexStore(folder / "store")
        collector = Stack(
            folder / "collector",
            overlays=["distributed-store"],
            environment=store.environment(0),
            programs=["otelcol"],
        )
        with store, collector:
            yield World(store, collector)


def counted(store: CortexStore, replica: int) -> dict[str, float | None]:
    """What a replica answers for the counters of the load's books."""
    return {
        name: store.total(f'{metric.prometheus_name()}{{job="load"}}', replica)
        for name, metric in COUNTERS.items()
    }


def test_nothing_is_missing_when_replicas_are_killed_under_load(
    world: World, tmp_path: Path
) -> None:
    store = world.store
    app = LoadApp(world.collector.otlp_http, "load", tmp_path / "books.json")
    try:
        run_phase(app, "whole", 3)
        store.kill(2)
        run_phase(app, "one is gone", 5)
        store.launch(2)
        run_phase(app, "it is back", 2)
        store.kill(0)  # the one that the Collector writes to: what comes meanwhile waits on disk
        run_phase(app, "the Collector's own is gone", 3)
        store.launch(0)
        books = app.finish()
    finally:
        app.close()
    store.wait_ready()
    truth = {name: pytest.approx(books[name]) for name in COUNTERS}
    assert books["decisions"] > 300
    for replica in range(3):
        found = eventually(lambda at=replica: counted(store, at), lambda found: found == truth)
        assert found == truth
    # Not at the end alone: what came while it was away, another has.
    store.kill(2)
    assert counted(store, 0) == truth
    store.launch(2)
    store.wait_ready()


def test_a_page_elsewhere_can_neither_read_nor_write(world: World) -> None:
    """Not even one whose browser trusts the store: it has no certificate of its own."""
    store, forged = world.store, bytes(remote_write("forged"))
    trusting = ssl.create_default_context(cafile=store.certificates / "ca.crt")
    name = sc.METRIC_DECISIONS.prometheus_name()
    attempts = {
        f"{store.urls[0]}/api/v1/push": forged,
        f"{store.query_url(0)}/api/v1/query?query={name}": None,
    }
    for url, body in attempts.items():
        # The type of a request that no browser asks about first.
        plain = urllib.request.Request(url, body, {"Content-Type": "text/plain"})
        with pytest.raises(OSError, match="certificate required"):
            urllib.request.urlopen(plain, timeout=10, context=trusting)
        without = urllib.request.Request(url.replace("https", "http"), body)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(without, timeout=10)
    assert store.query("forged") == []
    # The same with a certificate is taken: it was not the request that was wrong.
    push = urllib.request.Request(f"{store.urls[0]}/api/v1/push", forged)
    urllib.request.urlopen(push, timeout=10, context=store.client.context).close()
    assert eventually(lambda: store.query("forged"))
