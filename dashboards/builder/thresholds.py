"""`dashboards/thresholds.toml`, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

DEFAULT_FILE: Final = Path(__file__).parent.parent / "thresholds.toml"

#: Types of the fields that are lists: an entry's type, and what to call it.
_LISTS: Final = {
    "tuple[str, ...]": (str, "names"),
    "tuple[float, ...]": (float, "numbers with a decimal point"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """One field per entry of the file, named ``table_key``; the file says what each means."""

    runbook_base: str
    expected_services: tuple[str, ...]
    utilization_soft: float
    utilization_hard: float
    utilization_told: tuple[float, ...]
    emptying_share: float
    emptying_gone_seconds: int
    emptying_usual: float
    emptying_sure: float
    burn_fast_share: float
    burn_fast_lately: float
    burn_fast_gone_seconds: int
    burn_fast_usual: float
    burn_fast_newcomer: float
    burn_slow_share: float
    burn_slow_lately: float
    burn_slow_gone_seconds: int
    burn_slow_usual: float
    burn_slow_newcomer: float
    month_fast_pace: float
    month_fast_usual: float
    month_fast_newcomer: float
    month_slow_pace: float
    month_slow_usual: float
    month_slow_newcomer: float
    month_days_pace: float
    month_days_used: float
    month_days_early_seconds: int
    forecast_elapsed: float
    forecast_utilization: float
    forecast_early_seconds: int
    spike_factor: float
    spike_floor_usd: float
    refused_reserved: int
    refused_full: float
    ledger_floor_usd: float
    ledger_floor_tokens: int
    ledger_not_counting: float
    ledger_not_counting_tokens: float
    ledger_undercounts: float
    ledger_counts_more: float
    ledger_refusals: int
    ledger_refused_below: float
    reservation_old_seconds: float
    guard_slow_seconds: float
    guard_late_seconds: float
    unpriced_share: float
    cache_read: float
    cache_write: float
    cache_output: float
    absent_after: str
    silent_after: str
    collector_queue: float
    clock_seconds: int
    collision_resets: int


def load(path: Path = DEFAULT_FILE) -> Thresholds:
    """Read the thresholds. Raises what `read` raises."""
    return read(path.read_text(encoding="utf-8"), path)


def read(text: str, path: object) -> Thresholds:
    """The thresholds of a text.

    Args:
        text: The text.
        path: Where it is from, for error messages.

    Raises:
        ValueError: naming the entry that is missing, unknown or of the wrong type.
    """
    flat: dict[str, Any] = {}
    for key, value in tomllib.loads(text).items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{name}": entry for name, entry in value.items()}
        else:
            flat[key] = value
    known = {field.name: str(field.type) for field in fields(Thresholds)}
    for name in known.keys() ^ flat.keys():
        raise ValueError(f"{path}: {'missing' if name in known else 'unknown'} entry {name}")
    for name, kind in known.items():
        if kind in _LISTS:
            entry_type, noun = _LISTS[kind]
            entries = flat[name]
            if not isinstance(entries, list) or any(type(e) is not entry_type for e in entries):
                raise ValueError(f"{path}: {name} must be a list of {noun}, is {entries!r}")
            flat[name] = tuple(entries)
            continue
        allowed = {"str": (str,), "int": (int,), "float": (float, int)}[kind]
        if not isinstance(flat[name], allowed) or isinstance(flat[name], bool):
            raise ValueError(f"{path}: {name} must be of type {kind}, is {flat[name]!r}")
    return Thresholds(**flat)
