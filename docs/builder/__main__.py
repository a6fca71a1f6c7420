"""`python -m docs.builder`: write (or check) the reference."""

from __future__ import annotations

import argparse
import sys

from docs.builder.pages import ROOT, pages


def main(argv: list[str] | None = None) -> int:
    """Write the pages, or with `--check` only compare.

    Returns:
        0, or 1 when `--check` finds a page that is missing or differs.
    """
    parser = argparse.ArgumentParser(
        prog="python -m docs.builder",
        description="Write docs/reference/ from the names and from telemetry that is emitted.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a page is out of date"
    )
    check = parser.parse_args(argv).check
    stale = False
    for name, text in pages().items():
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if check:
            sys.stderr.write(f"{name} is out of date: run `make docs-reference`\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
