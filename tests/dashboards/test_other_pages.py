"""What a web page elsewhere can do to a stack on the same machine, in Chromium."""

from __future__ import annotations

import http.server
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from browser import needs_browser, run_node
from collector.stack import PROGRAMS, Stack, free_addresses, passwords
from dashboards.web.serve import serving
from otel_budget.verify.http import shown
from promtool import backend
from support import remote_write
from support.paths import ROOT
from support.probes import ask, eventually, get_json, query, spans

pytestmark = pytest.mark.timeout(300)
SILENCE = {
    "matchers": [{"name": "alertname", "value": ".+", "isRegex": True}],
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2100-01-01T00:00:00Z",
    "createdBy": "a page",
    "comment": "all",
}
JSON = {"headers": {"Content-Type": "application/json"}, "method": "POST"}
PLAIN: dict[str, Any] = {"method": "POST", "mode": "no-cors"}
#: A page cannot send these without asking first, so it sends them as text.
TEXT = PLAIN | {"headers": {"Content-Type": "text/plain"}}


def otlp(name: str) -> str:
    """A million of a metric, in OTLP's JSON."""
    point = {"asDouble": 1e6, "timeUnixNano": str(time.time_ns())}
    metrics = [{"name": name, "gauge": {"dataPoints": [point]}}]
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})


