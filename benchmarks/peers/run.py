"""Times one package in this process, and every package in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry import trace

from benchmarks.adapter import Guard, by_hand
from benchmarks.measure import Ratio, compare
from benchmarks.peers.packages import OWN, Package
from benchmarks.peers.pipeline import Pipeline

#: Seconds for one package; it takes about 10.
_PATIENCE = 600


@dataclass(frozen=True)
class Result:
    """What a package's process found out, or why it did not."""

    package: Package
    version: str = ""
    hand_microseconds: float = 0.0
    hand_emits: dict[str, int] | None = None
    own: Ratio | None = None
    ratio: Ratio | None = None
    emits: dict[str, int] | None = None
    reason: str = ""


def time_here(package: Package, **rounds: int) -> dict[str, Any]:
    """Count what one call emits, then time it: the package, otel-budget and by hand, in turn.

    The process's global providers are set, so it can be done once in a process.
    """
    pipeline = Pipeline()
    check, record = by_hand(Guard(), None, None)

    def hand() -> None:
        check()
        record()

    own = OWN.set_up()
    try:
        call = package.set_up()
        # As in a traced host.
        with trace.get_tracer("host").start_as_current_span("turn"):
            emits, hand_emits = pipeline.count(call), pipeline.count(hand)
            base, rows = compare(
                hand, {"own": own, "ratio": call}, between=pipeline.flush, **rounds
            )
    except Exception as error:
        return {"reason": f"{type(error).__name__}: {error}"}
    return {
        "hand_microseconds": base,
        "hand_emits": hand_emits,
        "emits": emits,
        **{name: asdict(ratio) for name, ratio in rows.items()},
    }


def time_apart(package: Package) -> Result:
    """Time a package in a process of its own; what goes wrong there is the result's reason."""
    try:
        installed = version(package.name)
    except PackageNotFoundError:
        return Result(package, reason="not installed")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.peers", package.name],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        # Packages print, too; the last line is ours.
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Result(package, installed, reason=f"took more than {_PATIENCE} s")
    except (IndexError, ValueError):
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Result(package, installed, reason=said[-1])
    for name in ("own", "ratio"):
        if name in found:
            found[name] = Ratio(**found[name])
    return Result(package, installed, **found)
