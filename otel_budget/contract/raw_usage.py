"""Reads the values of a usage as a provider or framework gave it: an object or a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from otel_budget.sanitize import shielded

_MAX_KEYS: Final = 16
_KEY_LENGTH: Final = 48
#: Keys of the entries of a list by kind, such as ``[{"modality": "AUDIO", "tokenCount": 7}]``.
_KINDS: Final = ("modality", "ttl")
_KIND_COUNTS: Final = ("tokenCount", "token_count", "inputTokens", "input_tokens")


def field(raw: Any, *names: str) -> Any:
    """The value of the first of `names` that is not None in `raw`, a mapping or an object."""
    is_mapping = type(raw) is dict or isinstance(raw, Mapping)  # the second takes its time
    for name in names:
        value = raw.get(name) if is_mapping else getattr(raw, name, None)
        if value is not None:
            return value
    return None


def number(raw: Any, path: str) -> int | float | None:
    """The number at `path` in `raw`, or None if there is no number.

    Args:
        raw: A mapping or an object.
        path: Names separated by dots; the last may select the entries of a list by their kind, as
            in ``promptTokensDetails[AUDIO]``, whose counts are added up.
    """
    if type(raw) is dict and "." not in path:
        value = raw.get(path)
        if type(value) is int:  # mostly, and all there is to it
            return value
    value = raw
    for name in path.split("."):
        if value is None:
            return None
        if name.endswith("]"):
            name, kind = name[:-1].split("[")  # noqa: PLW2901
            return _count_of_kind(field(value, name), kind)
        value = field(value, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _count_of_kind(entries: Any, kind: str) -> int | float | None:
    if not isinstance(entries, list | tuple):
        return None
    counts = [
        number(entry, name)
        for entry in entries
        if _kind(field(entry, *_KINDS)) == kind.lower()
        for name in _KIND_COUNTS
    ]
    present = [count for count in counts if count is not None]
    return sum(present) if present else None


def _kind(value: Any) -> str:
    """The last word of a kind: an enum prints as ``MediaModality.AUDIO``."""
    return str(getattr(value, "value", value)).rsplit(".", maxsplit=1)[-1].lower()


def keys(raw: Any) -> list[str]:
    """The names of the fields of `raw`, a mapping or an object, as far as it shows them."""
    if raw is None or isinstance(raw, str | bytes | int | float):
        return []
    if type(raw) is dict or isinstance(raw, Mapping):
        found: Iterable[Any] = raw
    else:
        found = [*getattr(raw, "__dict__", ()), *(getattr(raw, "__pydantic_extra__", None) or ())]
    return [key for key in found if isinstance(key, str) and not key.startswith("_")]


def description(raw: Any) -> str:
    """What `raw` is, without any of its values: its type and keys."""
    try:
        names = [key[:_KEY_LENGTH] for key in keys(raw) if key.isidentifier()]
    except shielded():
        names = []
    kind = f"of type {type(raw).__name__}"
    if not names:
        return kind
    more = ", …" if len(names) > _MAX_KEYS else ""
    return f"{kind} with the keys {', '.join(sorted(names)[:_MAX_KEYS])}{more}"
