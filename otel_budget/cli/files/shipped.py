"""The files that a wheel or a checkout has for operators, as who has no checkout reads them.

Pages written for both readers mark what the other one does not need: ``<!-- checkout only -->`` to
``<!-- end -->``, on lines of their own or within one, is left out, and so is a line with
``<!-- checkout line -->``; the text of a comment ``<!-- by pip: ... -->`` stands there instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from otel_budget.cli.terminal import CommandError

#: Folders of a checkout that a wheel carries under ``otel_budget/shipped_files``.
FOLDERS: Final = ("collector", "dashboards", "docs/operating", "docs/runbooks")
THRESHOLDS: Final = "dashboards/thresholds.toml"
_PACKAGE: Final = Path(__file__).parents[2]
#: The page for who has these files and no checkout.
_README: Final = _PACKAGE / "data" / "files_readme.md"
#: What builds and tests the rest. pyproject.toml excludes the same, but for the builder.
_DEVELOPMENT: Final = frozenset({"programs", "builder", "web", "__pycache__", "node_modules"})
_DEVELOPMENT_SUFFIXES: Final = frozenset({".py", ".pyc", ".mk"})
_LINES: Final = re.compile(r"^<!-- checkout only -->\n.*?^<!-- end -->\n", re.M | re.S)
_WITHIN_A_LINE: Final = re.compile(r"<!-- checkout only -->.*?<!-- end -->")
_LINE: Final = re.compile(r"^.*<!-- checkout line -->.*\n", re.M)
_BY_PIP: Final = re.compile(r"<!-- by pip: (.*?) -->", re.S)


def root() -> Path:
    """The parent of `FOLDERS`."""
    carried = _PACKAGE / "shipped_files"  # in a wheel
    found = carried if carried.is_dir() else _PACKAGE.parent  # in a checkout
    if not (found / FOLDERS[0]).is_dir():
        raise CommandError(
            "This installation carries no files; install otel-budget from a wheel or a checkout."
        )
    return found


def shipped() -> dict[str, bytes]:
    """The content of every file by its relative path, sorted."""
    parent = root()
    files = {"README.md": _README.read_bytes()}
    for folder in FOLDERS:
        for path in sorted((parent / folder).rglob("*")):
            relative = path.relative_to(parent)
            if (
                path.is_file()
                and path.suffix not in _DEVELOPMENT_SUFFIXES
                and not _DEVELOPMENT.intersection(relative.parts[:-1])
            ):
                content = path.read_bytes()
                if path.suffix == ".md":
                    content = by_pip(content.decode()).encode()
                files[relative.as_posix()] = content
    return files


def by_pip(text: str) -> str:
    """A page as it is for who has no checkout."""
    for left_out in (_LINES, _WITHIN_A_LINE, _LINE):
        text = left_out.sub("", text)
    return _BY_PIP.sub(r"\1", text)
