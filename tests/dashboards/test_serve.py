"""The page's server: what it serves, what it does not, and what it says when it cannot."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from dashboards.web import serve
from otel_budget import semconv


def get(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def prometheus() -> Iterator[tuple[str, list[tuple[str, str, str, bytes]]]]:
    """A Prometheus with a password: its URL, and method, path, login and body of each request."""
    asked: list[tuple[str, str, str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, self.headers["Authorization"], body))
            self.send_response(400 if b"sum((" in body else 200)
            self.end_headers()
            self.wfile.write(b'{"status":"success"}')

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((serve.HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:s%3Dcret@{serve.HOST}:{server.server_port}", asked
        server.shutdown()


def test_it_forwards_questions_with_the_password_that_it_keeps(
    prometheus: tuple[str, list[tuple[str, str, str, bytes]]],
) -> None:
    url, asked = prometheus
    login = "Basic " + base64.b64encode(b"me:s=cret").decode()
    with serve.serving(url, url) as address:
        assert get(f"{address}jaeger/api/v3/traces/0a1b?x=1")[0] == 200
        path = "/api/v1/label/job/values?match[]=up"
        assert get(f"{address}prometheus{path}") == (200, b'{"status":"success"}')
        question = f"{address}prometheus/api/v1/query"
        assert get(question, b"query=up", Origin=address[:-1])[0] == 200
        assert get(question, b"query=sum((")[0] == 400
        assert b"s%3Dcret" not in get(f"{address}config.json")[1]
    assert asked == [
        ("GET", "/api/v3/traces/0a1b?x=1", login, b""),
        ("GET", path, login, b""),
        ("POST", "/api/v1/query", login, b"query=up"),
        ("POST", "/api/v1/query", login, b"query=sum(("),
    ]


@pytest.mark.parametrize(
    "path",
    [
        *("prometheus/api/v1/write", "prometheus/api/v1/otlp/v1/metrics", "prometheus/-/reload"),
        *("prometheus/api/v1/status/config", "prometheus/api/v1/query/../write", "prometheus/"),
        *("jaeger/api/v3/traces/../../x", "jaeger/api/archive/0a", "jaeger", "none/api/services"),
    ],
)
def test_it_forwards_nothing_but_questions(
    prometheus: tuple[str, list[tuple[str, str, str, bytes]]], path: str
) -> None:
    url, asked = prometheus
    with serve.serving(url, url) as address:
        for body in (None, b"{}"):
            assert get(address + path, body)[0] == 404
    assert asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_another_page_gets_no_answer(
    prometheus: tuple[str, list[tuple[str, str, str, bytes]]], headers: dict[str, str]
) -> None:
    url, asked = prometheus
    with serve.serving(url) as address:
        for path in ("", "config.json", "prometheus/api/v1/query?query=up"):
            assert get(address + path, **headers)[0] == 403
            assert get(address + path, b"query=up", **headers)[0] == 403
    assert asked == []


def test_a_prometheus_that_is_down_is_said() -> None:
    with serve.serving("http://127.0.0.1:1") as address:
        code, body = get(f"{address}prometheus/api/v1/query?query=up")
    assert (code, b"prometheus does not answer" in body) == (502, True)


def test_it_serves_the_page_and_the_dashboards() -> None:
    with serve.serving("http://127.0.0.1:1") as address:
        assert address.startswith("http://127.0.0.1:")
        config = json.loads(get(f"{address}config.json")[1])
        names = [entry["name"] for entry in config["dashboards"]]
        assert names == ["overview", "drilldown", "health", "burndown", "spend", "traces"]
        assert config["attributes"]["session"] == semconv.SESSION_ID
        for name in names:
            assert b'<div id="root">' in get(f"{address}{name}?var-tenant=acme")[1]
        for name in names[:-1]:
            assert json.loads(get(f"{address}dashboards/{name}.json")[1])["kind"] == "Dashboard"


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "dashboards/../thresholds.toml",
        "dist/../../thresholds.toml",
        "dashboards/none.json",
    ],
)
def test_it_serves_nothing_else(path: str) -> None:
    with serve.serving("http://127.0.0.1:1") as address:
        assert get(address + path)[0] == 404


def test_a_port_in_use_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "built", lambda: True)
    with socket.socket() as taken:
        taken.bind((serve.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert serve.main(["--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error == f"Port {port}: Address already in use; choose another with --port.\n"


def test_a_page_that_is_not_built_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "built", lambda: False)
    assert serve.main([]) == 1
    assert capsys.readouterr().err == "The page is not built; run `make dashboards-web`.\n"
