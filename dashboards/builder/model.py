"""What a dashboard is, before it becomes Grafana's or Perses' JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dashboards.builder import queries as q
from otel_budget import semconv as sc
from otel_budget.semconv import Metric, prometheus_label

TENANT, AGENT, PRINCIPAL = (prometheus_label(a) for a in (sc.TENANT, sc.AGENT, sc.PRINCIPAL))
RESOURCE = prometheus_label(sc.RESOURCE)
MODEL = prometheus_label(sc.METRIC_MODEL)


@dataclass(frozen=True, slots=True)
class Variable:
    """A drop-down: several values may be chosen; All matches everything, a missing label too."""

    name: str
    title: str
    label: str
    #: Metrics whose series carry the label; drop-downs before this one narrow them.
    sources: tuple[Metric, ...]


#: In the order in which they narrow each other.
VARIABLES: Final = (
    Variable("service", "Service", q.JOB, (sc.METRIC_DECISIONS,)),
    Variable("environment", "Environment", q.ENVIRONMENT, (sc.METRIC_DECISIONS,)),
    Variable("tenant", "Tenant", TENANT, (sc.METRIC_DECISIONS, sc.METRIC_CONSUMED)),
    Variable("agent", "Agent", AGENT, (sc.METRIC_DECISIONS, sc.METRIC_CONSUMED)),
    Variable("model", "Model", MODEL, (sc.METRIC_CALLS,)),
    Variable("resource", "Resource", RESOURCE, (sc.METRIC_THRESHOLD_HITS, sc.METRIC_CONSUMED)),
)
#: All: also series that lack the label.
ALL_VALUE: Final = ".*"
#: Where Jaeger's page is; a text box, since a dashboard cannot ask a data source for it.
JAEGER_DEFAULT: Final = "http://localhost:16686"


def carries(metric: Metric, variable: Variable) -> bool:
    """Whether series of the metric may carry the variable's label."""
    if variable.label in (q.JOB, q.ENVIRONMENT):
        return True
    if variable.label in (TENANT, AGENT):
        return metric.labelled
    return variable.label in {prometheus_label(a) for a in metric.attributes}


@dataclass(frozen=True, slots=True)
class Scope:
    """Selectors that honour every drop-down the metric carries."""

    names: q.Names

    def x(self, metric: Metric, *matchers: str, part: str = "") -> str:
        """The selector of a metric under the dashboard's drop-downs, and more matchers."""
        chosen = [f'{v.label}=~"${v.name}"' for v in VARIABLES if carries(metric, v)]
        return q.selector(self.names.of(metric, part), *chosen, *matchers)

    def source(self, variable: Variable) -> str:
        """The selector behind a drop-down, narrowed by the drop-downs before it."""
        before = VARIABLES[: VARIABLES.index(variable)]
        chosen = [
            f'{v.label}=~"${v.name}"'
            for v in before
            if all(carries(m, v) for m in variable.sources)
        ]
        names = "|".join(self.names.of(metric) for metric in variable.sources)
        if len(variable.sources) == 1:
            return q.selector(names, *chosen)
        return q.selector("", f'__name__=~"{names}"', *chosen)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit in both dialects.

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
#: Counted things of which every single one matters.
WHOLE: Final = Unit("locale", (("unit", "decimal"), ("shortValues", False)), 0)
SECONDS: Final = Unit("s", (("unit", "seconds"), ("decimalPlaces", 1)))
PER_SECOND: Final = Unit("cps", (("unit", "counts/sec"), ("decimalPlaces", 2)))


Color = Literal["blue", "orange", "red", "purple"]


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on, this colour. Values are always written beside it."""

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
        color: A colour that its series have whatever else is shown; the legend names them too.
    """

    expr: str
    legend: str = ""
    header: str = ""
    unit: Unit | None = None
    exemplar: bool = False
    color: Color | None = None


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
        description: What it says and what to do about it.
        columns: In a table, label -> header of the columns to show, in order.
        hidden: In a table, labels that tell rows apart but are not shown.
        legend_right: Whether the legend stands at the right, where more series have room.
        steps: Thresholds, ascending.
        top: Largest value of the scale, if fixed.
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
    links: tuple[Link, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard; `uid` is stable, since links and bookmarks name it."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]

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
