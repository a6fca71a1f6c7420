"""The report of `replay` for machines: JSON and CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any

from otel_budget.cli.replay.budget import TriedLimit
from otel_budget.cli.replay.ledger import Group, Key, Ledger
from otel_budget.cli.replay.log.reading import Reading
from otel_budget.cli.replay.log.sources import Source
from otel_budget.cli.replay.recommend import SHARES, Recommended
from otel_budget.cli.replay.report import ordered
from otel_budget.contract import BudgetLevel


def as_json(
    sources: Sequence[Source],
    reading: Reading,
    ledger: Ledger,
    limits: Sequence[TriedLimit],
    levels: Sequence[BudgetLevel],
    *,
    recommended: Sequence[Recommended] = (),
) -> dict[str, Any]:
    """The whole report. What is not known is null."""
    whole, compared = ledger.whole, ledger.compared
    reasons: Counter[str] = Counter()
    for (reason, _), number in ledger.unpriced.items():
        reasons[reason] += number
    by_tenant: dict[str | None, list[BudgetLevel]] = {}
    for level in levels:
        by_tenant.setdefault(level.tenant, []).append(level)
    tenants = [
        _row(("tenant",), key, group)
        | {"levels": [_level(level) for level in by_tenant.get(key[0], ())]}
        for key, group in ordered(("tenant",), ledger.groups["tenant",])
    ]
    return {
        "files": [source.name for source in sources],
        "formats": dict(reading.formats),
        "columns": reading.columns,
        "rows": reading.rows,
        "rows_read": reading.kept,
        "rows_set_aside": dict(reading.aside),
        "rows_refused": reading.refused,
        "bad_rows": [asdict(bad) for bad in reading.bad],
        "reordered": reading.calls.reordered,
        "notes": reading.notes,
        "recorded_calls": whole.calls,
        "refused_calls": whole.refused,
        "soft_hits": whole.soft,
        "tool_calls": ledger.tool_calls,
        "tool_denials": ledger.tool_denials,
        "tokens": ledger.tokens,
        "refused_input_tokens": ledger.refused_tokens["input"],
        "refused_output_tokens": ledger.refused_tokens["output"],
        "cost_usd": _cost(whole),
        "unpriced_calls": dict(reasons),
        "unpriced_models": [
            {"model": model, "reason": reason, "calls": number}
            for (reason, model), number in ledger.unpriced.most_common()
        ],
        "compared_cost": {
            "calls": compared.calls,
            "log_usd": compared.log,
            "our_usd": compared.ours,
        }
        if compared.calls
        else None,
        "guard_errors": dict(ledger.guard_errors),
        "limits": [
            {
                "limit": str(tried),
                "resource": tried.limit.name,
                "refused_calls": ledger.refused_by[tried.limit.name],
                "soft_hits": ledger.soft_by[tried.limit.name],
            }
            for tried in limits
        ],
        "recommended_limits": [
            {"unit": each.unit, "per": each.who, "window": each.window}
            | {
                f"one_in_{share}" if share else "refuses_nothing": cap
                for share, cap in zip(SHARES, each.caps, strict=True)
            }
            for each in recommended
        ],
        "tenants": tenants,
        "groups": [
            {
                "by": list(combination),
                "rows": [
                    _row(combination, key, group) for key, group in ordered(combination, found)
                ],
            }
            for combination, found in ledger.groups.items()
        ],
        "levels": [_level(level) for level in levels],
        "first_refusals": [
            {
                "tenant": tenant,
                "file": sources[call.file].name,
                reading.units[call.file]: call.line,
                "timestamp": call.at,
            }
            for tenant, call in ledger.first_refusals.items()
        ],
    }


def write_csv(file: IO[str], combination: tuple[str, ...], groups: dict[Key, Group]) -> None:
    """One table, complete. What is not known is empty."""
    rows = [_row(combination, key, group) for key, group in ordered(combination, groups)]
    names = list(_row(combination, (None,) * len(combination), Group()))
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _row(combination: tuple[str, ...], key: Key, group: Group) -> dict[str, Any]:
    return dict(zip(combination, key, strict=True)) | {
        "calls": group.calls,
        "denials": group.refused,
        "soft_hits": group.soft,
        "tokens": group.tokens,
        "cost_usd": _cost(group),
        "unpriced_calls": group.unpriced,
    }


def _cost(group: Group) -> float | None:
    """The cost in USD without the noise of sums of binary fractions."""
    cost = group.cost_usd
    return None if cost is None else round(cost, 12)


def _level(level: BudgetLevel) -> dict[str, Any]:
    names = ("resource", "tenant", "principal", "agent", "window", "unit", "consumed", "limit")
    return {name: getattr(level, name) for name in names}
