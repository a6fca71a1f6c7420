"""Running the command: in this process, or in its own where that is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from support.paths import ROOT


class Result(NamedTuple):
    code: int
    out: str
    err: str


#: Runs `otel-budget replay` with these arguments.
Replay = Callable[..., Result]


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    from otel_budget.cli.app import run

    with pytest.raises(SystemExit) as end:
        run(list(arguments))
    captured = capsys.readouterr()
    return Result(int(end.value.code or 0), captured.out, captured.err)


def command(*arguments: str, **environment: str) -> Result:
    """`otel-budget` in a process of its own, with its output in pipes."""
    done = subprocess.run(
        [sys.executable, "-c", "from otel_budget.cli import main; main()", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        cwd=ROOT,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
        | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
        | environment,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def assert_one_sentence(result: Result, *words: str, code: int = 2) -> None:
    assert result.code == code, result
    assert result.out == ""
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("otel-budget: ")
    assert lines[0].endswith(".")
    for word in words:
        assert word in lines[0]
