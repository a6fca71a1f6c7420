"""Build the programs of the pipeline from pinned Go modules: ``python -m collector.backends``.

Each program has a ``go.mod`` and ``go.sum`` of its own under ``collector/programs`` (their
dependencies conflict), so a build fetches exactly these modules and checks them against the
committed sums. Standard library only: it runs before anything is installed.
"""

# ruff: noqa: S603, S607 (its purpose is to run the Go command that is on the PATH)
from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from collector import schemas

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "collector" / "programs"
BIN = ROOT / ".backends" / "bin"
GO_VERSION = (1, 26)


@dataclass(frozen=True)
class Program:
    """One program: its name, the module folder that pins it, its package and build tags.

    One that is `extra` is built only if it is named.
    """

    name: str
    folder: str
    package: str
    tags: str = ""
    extra: bool = False

    @property
    def path(self) -> Path:
        """Where the built program is."""
        return BIN / self.name

    @property
    def stamp(self) -> Path:
        """Where the hash of its sources is kept."""
        return BIN / f".{self.name}.built"


# `remove_all_sd` leaves cloud service discovery out of Prometheus, for a shorter build.
_PROMETHEUS_TAGS = "netgo,remove_all_sd"
#: In build order: what is most needed comes first.
PROGRAMS = (
    Program(
        "promtool", "prometheus", "github.com/prometheus/prometheus/cmd/promtool", _PROMETHEUS_TAGS
    ),
    Program(
        "prometheus",
        "prometheus",
        "github.com/prometheus/prometheus/cmd/prometheus",
        _PROMETHEUS_TAGS,
    ),
    Program("otelcol", "otelcol", "."),
    Program("jaeger", "jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger"),
    Program("alertmanager", "alertmanager", "github.com/prometheus/alertmanager/cmd/alertmanager"),
    Program("amtool", "alertmanager", "github.com/prometheus/alertmanager/cmd/amtool"),
    # Three of it are the distributed store of the tests. Its go.mod is the module's own, renamed.
    Program("cortex", "cortex", "github.com/cortexproject/cortex/cmd/cortex", "netgo,slicelabels"),
    # The other store that the tests know; what they ask of it, they ask of Cortex in CI.
    Program(
        "thanos",
        "thanos",
        "github.com/thanos-io/thanos/cmd/thanos",
        "netgo,slicelabels",
        extra=True,
    ),
    # Not part of the pipeline: it checks the written rules.
    Program("pint", "pint", "github.com/cloudflare/pint/cmd/pint"),
    # Nor this: it evaluates them over simulated months.
    Program("rulesim", "rulesim", ".", _PROMETHEUS_TAGS),
    # Nor these: they render and check the chart.
    Program("helm", "helm", "helm.sh/helm/v3/cmd/helm"),
    Program("kubeconform", "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
)
#: What kubeconform checks by; made anew whenever it is built.
SCHEMAS = BIN.parent / "schemas"


class BackendError(Exception):
    """Something the user can fix; the message is one sentence that says how."""


def missing(*names: str) -> list[str]:
    """Which of the named programs (or of all but extra ones, if none is named) are not built."""
    return [p.name for p in _chosen(names) if not p.path.exists()]


def _chosen(names: Collection[str]) -> list[Program]:
    return [p for p in PROGRAMS if (p.name in names if names else not p.extra)]


def _flags(program: Program) -> list[str]:
    tags = ["-tags", program.tags] if program.tags else []
    return ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", *tags]


def fingerprint(program: Program) -> str:
    """A hash of everything that determines a build's result, except the Go version."""
    digest = hashlib.sha256(repr((program.package, _flags(program))).encode())
    for file in sorted((SOURCES / program.folder).iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    if program.name == "kubeconform":
        digest.update(Path(schemas.__file__).read_bytes())
    return digest.hexdigest()


def up_to_date(program: Program) -> bool:
    """Whether the program was built from the committed sources."""
    return (
        program.path.exists()
        and program.stamp.exists()
        and program.stamp.read_text() == fingerprint(program)
    )


def check_go() -> None:
    """Raise `BackendError` unless a Go that can build the programs is on the path."""
    wanted = ".".join(map(str, GO_VERSION))
    remedy = f"install Go {wanted} or newer and run `make backends` again"
    if shutil.which("go") is None:
        raise BackendError(f"Go was not found on the PATH; {remedy}.")
    # At the root no go.mod is read, and GOTOOLCHAIN=local downloads no other Go.
    answer = subprocess.run(
        ["go", "env", "GOVERSION"],
        cwd="/",
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.match(r"go(\d+)\.(\d+)", answer.stdout.strip())
    if found is None or (int(found[1]), int(found[2])) < GO_VERSION:
        version = answer.stdout.strip() or "unknown"
        raise BackendError(f"The Go on the PATH is too old ({version}); {remedy}.")


def _environment() -> dict[str, str]:
    # Every sum is committed; if one is missing, the build must fail rather than look it up.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOSUMDB": "off", "GOWORK": "off"}


def build(program: Program) -> None:
    """Build one program, and print every ten seconds how far it is.

    Raises:
        BackendError: The build failed; the message has the end of the compiler's output.
    """
    BIN.mkdir(parents=True, exist_ok=True)
    program.stamp.unlink(missing_ok=True)
    wanted = fingerprint(program)
    partial = BIN / f".{program.name}.partial"
    started = time.monotonic()
    process = subprocess.Popen(
        ["go", "build", "-v", *_flags(program), "-o", str(partial), program.package],
        cwd=SOURCES / program.folder,
        env=_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    output: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        output.extend(process.stderr)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while True:
            reader.join(10)
            if not reader.is_alive():
                break
            elapsed = time.monotonic() - started
            _print(f"  {program.name}: {len(output)} steps, {elapsed:.0f} s")
        if process.wait() != 0:
            tail = "".join(output[-15:]).rstrip()
            raise BackendError(f"{program.name} could not be built:\n{tail}")
    except BaseException:
        process.kill()
        process.wait()
        partial.unlink(missing_ok=True)
        raise
    if program.name == "kubeconform":
        try:
            schemas.write(SCHEMAS, SOURCES / program.folder, _environment())
        except ValueError as error:
            raise BackendError(f"The schemas could not be made:\n{error}") from error
    partial.replace(program.path)
    program.stamp.write_text(wanted)
    size = program.path.stat().st_size / 1e6
    _print(f"  {program.name}: built in {time.monotonic() - started:.0f} s, {size:.0f} MB")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is not up to date; the exit code is 0 if everything is built."""
    parser = argparse.ArgumentParser(prog="make backends", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="programs to build (default: all but extra ones)")
    names = parser.parse_args(arguments).names
    unknown = set(names) - {p.name for p in PROGRAMS}
    try:
        if unknown:
            known = ", ".join(p.name for p in PROGRAMS)
            raise BackendError(f"There is no program {sorted(unknown)[0]!r}; choose from {known}.")
        todo = [p for p in _chosen(names) if not up_to_date(p)]
        if not todo:
            _print("The backends are up to date.")
            return 0
        check_go()
        _print(
            f"Building {', '.join(p.name for p in todo)} into {BIN.relative_to(ROOT)} "
            "(all of them for the first time: about 20 minutes on two cores) ..."
        )
        for program in todo:
            build(program)
    except BackendError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; what has been built is kept.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
