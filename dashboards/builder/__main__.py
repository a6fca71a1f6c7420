"""`python -m dashboards.builder`: write (or check) what is generated."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dashboards.builder import output, thresholds


def main(argv: list[str] | None = None) -> int:
    """Write every generated file below the project's root, or another directory.

    Returns:
        0, or 1 when `--check` finds a file that is missing or differs.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.builder",
        description="Write the Grafana and Perses dashboards, the Prometheus rules and what the "
        "chart carries.",
        epilog="example: python -m dashboards.builder --no-suffixes --out /tmp/for-mimir",
    )
    parser.add_argument("--out", type=Path, default=output.ROOT, help="directory to write to")
    parser.add_argument(
        "--thresholds", type=Path, default=thresholds.DEFAULT_FILE, help="file with the thresholds"
    )
    parser.add_argument(
        "--no-suffixes",
        action="store_true",
        help="for backends that name metrics without unit and type (budget_cost, not "
        "budget_cost_USD_total)",
    )
    parser.add_argument(
        "--anchored",
        action="store_true",
        help="for a Prometheus that stores start times: cheaper, and exact over restarts under one "
        "instance id (see docs/operating/start-times.md)",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is out of date"
    )
    options = parser.parse_args(argv)
    try:
        files = output.files(
            thresholds.load(options.thresholds),
            suffixes=not options.no_suffixes,
            anchored=options.anchored,
        )
        if options.check:
            stale = output.differing(files, options.out)
            for path in stale:
                sys.stderr.write(f"{path} is out of date: run `make dashboards`\n")
            return int(bool(stale))
        for path in output.write(files, options.out):
            sys.stdout.write(f"wrote {path}\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
