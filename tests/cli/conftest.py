"""What the tests of the command share: `replay` run in this process, its report, a log to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli_runs import Replay, in_process


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    return lambda *arguments: in_process(capsys, "replay", *map(str, arguments))


@pytest.fixture
def report(replay: Replay) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        result = replay(*arguments, "--json")
        assert (result.code, result.err) == (0, "")
        return json.loads(result.out)

    return run


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str, name: str = "calls.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
