"""What a dashboard is, before it becomes Grafana's or Perses' JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, as Grafana and Perses write it.

    Attributes:
        grafana: Grafana's unit id.
        perses: Perses' format.
        decimals: Decimal places in Grafana.
    """

    grafana: str
    perses: tuple[tuple[str, str | int | bool], ...]
    decimals: int | None = None


USD: Final = Unit("currencyUSD", (("unit", "usd"), ("decimalPlaces", 2)), 2)
USD_PER_CALL: Final = Unit("currencyUSD", (("unit", "usd"), ("decimalPlaces", 4)), 4)
SHARE: Final = Unit("percentunit", (("unit", "percent-decimal"), ("decimalPlaces", 1)), 1)
COUNT: Final = Unit("short", (("unit", "decimal"), ("shortValues", True)))
#: Counts in which every single one matters.
WHOLE: Final = Unit("locale", (("unit", "decimal"), ("shortValues", False)), 0)
SECONDS: Final = Unit("s", (("unit", "seconds"), ("decimalPlaces", 1)))
PER_SECOND: Final = Unit("short", (("unit", "decimal"), ("decimalPlaces", 2)), 2)


#: What a colour means, on every board: blue is as it should be (allowed), orange is near a limit (a
#: soft limit), red is past one (refused), purple is a guard that failed, grey is not known, or the
#: rest of a list.
Color = Literal["blue", "orange", "red", "purple", "grey"]


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on, this colour. The value itself is always shown, too."""

    value: float
    color: Color


@dataclass(frozen=True, slots=True)
class Word:
    """In a column of words, those that match the pattern have this colour."""

    pattern: str
    color: Color


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One query.

    Attributes:
        expr: PromQL.
        legend: Name of a series, ``{{label}}`` filled in.
        header: In a table, the header of the value's column.
        unit: In a table, the unit of that column (else the panel's).
        steps: In a table, the colours of that column; a share is a bar on a scale to 100 %.
        hidden: In a table, that it has no column: it brings a label, and sorts the rows.
        dashed: Whether its lines are dashed: what is not measured.
        exemplar: Whether to ask for exemplars, which link to traces.
        color: The fixed colour of its series; the legend names them, too.
        timeless: The query that says the same whatever time is selected, for a renderer whose
            panels have no time of their own (`Panel.today`).
    """

    expr: str
    legend: str = ""
    header: str = ""
    unit: Unit | None = None
    steps: tuple[Step, ...] = ()
    hidden: bool = False
    dashed: bool = False
    exemplar: bool = False
    color: Color | None = None
    timeless: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A link in the cells of a table's column (by its label).

    Attributes:
        grafana: The address, as Grafana fills it in from the row.
        perses: The same for Perses; relative to a dashboard.
    """

    title: str
    column: str
    grafana: str
    perses: str


Kind = Literal["stat", "lines", "bars", "gauges", "table", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        key: Stable name, unique in the dashboard.
        kind: `lines` over time; `bars` counts per interval, stacked; `gauges` one bar per series
            now; `stat` one number now; `table` rows now.
        description: What it shows and what to do about it.
        columns: In a table, label -> header of the columns to show, in order; without a label,
            the place of the query's column that has the header. Others come last.
        hidden: In a table, labels that distinguish rows but are not shown.
        row: In a table, the label that alone says which row a query's number belongs to; rows
            then have labels that only one query brings.
        words: In a table, label -> the colours of its column's words.
        legend_right: Whether the legend is on the right, where more series have room.
        steps: Thresholds, ascending.
        top: Largest value of the scale, if fixed.
        today: Whether it shows the time since midnight, whatever time is selected.
        text, perses_text: Markdown, whose links are those of one renderer.
        interval: How far apart the points of a chart are at least; empty: as far as exports.
    """

    key: str
    title: str
    kind: Kind
    description: str
    targets: tuple[Target, ...] = ()
    unit: Unit = COUNT
    width: int = 8
    height: int = 8
    columns: tuple[tuple[str, str], ...] = ()
    hidden: tuple[str, ...] = ()
    row: str = ""
    words: tuple[tuple[str, tuple[Word, ...]], ...] = ()
    legend_right: bool = False
    steps: tuple[Step, ...] = ()
    top: float | None = None
    today: bool = False
    links: tuple[Link, ...] = ()
    text: str = ""
    perses_text: str = ""
    interval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What happened, on every chart over time, where the format has it.

    Attributes:
        name: What it is called.
        expr: PromQL; each point is an event.
        color: Its colour.
        text: What it says, with labels filled in.
    """

    name: str
    expr: str
    color: Color
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard.

    Attributes:
        uid: Stable, since links and bookmarks name it.
        refresh: How often Grafana asks again, in Prometheus' words. A person may choose a rarer
            time.
        start: Where the time begins at first, in Grafana's words.
        end: Where it ends.
        annotations: What is marked on its charts.
    """

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    refresh: str
    start: str = "now-6h"
    end: str = "now"
    annotations: Sequence[Annotation] = ()

    @property
    def panels(self) -> list[Panel]:
        """All panels, in reading order."""
        return [panel for row in self.rows for panel in row.panels]


def table_columns(panel: Panel) -> list[tuple[str, str, int | None]]:
    """The columns of a table, in order: label, header, and which query's number it is, if any."""
    places = {t.header: i for i, t in enumerate(panel.targets) if not t.hidden}
    columns = [
        (label, header, None if label else places[header]) for label, header in panel.columns
    ]
    placed = {index for _, _, index in columns}
    rest = [("", header, index) for header, index in places.items() if index not in placed]
    return columns + rest


def place(dashboard: Dashboard) -> list[tuple[Row, int, list[tuple[Panel, int, int]]]]:
    """Where everything goes on a grid 24 wide: (row, y of its title, [(panel, x, y)])."""
    placed, y = [], 0
    for row in dashboard.rows:
        title_y, y = y, y + 1
        x, tallest, panels = 0, 0, []
        for panel in row.panels:
            if x + panel.width > 24:
                x, y, tallest = 0, y + tallest, 0
            panels.append((panel, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
        placed.append((row, title_y, panels))
    return placed
