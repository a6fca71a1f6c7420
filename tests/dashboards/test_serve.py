"""The page's server: what it serves, what it does not, and what it says when it cannot."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

import pytest

from dashboards.web import serve


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_it_serves_the_page_the_dashboards_and_the_address_of_prometheus() -> None:
    with serve.serving("http://127.0.0.1:1") as address:
        assert address.startswith("http://127.0.0.1:")
        config = json.loads(get(f"{address}config.json")[1])
        assert config["prometheus"] == "http://127.0.0.1:1"
        names = [entry["name"] for entry in config["dashboards"]]
        assert names == ["overview", "drilldown", "health"]
        for name in names:
            assert b'<div id="root">' in get(f"{address}{name}?var-tenant=acme")[1]
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
