"""Prints constraints for pip: each dependency of the package at the lowest version it allows.

The tools of tests and examples are not among them. They stay at their newest versions, so that what
fails with these constraints is the package.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

_TOOLS = {"dev", "docs", "examples", "mutants", "release", "test"}


def lowest_versions(project: dict[str, Any]) -> list[str]:
    extras = project["optional-dependencies"]
    requirements: list[str] = list(project["dependencies"])
    for extra in extras.keys() - _TOOLS:
        requirements += extras[extra]
    constraints = set()
    for requirement in requirements:
        lowest = re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", requirement)
        if lowest:
            constraints.add(f"{lowest[1]}=={lowest[2]}")
        elif not requirement.startswith(f"{project['name']}["):
            sys.exit(f"pyproject.toml: {requirement} has no lowest version")
    return sorted(constraints)


if __name__ == "__main__":
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    print("\n".join(lowest_versions(tomllib.loads(pyproject.read_text("utf-8"))["project"])))
