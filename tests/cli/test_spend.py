"""`otel-budget spend` without a Prometheus: mistakes that people make."""

from __future__ import annotations

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
