"""What each extra installs and what an import takes: `make bench-footprint`.

Each extra is installed into an environment of its own. CPU times are the least of several fresh
processes; "own" is beside the imports of the dependencies.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
#: Those for users; the others are tools of this project.
_TOOLS: Final = {"dev", "docs", "examples", "mutants", "release", "test"}
_ROUNDS: Final = 7
_IMPORT: Final = """
import time
import opentelemetry._logs, opentelemetry.metrics, opentelemetry.trace, pydantic
class Model(pydantic.BaseModel):
    field: int
start = time.process_time()
import otel_budget
own = time.process_time()
otel_budget.instrument(otel_budget.SyncBudgetGuard())
print(own - start, time.process_time() - own, time.process_time())
"""


def _run(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python, "-I", *arguments], check=True, capture_output=True, text=True, cwd="/"
    )
    return done.stdout


def _row(extra: str, folder: Path) -> str:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(python, *pip, "install", f"{ROOT}[{extra}]" if extra else str(ROOT))
    (site,) = folder.glob("lib/python*/site-packages")
    installed = {path.name.partition("-")[0] for path in site.glob("*.dist-info")}
    count = len(installed - {"pip", "setuptools"})
    size = sum(
        path.stat().st_size
        for path in site.rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and not path.relative_to(site).parts[0].startswith(("pip", "setuptools", "pkg_resources"))
    )
    rounds = [_run(python, "-c", _IMPORT).split() for _ in range(_ROUNDS)]
    own, wrapped, whole = (min(map(float, column)) * 1e3 for column in zip(*rounds, strict=True))
    name = f"`{extra}`" if extra else "none"
    return f"| {name} | {count} | {size / 1e6:.0f} | {own:.0f} | {wrapped:.1f} | {whole:.0f} |"


def main(wanted: list[str]) -> None:
    """Print the table, of the extras named or of all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = wanted or ["", *(e for e in project["optional-dependencies"] if e not in _TOOLS)]
    print("| extra | distributions | MB | own import (ms) | instrument() (ms) | process (ms) |")
    print("|---|---|---|---|---|---|")
    for extra in extras:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(extra, Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
