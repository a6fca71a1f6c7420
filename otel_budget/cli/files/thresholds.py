"""Rules and dashboards by the reader's own thresholds and address of the runbooks."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

from otel_budget.cli.files.shipped import THRESHOLDS, root
from otel_budget.cli.terminal import CommandError

_BASE: Final = "runbook_base"
_BASE_LINE: Final = re.compile(rf"^{_BASE} = .*$", re.M)
_URL: Final = re.compile(r"""[\w./~-][^\s"'\\]*""")


def with_base(thresholds: str, base: str) -> str:
    """The thresholds with another address of the runbooks.

    Raises:
        CommandError: It is no address.
    """
    base = base.rstrip("/")
    if not _URL.fullmatch(base):
        raise CommandError(f"--runbook-base {base!r} is not an address such as https://HOST/PATH.")
    return _BASE_LINE.sub(lambda _: f'{_BASE} = "{base}"', thresholds, count=1)


def rendered(files: Mapping[str, bytes], thresholds: str, source: object) -> dict[str, bytes]:
    """`files` with what these thresholds make of rules and dashboards.

    Args:
        files: As shipped.
        thresholds: The text of a ``thresholds.toml``.
        source: Where that is from, for error messages.

    Raises:
        CommandError: The thresholds cannot be read, or the builder lacks a library.
    """
    wanted = {**files, THRESHOLDS: thresholds.encode()}
    shipped = tomllib.loads(files[THRESHOLDS].decode())
    given = _parsed(thresholds, source)
    if given == shipped:
        return wanted
    base: Any = given.get(_BASE)
    if not isinstance(base, str) or {**given, _BASE: shipped[_BASE]} != shipped:
        wanted |= {name: text.encode() for name, text in _built(thresholds, source).items()}
    return wanted | dict(_linked(wanted, shipped[_BASE], base))


def _linked(files: Mapping[str, bytes], old: str, new: str) -> Iterator[tuple[str, bytes]]:
    """What says where the runbooks are, with another address: the rules, and the chart's values."""
    for ending, field, end in ((".yml", "runbook_url", "/"), ("values.yaml", "runbookBase", " ")):
        before, after = (f"{field}: {base}{end}".encode() for base in (old, new))
        for name, content in files.items():
            if name.endswith(ending):
                yield name, content.replace(before, after)


def _parsed(thresholds: str, source: object) -> dict[str, Any]:
    try:
        return tomllib.loads(thresholds)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{source} is not TOML: {error}.") from None


def _built(thresholds: str, source: object) -> dict[str, str]:
    sys.path.insert(0, str(root()))  # where a wheel carries the builder
    try:
        output: Any = import_module("dashboards.builder.output")
        reader: Any = import_module("dashboards.builder.thresholds")
    except ModuleNotFoundError as error:
        raise CommandError(
            f"to write rules by other thresholds takes {error.name}, which is not installed; "
            "install it with: pip install 'otel-budget[cli,rules]'."
        ) from None
    finally:
        sys.path.remove(str(root()))
    try:
        built: dict[str, str] = output.files(reader.read(thresholds, source))
    except ValueError as error:
        raise CommandError(f"{error}; the file that this version ships names each entry.") from None
    return built
