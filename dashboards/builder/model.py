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
SHARE: Final = Unit("percentunit", (("unit", "percent-decimal"), ("decimalPlaces", 1)), 1)
COUNT: Final = Unit("short", (("unit", "decimal"), ("shortValues", True)))
#: Counts in which every single one matters.
WHOLE: Final = Unit("locale", (("unit", "decimal"), ("shortValues", False)), 0)
SECONDS: Final = Unit("s", (("unit", "seconds"), ("decimalPlaces", 1)))
PER_SECOND: Final = Unit("cps", (("unit", "counts/sec"), ("decimalPlaces", 2)))


Color = Literal["blue", "orange", "red", "purple"]


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on, this colour. The value itself is always shown, too."""

    value: float
    color: Color


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One query.

    Attributes:
        expr: PromQL.
        legend: Name of a series, ``{{label}}`` filled in.
        header: In a table, the header of the value's column.
        unit: In a table, the unit of that column (else the panel's).
        exemplar: Whether to ask for exemplars, which link to traces.
        color: The fixed colour of its series; the legend names them, too.
        timeless: The query that says the same whatever time is selected, for a renderer whose
            panels have no time of their own (`Panel.today`).
    """

    expr: str
    legend: str = ""
    header: str = ""
    unit: Unit | None = None
    exemplar: bool = False
    color: Color | None = None
    timeless: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A link on a panel; `column` names the table column whose cells carry it."""

    title: str
    url: str
    column: str = ""


Kind = Literal["stat", "lines", "bars", "gauges", "table", "heatmap", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        key: Stable name, unique in the dashboard.
        kind: `lines` over time; `bars` counts per interval, stacked; `gauges` one bar per series
            now; `stat` one number now; `table` rows now.
        description: What it shows and what to do about it.
        columns: In a table, label -> header of the columns to show, in order.
        hidden: In a table, labels that distinguish rows but are not shown.
        legend_right: Whether the legend is on the right, where more series have room.
        steps: Thresholds, ascending.
        top: Largest value of the scale, if fixed.
        today: Whether it shows the time since midnight, whatever time is selected.
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
    legend_right: bool = False
    steps: tuple[Step, ...] = ()
    top: float | None = None
    today: bool = False
    links: tuple[Link, ...] = ()
    text: str = ""
    interval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard.

    Attributes:
        uid: Stable, since links and bookmarks name it.
        refresh: How often Grafana asks again, in Prometheus' words. A person may choose a rarer
            time.
    """

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    refresh: str

    @property
    def panels(self) -> list[Panel]:
        """All panels, in reading order."""
        return [panel for row in self.rows for panel in row.panels]


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
