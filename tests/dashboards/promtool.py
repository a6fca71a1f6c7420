"""Finding and running promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.missing import skip_or_fail
from support.paths import ROOT


def backend(name: str) -> str:
    """A program built by `make backends`; skips with a sentence, or fails with CI=true."""
    built = ROOT / ".backends" / "bin" / name
    found = str(built) if built.is_file() else shutil.which(name)
    if found is None:
        skip_or_fail(f"{name} is missing: run `make backends`")
    return found


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool with a time limit."""
    return subprocess.run(
        [backend("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
