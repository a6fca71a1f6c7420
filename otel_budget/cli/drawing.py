"""Draws reports, traces and metrics for a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from otel_budget import semconv
from otel_budget.cli.report import Denial, Level, Tenant, series
from otel_budget.cli.terminal import amount, bar, clean, usd

#: A finished span of the SDK, whose types this module must not import.
Span = Any
_COLOURS: Final = {
    semconv.ALLOW: "green",
    semconv.SOFT_LIMIT: "yellow",
    semconv.DENY: "red",
    semconv.ERROR: "red bold",
}
#: Rows of a table before the rest is summed up.
_ROWS: Final = 20
#: Spans of a drawn trace.
_SPANS: Final = 24


def new_table(title: str, *columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns in `right` hold numbers."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    numbers = set(right)
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=column in numbers,
        )
    return table


def tenants_table(tenants: Sequence[Tenant], others: Sequence[Level], *, money: bool) -> Table:
    """One row per tenant, then the budgets that belong to none of these tenants."""
    numbers = ("calls", "tokens", "cost", "soft", "denied")
    table = new_table("By tenant", "tenant", *numbers, "limit used", right=numbers)
    for tenant in tenants[:_ROWS]:
        table.add_row(
            _tenant(tenant.tenant),
            f"{tenant.calls:,}",
            f"{tenant.tokens:,}",
            usd(tenant.cost_usd) if money else "-",
            f"{tenant.soft_hits:,}",
            Text(f"{tenant.denials:,}", "red" if tenant.denials else ""),
            Group(*(_level(level, named=len(tenant.levels) > 1) for level in tenant.levels)),
        )
    if len(tenants) > _ROWS:
        table.caption = f"and {len(tenants) - _ROWS:,} more; --json lists them all"
    for level in others[:_ROWS]:
        owner = Text("all calls") if level.tenant is None else _tenant(level.tenant)
        table.add_row(owner, "", "", "", "", "", _level(level, named=True))
    return table


def _tenant(name: str | None) -> Text:
    return Text("(no tenant)", "dim") if name is None else Text(clean(name))


def _level(level: Level, *, named: bool) -> Text:
    line = bar(level.utilization) if level.utilization is not None else Text()
    if level.limit is not None:
        line.append(f" of {amount(level.limit, level.unit)}")
    window = f"/{level.window}" if level.window else ""
    line.append(window, "dim")
    if named:
        line.append(f" {level.resource}", "dim")
    return line


def denials_table(denials: Sequence[Denial]) -> Table:
    """The denied calls with their reason, equal ones counted together."""
    table = new_table("Denied", "calls", "tenant", "budget", "reason", right=("calls",))
    for denial in denials[:_ROWS]:
        table.add_row(
            Text(f"{denial.calls:,}", "red"),
            _tenant(denial.tenant),
            Text(clean(denial.resource)),
            Text(clean(denial.reason)),
        )
    if len(denials) > _ROWS:
        table.add_row("", "", "", Text(f"and {len(denials) - _ROWS:,} more reasons", "dim"))
    return table


# -- a trace -------------------------------------------------------------------------------
def trace_tree(spans: Sequence[Span]) -> Tree | None:
    """The most telling session's trace: with a soft limit and a denial, if there is one."""
    sessions: dict[str, list[Span]] = {}
    for span in spans:
        sessions.setdefault(str((span.attributes or {}).get(semconv.SESSION_ID)), []).append(span)
    if not sessions:
        return None
    name, chosen = max(sessions.items(), key=lambda item: _telling(item[1]))
    root = next(span for span in chosen if span.name == semconv.SPAN_SESSION)
    trace_id = root.context.trace_id
    children = [
        span for span in chosen if span.parent and span.parent.span_id == root.context.span_id
    ]
    tree = Tree(
        Text.assemble(
            (root.name, "bold"), f"  session {clean(name)}  ", (f"trace {trace_id:032x}", "dim")
        ),
        guide_style="dim",
    )
    shown: set[Any] = set()
    for span in children[:_SPANS]:
        _add_span(tree, span, shown)
    if len(children) > _SPANS:
        tree.add(Text(f"and {len(children) - _SPANS} more spans", "dim"))
    return tree


def _telling(spans: Sequence[Span]) -> tuple[int, int, int]:
    """How much a session shows at a glance: different decisions, and not too many spans."""
    decisions = {(span.name, (span.attributes or {}).get(semconv.DECISION)) for span in spans}
    hits = sum(
        (semconv.SPAN_CHECK_BEFORE_LLM, decision) in decisions
        for decision in (semconv.SOFT_LIMIT, semconv.DENY)
    )
    return (hits, len(decisions), -abs(len(spans) - _SPANS))


def _add_span(tree: Tree, span: Span, shown: set[Any]) -> None:
    """Draw `span`, and its events; of equal hits, only the first with its message (see `shown`)."""
    attributes: Mapping[str, Any] = span.attributes or {}
    decision = str(attributes.get(semconv.DECISION, ""))
    line = Text.assemble(span.name, "  ")
    if decision:
        line.append(decision, _COLOURS.get(decision, "yellow"))
    facts: list[str] = []
    if semconv.ESTIMATED_PROMPT_TOKENS in attributes:
        facts.append(f"~{attributes[semconv.ESTIMATED_PROMPT_TOKENS]:,} tokens")
    if semconv.TOOL_NAME in attributes:
        facts.append(clean(str(attributes[semconv.TOOL_NAME])))
    if semconv.USAGE_INPUT_TOKENS in attributes:
        facts.append(
            f"{attributes[semconv.USAGE_INPUT_TOKENS]:,} in, "
            f"{attributes[semconv.USAGE_OUTPUT_TOKENS]:,} out"
        )
    if semconv.COST in attributes:
        facts.append(usd(attributes[semconv.COST]))
    line.append("  " + ", ".join(facts) if facts else "")
    node = tree.add(line)
    for event in span.events:
        details = event.attributes or {}
        key = (event.name, details.get(semconv.RESOURCE), details.get(semconv.KIND))
        if key in shown:
            line.append(f"  + {event.name}", "dim italic")
        else:
            shown.add(key)
            message = clean(str(details.get(semconv.MESSAGE, "")))
            node.add(Text.assemble((event.name, "italic"), f"  {message}"))


# -- metrics -------------------------------------------------------------------------------
def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """The reported metrics, under their names in Prometheus."""
    numbers = ("series", "value")
    table = new_table("Metrics, by their names in Prometheus", "name", *numbers, right=numbers)
    for row in metric_rows(metrics):
        table.add_row(str(row["name"]), f"{row['series']:,}", str(row["shown"]))
    return table


def metric_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Name, number of series and value of each reported metric.

    The value is a counter's sum, a gauge's maximum, a histogram's count.
    """
    rows: list[dict[str, Any]] = []
    for metric in semconv.METRICS:
        points = series(metrics, metric)
        if not points:
            continue
        name = metric.prometheus_name()
        if metric.kind == "histogram":
            count = sum(point.count for point in points)
            mean = sum(point.sum for point in points) / max(count, 1)
            value, shown = count, f"{count:,}, mean {mean * 1e6:,.0f} µs"
            name += "_count"
        elif metric.kind == "gauge":
            value = max(point.value for point in points)
            shown = f"max {value:,.4g}" if value < 1000 else f"max {value:,.0f}"
        else:
            value = sum(point.value for point in points)
            shown = f"{value:,.4f}" if metric.unit == "USD" else f"{value:,}"
        rows.append({"name": name, "series": len(points), "value": value, "shown": shown})
    return rows
