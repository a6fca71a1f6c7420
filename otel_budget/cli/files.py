"""``otel-budget files DIR`` writes out the Collector's configuration and the dashboards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from otel_budget.cli.terminal import CommandError

#: Folders of a checkout that a wheel carries under ``otel_budget/shipped_files``.
FOLDERS: Final = ("collector", "dashboards")
#: What stays in the checkout, to build and test the rest. pyproject.toml excludes the same.
_DEVELOPMENT: Final = frozenset({"programs", "builder", "web", "__pycache__", "node_modules"})
_DEVELOPMENT_SUFFIXES: Final = frozenset({".py", ".pyc", ".mk", ".toml"})


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` did, as paths relative to the directory.

    Attributes:
        written: New files, and with `force` also those that differed.
        unchanged: Files that were there already, as shipped.
    """

    written: list[str]
    unchanged: list[str]


def write(directory: Path, *, force: bool = False) -> Written:
    """Write the shipped files to `directory`, all or none of them.

    Args:
        directory: The parent of ``collector/`` and ``dashboards/``; created if missing.
        force: Overwrite files that differ from the shipped ones.

    Raises:
        CommandError: A file differs and `force` is not given, or the directory cannot be written.
    """
    if directory.exists() and not directory.is_dir():
        raise CommandError(f"{directory} is not a directory; name one, or an unused path.")
    pending: dict[str, bytes] = {}
    unchanged: list[str] = []
    changed: list[str] = []
    try:
        for name, content in shipped():
            target = directory / name
            if not target.exists():
                pending[name] = content
            elif target.read_bytes() == content:
                unchanged.append(name)
            else:
                changed.append(name)
                pending[name] = content
        if changed and not force:
            few = ", ".join(changed[:3]) + (", ..." if changed[3:] else "")
            raise CommandError(
                f"{len(changed)} file{'' if len(changed) == 1 else 's'} in {directory} differ "
                f"from those of this version ({few}), so nothing was written; keep your changes "
                "in a file of your own, such as an overlay, or overwrite them with --force."
            )
        for name, content in pending.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(
            f"{error.filename or directory} could not be written ({reason}); choose another "
            "directory."
        ) from error
    return Written(list(pending), unchanged)


def shipped() -> Iterator[tuple[str, bytes]]:
    """Relative path and content of every shipped file, sorted."""
    package = Path(__file__).parents[1]
    carried = package / "shipped_files"  # in a wheel
    root = carried if carried.is_dir() else package.parent  # in a checkout
    if not (root / FOLDERS[0]).is_dir():
        raise CommandError(
            "This installation carries no files; install otel-budget from a wheel or a checkout."
        )
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            relative = path.relative_to(root)
            if (
                path.is_file()
                and path.suffix not in _DEVELOPMENT_SUFFIXES
                and not _DEVELOPMENT.intersection(relative.parts[:-1])
            ):
                yield relative.as_posix(), path.read_bytes()


def files(
    directory: Annotated[Path, typer.Argument(help="Where collector/ and dashboards/ go.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that you have changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write out the Collector configuration, alert rules and dashboards of this version.

    Example: otel-budget files ./observability
    """
    result = write(directory, force=force)
    if as_json:
        typer.echo(json.dumps({"written": result.written, "unchanged": result.unchanged}))
        return
    for name in result.written:
        typer.echo(f"wrote {directory / name}")
    if result.unchanged:
        typer.echo(f"{len(result.unchanged)} files were there already, unchanged.")
