"""From the development environment: run the examples' tests in the examples' environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from environment import missing_libraries
from support.missing import skip_or_fail
from support.paths import EXAMPLES_PYTHON as PYTHON
from support.paths import ROOT


@pytest.mark.skipif(not missing_libraries(), reason="the examples' tests run right here")
@pytest.mark.timeout(900)
def test_the_examples_in_their_own_environment() -> None:
    # Started from there, this would start itself again.
    if not PYTHON.exists() or sys.executable == str(PYTHON):
        missing = ", ".join(missing_libraries())
        skip_or_fail(f"the examples' libraries are not installed ({missing}); run `make examples`")
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "tests/examples", "-rs"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=880,
        check=False,
    )
    sys.stdout.write(done.stdout)  # shown where the test fails, or with -s
    assert done.returncode == 0, done.stdout[-4000:]
