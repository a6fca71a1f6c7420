"""The command: writes files, and never over what somebody has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import typer

from otel_budget.cli.files.shipped import THRESHOLDS, shipped
from otel_budget.cli.files.thresholds import rendered, with_base
from otel_budget.cli.terminal import CommandError

#: What was written last, as checksums by path: a file that still is that may be replaced.
RECORD: Final = ".otel-budget-files.json"


@dataclass(frozen=True, slots=True)
class Written:
    """What `write` did, as paths relative to the directory.

    Attributes:
        written: Files that are new, or that nobody had changed, and with `force` the others.
        unchanged: Files that were there already.
    """

    written: list[str]
    unchanged: list[str]


def write(
    directory: Path,
    *,
    thresholds: Path | None = None,
    runbook_base: str | None = None,
    force: bool = False,
) -> Written:
    """Write the files to `directory`, all or none of them.

    Args:
        directory: The parent of ``collector/``, ``dashboards/`` and ``docs/``; made if missing.
        thresholds: The numbers of rules and dashboards; None takes those in `directory` if somebody
            has changed them there, else the shipped ones.
        runbook_base: What the rules' ``runbook_url`` begins with; None leaves it to the thresholds.
        force: Overwrite files that somebody has changed.

    Raises:
        CommandError: A file was changed and `force` is not given, or something cannot be read or
            written.
    """
    if directory.exists() and not directory.is_dir():
        raise CommandError(f"{directory} is not a directory; name one, or an unused path.")
    try:
        record = _record(directory)
        files = _wanted(directory, record, thresholds, runbook_base, force=force)
        pending: dict[str, bytes] = {}
        unchanged: list[str] = []
        changed: list[str] = []
        for name, content in files.items():
            target = directory / name
            current = target.read_bytes() if target.exists() else None
            if current == content:
                unchanged.append(name)
                continue
            pending[name] = content
            own = thresholds is None and name == THRESHOLDS  # with another address of runbooks
            if current is not None and not own and record.get(name) != _checksum(current):
                changed.append(name)
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
        # Thresholds other than the shipped ones stay the reader's, also where they were written.
        as_written = files | {THRESHOLDS: shipped()[THRESHOLDS]}
        sums = {name: _checksum(content) for name, content in as_written.items()}
        if sums != record:
            (directory / RECORD).write_text(json.dumps(sums, indent=1) + "\n")
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(
            f"{error.filename or directory} could not be read or written ({reason}); choose "
            "another."
        ) from error
    return Written(list(pending), unchanged)


def _wanted(
    directory: Path,
    record: Mapping[str, str],
    thresholds: Path | None,
    runbook_base: str | None,
    *,
    force: bool,
) -> dict[str, bytes]:
    files = shipped()
    source: object = thresholds or directory / THRESHOLDS
    content = files[THRESHOLDS]
    own = directory / THRESHOLDS
    if thresholds is not None:
        content = thresholds.read_bytes()
    elif not force and own.exists() and record.get(THRESHOLDS) != _checksum(own.read_bytes()):
        content = own.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{source} is not text in UTF-8.") from None
    if runbook_base is not None:
        text = with_base(text, runbook_base)
    return rendered(files, text, source)


def _record(directory: Path) -> dict[str, str]:
    try:
        record = json.loads((directory / RECORD).read_text())
    except (OSError, ValueError):  # none yet, or no longer readable: every file counts as changed
        return {}
    return record if isinstance(record, dict) else {}


def _checksum(content: bytes) -> str:
    return sha256(content).hexdigest()


def files(
    directory: Annotated[Path, typer.Argument(help="Where collector/, dashboards/ and docs/ go.")],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that you have changed.")
    ] = False,
    thresholds: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The numbers of alerts and dashboards (extra rules); without it those of "
            "DIRECTORY/dashboards/thresholds.toml, if you have changed it.",
        ),
    ] = None,
    runbook_base: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where your people read docs/runbooks; alerts link there."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write out the Collector configuration, alert rules, runbooks and dashboards of this version.

    What you have changed is not overwritten; what you have not is brought up to date.

    Example: otel-budget files ./observability --runbook-base https://wiki.example.com/runbooks
    """
    result = write(directory, thresholds=thresholds, runbook_base=runbook_base, force=force)
    if as_json:
        typer.echo(json.dumps({"written": result.written, "unchanged": result.unchanged}))
        return
    for name in result.written:
        typer.echo(f"wrote {directory / name}")
    if result.unchanged:
        typer.echo(f"{len(result.unchanged)} files were there already, unchanged.")