def trace(service: str) -> str:
    """A span, in OTLP's JSON."""
    now = str(time.time_ns())
    span = {
        "traceId": "1" * 32, "spanId": "1" * 16, "name": "forged",
        "startTimeUnixNano": now, "endTimeUnixNano": now,
    }  # fmt: skip
    name = {"key": "service.name", "value": {"stringValue": service}}
    resource = {"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [span]}]}
    return json.dumps({"resourceSpans": [resource]})


def a_million(name: str) -> bytes:
    """A million of a metric as a remote write."""
    return remote_write.request([({"__name__": name}, [(time.time(), 1e6)])])


def attacks(prometheus: str, alertmanager: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """By name, what a page tries: address and what `fetch` is told."""
    return {
        "read": (f"{prometheus}/api/v1/query?query=up", {}),
        "OTLP": (f"{prometheus}/api/v1/otlp/v1/metrics", JSON | {"body": otlp("by_otlp")}),
        "remote write": (
            f"{prometheus}/api/v1/write",
            PLAIN | {"bytes": list(a_million("by_remote_write"))},
        ),
        "reload Prometheus": (f"{prometheus}/-/reload", PLAIN),
        "silences": (f"{alertmanager}/api/v2/silences", {}),
        "silence": (f"{alertmanager}/api/v2/silences", JSON | {"body": json.dumps(SILENCE)}),
        "reload Alertmanager": (f"{alertmanager}/-/reload", PLAIN),
    }


def effects(prometheus: str, alertmanager: str) -> dict[str, Any]:
    """What the attacks have changed."""
    return {
        "series": {labels["__name__"] for labels, _ in query(prometheus, '{__name__=~"by_.*"}')},
        "silences": len(get_json(f"{alertmanager}/api/v2/silences")),
        "reloaded": [
            ask(f"{url}/metrics").body.split(f"\n{name}_config_last_reload_success".encode())[1]
            for url, name in ((prometheus, "prometheus"), (alertmanager, "alertmanager"))
        ],
    }


class EmptyPage(http.server.BaseHTTPRequestHandler):
    """Answers everything with a page that has nothing in it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def send() -> Iterator[Callable[..., dict[str, str]]]:
    """Sends requests from a page of another origin, and tells what the page got to see."""
    chromium = needs_browser()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def send(
            requests: Mapping[str, tuple[str, dict[str, Any]]], logins: Sequence[str] = ()
        ) -> dict[str, str]:
            # Chromium sends a login along only within what it calls a site: a host on any port.
            host = "127.0.0.1" if logins else "localhost"
            order = {
                "chromium": chromium,
                "page": f"http://{host}:{server.server_port}/",
                "logins": logins,
                "requests": [
                    {"name": name, "url": url, "init": init}
                    for name, (url, init) in requests.items()
                ],
            }
            (seen,) = run_node("other_origin.mjs", order, timeout=120)
            return seen

        yield send
        server.shutdown()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    for program in PROGRAMS:
        backend(program)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(Path(directory), interval=1) as stack,
    ):
        eventually(lambda: query(stack.prometheus, "up"))
        yield stack


@contextmanager
def started(
    folder: Path, *, of_prometheus: Sequence[str], of_alertmanager: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    """Prometheus and Alertmanager with these flags."""
    addresses = free_addresses()
    prometheus, alertmanager = addresses["PROMETHEUS_ADDRESS"], addresses["ALERTMANAGER_ADDRESS"]
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    routes = ROOT / "collector" / "alertmanager" / "alertmanager.yml"
    commands = [
        [
            backend("prometheus"), f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={prometheus}",
            *of_prometheus,
        ],
        [
            backend("alertmanager"), f"--config.file={routes}",
            f"--storage.path={folder / 'alertmanager'}", f"--web.listen-address={alertmanager}",
            "--cluster.listen-address=", *of_alertmanager,
        ],
    ]  # fmt: skip
    with ExitStack() as held:
        for command in commands:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            held.callback(process.wait)
            held.callback(process.kill)
        urls = (f"http://{prometheus}", f"http://{alertmanager}")
        for url in urls:
            eventually(lambda url=url: ask(f"{url}/-/ready").status in {200, 401})  # type: ignore[misc]
        yield urls


def test_without_the_cures_each_attack_succeeds(
    send: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """The attacks themselves: what is blocked below works here."""
    flags = ["otlp-receiver", "remote-write-receiver", "lifecycle"]
    with started(tmp_path, of_prometheus=[f"--web.enable-{flag}" for flag in flags]) as urls:
        before = effects(*urls)
        seen = send(attacks(*urls))
        after = effects(*urls)
    # The page cannot read Prometheus' answer to OTLP, but has written.
    assert {name for name, answer in seen.items() if answer.startswith("200")} == {
        "read", "silences", "silence",
    }  # fmt: skip
    assert after["series"] == {"by_otlp", "by_remote_write"}
    assert after["silences"] == 1
    for then, now in zip(before["reloaded"], after["reloaded"], strict=True):
        assert then != now


def test_the_flags_of_the_containers_close_both(
    send: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """Prometheus has no login there."""
    services = yaml.safe_load((ROOT / "collector" / "compose.yaml").read_text())["services"]
    flags = [flag for flag in services["prometheus"]["command"] if flag.startswith("--web.")]
    assert any("--web.config.file=" in flag for flag in services["alertmanager"]["command"])
    login = f"--web.config.file={passwords.write(tmp_path / 'secrets', 'secret')}"
    with started(tmp_path, of_prometheus=flags, of_alertmanager=[login]) as (metrics, alerts):
        logged_in = alerts.replace("//", f"//{passwords.USER}:secret@")
        before = effects(metrics, logged_in)
        seen = send(attacks(metrics, alerts))
        assert effects(metrics, logged_in) == before
    assert {name for name, answer in seen.items() if answer != "blocked"} == {
        "remote write", "reload Prometheus", "reload Alertmanager",
    }  # fmt: skip


def test_another_page_can_neither_read_nor_write_nor_silence(
    stack: Stack, send: Callable[..., dict[str, str]]
) -> None:
    before = effects(stack.prometheus, stack.alertmanager)
    requests = attacks(shown(stack.prometheus), shown(stack.alertmanager)) | {
        "read traces": (f"{stack.jaeger}/api/v3/services", {}),
        "OTLP to the Collector": (f"{stack.otlp_http}/v1/traces", JSON | {"body": trace("forged")}),
        "text to the Collector": (f"{stack.otlp_http}/v1/traces", TEXT | {"body": trace("forged")}),
    }
    with serving(stack.prometheus) as page:
        question = f"{page}prometheus/api/v1/query"
        requests |= {
            "ask the page's server": (f"{question}?query=up", {}),
            "post to the page's server": (question, {"method": "POST", "body": "query=up"}),
        }
        seen = send(requests)
    # What is opaque was sent and refused: nothing has changed.
    silent = {"remote write", "reload Prometheus", "reload Alertmanager", "text to the Collector"}
    assert seen == {name: "opaque" if name in silent else "blocked" for name in requests}
    assert effects(stack.prometheus, stack.alertmanager) == before
    assert not spans(stack.jaeger, "forged")


def test_nor_can_it_where_a_person_is_logged_in(
    stack: Stack, send: Callable[..., dict[str, str]]
) -> None:
    """The login that is sent along is good for nothing but a reload of the same configuration."""
    before = effects(stack.prometheus, stack.alertmanager)
    urls = shown(stack.prometheus), shown(stack.alertmanager)
    requests = {
        name: (url, init | {"credentials": "include"})
        for name, (url, init) in attacks(*urls).items()
    }
    seen = send(
        requests, logins=[f"{stack.prometheus}/api/v1/query?query=1", f"{stack.alertmanager}/"]
    )
    assert {name for name, answer in seen.items() if answer == "blocked"} == {
        "read", "OTLP", "silences", "silence",
    }  # fmt: skip
    after = effects(stack.prometheus, stack.alertmanager)
    assert (after["series"], after["silences"]) == (set(), 0)
    assert after["reloaded"][0] == before["reloaded"][0]
    assert after["reloaded"][1] != before["reloaded"][1]


def test_a_foreign_host_is_answered_where_the_page_says(stack: Stack) -> None:
    """A name that an attacker points at this machine makes its page one of the same origin."""
    health = stack.collector_health
    with serving(stack.prometheus) as page:
        asked = {
            "Prometheus": f"{shown(stack.prometheus)}/api/v1/query?query=up",
            "Alertmanager": f"{shown(stack.alertmanager)}/api/v2/silences",
            "the page's server": f"{page}prometheus/api/v1/query?query=up",
            "Jaeger": f"{stack.jaeger}/api/v3/services",
            "the Collector's OTLP/HTTP": f"{stack.otlp_http}/v1/traces",
            "the Collector's health check": health,
            "the Collector's own metrics": stack.collector_metrics,
        }
        host = {"Host": "evil.example"}
        body = {"the Collector's OTLP/HTTP": trace("rebound").encode()}
        statuses = {
            name: ask(
                url,
                data=body.get(name),
                headers=host | ({"Content-Type": "application/json"} if name in body else {}),
            ).status
            for name, url in asked.items()
        }
    closed = {"Prometheus": 401, "Alertmanager": 401, "the page's server": 403}
    assert {name: status for name, status in statuses.items() if status != 200} == closed
    page = (ROOT / "docs" / "operating" / "logins.md").read_text()
    (answering,) = [line for line in page.splitlines() if "answer a foreign Host" in line]
    for name in statuses.keys() - closed.keys():
        assert name in answering
