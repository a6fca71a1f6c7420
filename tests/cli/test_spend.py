"""`otel-budget spend` without a Prometheus: mistakes that people make."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.cli_runs import in_process
from support.otlp_receiver import receiver
from support.ports import free_port

FROM = ("--from", "2026-01-01")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--from", "last week"), "--from last week is not a time such as 2026-11-01."),
        ((*FROM, "--to", "soon"), "--to soon is not a time such as 2026-11-01."),
        (
            (*FROM, "--to", "2026-01-01"),
            "--from 2026-01-01 is not before the end (2026-01-01T00:00:00Z).",
        ),
        ((*FROM, "--to", "2999-01-01"), "--to 2999-01-01 is still to come; leave it out for now."),
        (
            (*FROM, "--prometheus", "me:secret@localhost:9090"),
            "--prometheus localhost:9090 is not a URL such as http://127.0.0.1:9090.",
        ),
    ],
)
def test_a_bad_option_is_one_sentence(
    options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = in_process(capsys, "spend", *options)
    assert (result.code, result.out, result.err) == (2, "", f"otel-budget: {sentence}\n")


def test_what_is_not_a_prometheus_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    result = in_process(capsys, "spend", *FROM, "--prometheus", nobody)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"otel-budget: {nobody} did not answer")
    assert result.err.endswith("start it, or correct --prometheus.\n")
    with receiver() as store:
        result = in_process(capsys, "spend", *FROM, "--prometheus", store.url)
        assert result.code == 1
        assert "something other than Prometheus listens there" in result.err
        assert result.err.count("\n") == 1


class OtherStore(BaseHTTPRequestHandler):
    """A store that answers queries as Prometheus does, of which a part is away."""

    def do_GET(self) -> None:
        query = self.path.startswith("/api/v1/query?")
        answer = {"status": "success", "data": {"result": []}, "warnings": ["store-3 is away"]}
        self.send_response(200 if query else 404)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode() if query else b"")

    def log_message(self, *arguments: object) -> None:
        pass


def test_a_store_of_which_a_part_is_away_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherStore) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        result = in_process(capsys, "spend", *FROM, "--prometheus", url)
        server.shutdown()
    assert result.code == 0
    assert result.err.count("otel-budget: the sums may be too low: store-3 is away.\n") == 1
