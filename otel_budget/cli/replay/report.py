"""The report of `replay` for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from typing import Final

from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from otel_budget import semconv
from otel_budget.cli.drawing import new_table
from otel_budget.cli.replay.budget import TriedLimit
from otel_budget.cli.replay.ledger import Group, Key, Ledger
from otel_budget.cli.replay.log.reading import Reading
from otel_budget.cli.replay.log.sources import Source
from otel_budget.cli.terminal import amount, bar, clean, counted, usd
from otel_budget.contract import BudgetLevel

#: Refused rows, first refusals and models that are named.
_NAMED: Final = 5
#: Rows of a table.
_ROWS: Final = 20
#: Why a call has no price, in words, and what helps.
_UNPRICED: Final = {
    semconv.NO_PRICES: ("no prices are installed", "pip install 'otel-budget[prices]', or --rate"),
    semconv.NO_MODEL: ("the log names no model", "--model"),
    semconv.UNKNOWN_MODEL: ("no published price", "--rate MODEL=IN/OUT, or --provider"),
    semconv.NO_RATE: ("no published rate for a part of the call", "--rate MODEL=IN/OUT"),
    semconv.CACHE_ACCOUNTING: (
        "it is not known whether the prompt contains the cached tokens",
        "--provider, which decides it",
    ),
    semconv.PRICE_ERROR: ("the price source failed", "--rate MODEL=IN/OUT"),
    semconv.MALFORMED_USAGE: ("the usage cannot be read", "--column"),
}


def opening(
    sources: Sequence[Source], reading: Reading, budget: Sequence[str], zone: tzinfo
) -> Text:
    """What was replayed, and against which budget."""
    name = sources[0].name.rsplit("/", 1)[-1] if len(sources) == 1 else f"{len(sources)} files"
    span = reading.calls.span()
    when = "" if span is None else f", {moment(span[0], zone)} to {moment(span[1], zone)} {zone}"
    kinds = ", ".join(
        kind if number == len(sources) else f"{kind} ({number})"
        for kind, number in reading.formats.items()
    )
    text = Text.assemble((clean(name), "bold"), f" ({kinds}){when}.\n", rows_line(reading))
    text.append("\nBudget: no limit." if not budget else "")
    for limit in budget:
        text.append(f"\nBudget: {limit}.")
    return text


def rows_line(reading: Reading) -> str:
    """What became of the rows: three numbers that add up."""
    text = f"{counted(reading.rows, 'row')} = {reading.kept:,} read"
    aside = sum(reading.aside.values())
    why = "; ".join(f"{why}: {number:,}" for why, number in reading.aside.most_common())
    return (
        f"{text} + {aside:,} set aside{f' ({why})' if why else ''} + {reading.refused:,} refused."
    )


def totals(ledger: Ledger) -> Text:
    """The whole log in numbers."""
    whole = ledger.whole
    tokens = ", ".join(
        f"{number:,} {kind.replace('_', ' ')}"
        for kind, number in ledger.tokens.items()
        if number or kind in {"input", "output"}
    )
    text = Text.assemble(
        (f"{counted(whole.calls, 'model call')} recorded", "green"),
        f": {tokens} tokens, cost {_cost(whole)}.\n",
        (f"{whole.refused:,} refused", "red" if whole.refused else ""),
    )
    if whole.refused:
        text.append(
            f", with {ledger.refused_tokens['input']:,} prompt and "
            f"{ledger.refused_tokens['output']:,} completion tokens in the log"
        )
    text.append(f". {counted(whole.soft, 'soft hit')}.")
    if ledger.tool_calls:
        text.append(
            f" {ledger.tool_denials:,} of {counted(ledger.tool_calls, 'tool call')} refused."
        )
    return text


def limits_table(limits: Sequence[TriedLimit], ledger: Ledger) -> Table:
    """What each of several limits did."""
    table = new_table("By limit", "limit", "soft", "refused", right=("soft", "refused"))
    for tried in limits:
        name = tried.limit.name
        refused = ledger.refused_by[name]
        table.add_row(
            Text(str(tried)),
            f"{ledger.soft_by[name]:,}",
            Text(f"{refused:,}", "red" if refused else ""),
        )
    return table


def table_of(
    combination: tuple[str, ...], groups: dict[Key, Group], levels: Sequence[BudgetLevel]
) -> Table:
    """A table of groups: those with refusals first, then the dearest; days in their order."""
    own = _levels_by_key(combination, levels)
    numbers = ("calls", "tokens", "cost", "soft", "refused")
    used = ("limit used",) if own else ()
    title = f"By {', '.join(combination)}"
    table = new_table(title, *combination, *numbers, *used, right=numbers)
    rows = ordered(combination, groups)
    shown = rows[-_ROWS:] if is_in_time(combination) else rows[:_ROWS]
    for key, group in shown:
        cells: list[Text | str | Lines] = [
            _name(what, part) for what, part in zip(combination, key, strict=True)
        ]
        cells += [
            f"{group.calls:,}",
            f"{group.tokens:,}",
            _cost(group),
            f"{group.soft:,}",
            Text(f"{group.refused:,}", "red" if group.refused else ""),
        ]
        if own:
            cells.append(Lines(*map(_level, own.get(key, ()))))
        table.add_row(*cells)
    if any(group.unpriced and group.cost_usd is not None for _, group in shown):
        table.caption = "+ and calls without a price"
    if len(rows) > _ROWS:
        more = f"and {len(rows) - _ROWS:,} more; --json or --csv lists them all"
        table.caption = f"{table.caption}; {more}" if table.caption else more
    return table


def is_in_time(combination: tuple[str, ...]) -> bool:
    """Whether a table is ordered by its days or hours."""
    return combination[0] in {"day", "hour"}


def ordered(combination: tuple[str, ...], groups: dict[Key, Group]) -> list[tuple[Key, Group]]:
    """The rows of a table."""

    def names(key: Key) -> tuple[str, ...]:
        return tuple(part or "" for part in key)

    if is_in_time(combination):
        return sorted(groups.items(), key=lambda item: names(item[0]))
    return sorted(
        groups.items(),
        key=lambda item: (-item[1].refused, -item[1].cost, -item[1].tokens, names(item[0])),
    )


def _levels_by_key(
    combination: tuple[str, ...], levels: Sequence[BudgetLevel]
) -> dict[Key, list[BudgetLevel]]:
    owners = {"tenant": "tenant", "user": "principal", "agent": "agent"}
    found: dict[Key, list[BudgetLevel]] = {}
    if len(combination) == 1 and combination[0] in owners:
        mine = owners[combination[0]]
        for level in levels:
            others = [level.principal, level.agent] if mine == "tenant" else []
            if level.limit is None or any(others) or (mine == "tenant" and _is_shared(level)):
                continue
            if mine == "tenant" or getattr(level, mine) is not None:
                found.setdefault((getattr(level, mine),), []).append(level)
    return found


def _is_shared(level: BudgetLevel) -> bool:
    """Whether a level is that of all calls together."""
    return level.resource.startswith("total_")


def shared_levels(levels: Sequence[BudgetLevel]) -> Iterator[Text]:
    """The budgets of all calls together."""
    for level in levels:
        if _is_shared(level) and level.limit is not None:
            yield Text("Used by all calls: ").append(_level(level))


def _level(level: BudgetLevel) -> Text:
    limit = level.limit or 0.0
    line = bar(level.consumed / limit) if limit else Text()
    line.append(f" of {amount(limit, level.unit or '')}")
    return line.append(f"/{level.window}" if level.window else "", "dim")


def _name(what: str, part: str | None) -> Text:
    return Text(f"(no {what})", "dim") if part is None else Text(clean(part))


def _cost(group: Group) -> str:
    cost = group.cost_usd
    if cost is None or not group.calls:
        return "-"
    return usd(cost) + ("+" if group.unpriced else "")


def notes(
    sources: Sequence[Source],
    reading: Reading,
    ledger: Ledger,
    levels: Sequence[BudgetLevel],
    zone: tzinfo,
) -> Iterator[Text]:
    """What the numbers alone do not show."""
    for note in reading.notes:
        yield Text(note, "yellow")
    firsts = list(ledger.first_refusals.items())
    for tenant, call in firsts[:_NAMED]:
        when = "" if call.at is None else f" at {moment(call.at, zone)} {zone}"
        name = clean(tenant) if tenant else "calls without a tenant"
        place = f"{reading.units[call.file]} {call.line}"
        if len(sources) > 1:
            place += f" of {clean(sources[call.file].name)}"
        yield Text(f"First refusal of {name}{when}, {place}.")
    if len(firsts) > _NAMED:
        yield Text(f"{len(firsts) - _NAMED:,} more tenants were refused.")
    yield from unpriced(ledger)
    compared = ledger.compared
    if compared.calls and not ledger.log_cost:
        share = "" if not compared.log else f" ({compared.ours / compared.log - 1:+.1%})"
        yield Text(
            f"Cost by the log itself: {usd(compared.log)}; by the prices here: "
            f"{usd(compared.ours)}{share}, of {counted(compared.calls, 'call')} with both."
        )
    for error, number in ledger.guard_errors.items():
        yield Text(f"The guard raised {error} in {counted(number, 'call')}.", "red")
    if any(level.window for level in levels):
        yield Text("The limit used is that of the window in which the log ends.", "dim")
    if reading.calls.untimed == reading.kept:
        yield Text("No timestamps: all calls fall into one window.", "yellow")
    elif reading.calls.untimed:
        untimed = counted(reading.calls.untimed, "call")
        yield Text(f"No timestamp in {untimed}: taken before all others.", "yellow")
    if reading.calls.reordered:
        yield Text("The rows were put into the order of their times.", "dim")
    if reading.refused:
        many = len(sources) > 1
        named = "; ".join(
            f"{bad.file}, {bad}" if many else str(bad) for bad in reading.bad[:_NAMED]
        )
        more = f"; and {reading.refused - _NAMED:,} more" if reading.refused > _NAMED else ""
        yield Text(f"Refused: {counted(reading.refused, 'row')}: ", "yellow").append(
            f"{clean(named)}{more}."
        )


def unpriced(ledger: Ledger) -> Iterator[Text]:
    """Which models have no price, and what helps."""
    by_reason: dict[str, list[tuple[str | None, int]]] = {}
    for (reason, model), number in ledger.unpriced.most_common():
        by_reason.setdefault(reason, []).append((model, number))
    for reason, models in by_reason.items():
        words, remedy = _UNPRICED[reason]
        named = [clean(model) for model, _ in models if model is not None][:_NAMED]
        more = f" and {len(models) - _NAMED} more" if len(models) > _NAMED else ""
        of = f" of {', '.join(named)}{more}" if named else ""
        total = sum(number for _, number in models)
        yield Text(
            f"No price for {counted(total, 'call')}{of}: {words}. Helps: {remedy}.", "yellow"
        )


def moment(seconds: float, zone: tzinfo) -> str:
    """A time for people."""
    return f"{datetime.fromtimestamp(seconds, zone):%Y-%m-%d %H:%M:%S}"
