"""Separate processes: fresh interpreters, and programs that Ctrl-C can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from support.paths import ROOT, TESTS


def python(
    script: str, *arguments: str, timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter; if it fails, the test fails and shows its output."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    path = os.pathsep.join([*sys.path, str(ROOT), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**inherited, "PYTHONPATH": path, **environment},
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start_interruptible(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program that Ctrl-C can end, even if this run itself ignores it.

    A shell without job control makes a program that it starts with ``&`` ignore SIGINT, and so do
    all programs started from there. A handler is not inherited: in a new program it becomes the
    default again.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, **options)
    finally:
        signal.signal(signal.SIGINT, before)
