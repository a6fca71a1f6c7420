"""The types that hosts see, under mypy and pyright; neither needs the network."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

from support.paths import ROOT, TESTS
from typing_guards import accepted, accepted_async

#: Lines with an ``ignore`` in these files must be errors under both.
FILES = [TESTS / "typing_api.py", TESTS / "typing_guards.py"]


def test_hosts_written_against_the_api_type_check_with_mypy() -> None:
    from mypy import api

    # Uses the cache of `make lint`; without it this takes some seconds.
    out, err, code = api.run(
        ["--strict", "--warn-unused-ignores", "--config-file", str(ROOT / "pyproject.toml"),
         "--cache-dir", str(ROOT / ".mypy_cache"), *map(str, FILES)]
    )  # fmt: skip
    assert code == 0, out + err


def test_hosts_written_against_the_api_type_check_with_pyright() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonversion", "3.11",
         "--pythonpath", sys.executable, *map(str, FILES)],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["summary"]["filesAnalyzed"] == len(FILES), done.stdout


def test_the_guards_that_the_protocols_accept_run() -> None:
    accepted()
    asyncio.run(accepted_async())
