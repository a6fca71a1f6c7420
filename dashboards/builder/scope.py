"""A dashboard's drop-downs, and the queries that honour them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.builder import queries
from dashboards.builder.labels import (
    AGENT,
    BUDGET,
    ENVIRONMENT,
    JOB,
    LEVEL,
    LEVEL_OF_ONE_SOURCE,
    MODEL,
    PRINCIPAL,
    RESOURCE,
    TENANT,
    label,
)
from dashboards.builder.rules import fleet_records
from dashboards.builder.rules.alert_model import FORECAST
from dashboards.builder.rules.forecast_records import STATE
from otel_budget import semconv
from otel_budget.metric import Metric

#: The time selected on the dashboard.
RANGE: Final = "$__range"
#: The time between two points of a chart: bars over it add up to the total.
STEP: Final = "$__interval"


@dataclass(frozen=True, slots=True)
class Variable:
    """A drop-down: several values may be chosen; All matches everything, a missing label too."""

    name: str
    title: str
    label: str
    #: Metrics whose series carry the label; drop-downs before this one narrow them.
    sources: tuple[Metric, ...]

    @property
    def matcher(self) -> str:
        """Matches what is chosen: in a raw string, where a name may have quotes and backslashes."""
        return f"{self.label}=~`${self.name}`"

    def applies_to(self, metric: Metric) -> bool:
        """Whether series of the metric may carry the label."""
        if self.label in (JOB, ENVIRONMENT):
            return True
        if self.label in (TENANT, AGENT, PRINCIPAL):
            return metric.labelled
        return self.label in {label(attribute) for attribute in metric.attributes}


#: In the order in which they narrow each other.
VARIABLES: Final = (
    Variable("service", "Service", JOB, (semconv.METRIC_DECISIONS,)),
    Variable("environment", "Environment", ENVIRONMENT, (semconv.METRIC_DECISIONS,)),
    Variable("tenant", "Tenant", TENANT, (semconv.METRIC_DECISIONS, semconv.METRIC_CONSUMED)),
    Variable("agent", "Agent", AGENT, (semconv.METRIC_DECISIONS, semconv.METRIC_CONSUMED)),
    Variable("principal", "User", PRINCIPAL, (semconv.METRIC_DECISIONS, semconv.METRIC_CONSUMED)),
    Variable("model", "Model", MODEL, (semconv.METRIC_CALLS,)),
    Variable(
        "resource",
        "Resource",
        RESOURCE,
        (semconv.METRIC_THRESHOLD_HITS, semconv.METRIC_CONSUMED),
    ),
)
#: The records that a board reads (`fleet_records.WINDOWS`): those of a minute up to a day, those
#: of five minutes for longer times.
RECORDS: Final = "$records"
#: The longest selected time, in seconds, whose panels read the records of a minute.
FINE_UP_TO: Final = 86400
#: The label of a series that stands for many: how many they are.
OTHERS: Final = "others"
#: The value of All: it matches series without the label, too.
ALL_VALUE: Final = ".*"
#: Where Jaeger's page is; a text box, since a dashboard cannot ask a data source for it.
JAEGER_DEFAULT: Final = "http://localhost:16686"


def escaped(query: str) -> str:
    """A query in which the renderer itself escapes what is chosen, as Grafana does if asked.

    A name is not a pattern: one mail address with a plus would match nothing.
    """
    for variable in VARIABLES:
        query = query.replace(f"`${variable.name}`", f"`${{{variable.name}:regex}}`")
    return query


@dataclass(frozen=True, slots=True)
class Scope:
    """Selectors and queries that honour every drop-down the metric carries.

    Attributes:
        names: How the backend names the metrics.
    """

    names: queries.Names

    def select(self, metric: Metric, *matchers: str, part: str = "") -> str:
        """The selector of a metric under the drop-downs, with more matchers."""
        chosen = [variable.matcher for variable in VARIABLES if variable.applies_to(metric)]
        return queries.selector(self.names.of(metric, part), *chosen, *matchers)

    def source(self, variable: Variable) -> str:
        """The selector behind a drop-down, narrowed by the drop-downs before it."""
        chosen = [
            earlier.matcher
            for earlier in VARIABLES[: VARIABLES.index(variable)]
            if all(earlier.applies_to(metric) for metric in variable.sources)
        ]
        names = "|".join(self.names.of(metric) for metric in variable.sources)
        if len(variable.sources) == 1:
            return queries.selector(names, *chosen)
        return queries.selector("", f'__name__=~"{names}"', *chosen)

    def counted(self, metric: Metric, *matchers: str, window: str = RANGE) -> str:
        """What a counter counted, as one number."""
        return queries.by("sum", (), self.names.total(self.select(metric, *matchers), window))

    def counted_by(
        self, labels: tuple[str, ...], metric: Metric, *matchers: str, window: str = RANGE
    ) -> str:
        """What a counter counted, by labels; ``(none)`` where a label is missing."""
        total = self.names.total(self.select(metric, *matchers), window)
        return queries.named(queries.by("sum", labels, total), *labels)

    def counted_or_zero(
        self, name: str, metric: Metric, *, known: Metric = semconv.METRIC_DECISIONS
    ) -> str:
        """`counted_by` one label, or a single 0 where `known` is counted and `metric` never was."""
        counted = self.counted_by((name,), metric)
        zero = queries.marked(self.fleet_counted(known), name, "none so far")
        return f"{counted} or (0 * {zero} unless on () {counted})"

    def fleet(self, metric: Metric, window: str, *matchers: str) -> str:
        """The selector of a metric's record of `window` (`fleet_records.total`)."""
        return self._recorded_of(fleet_records.total(metric, window), metric, *matchers)

    def _recorded_of(self, record: str, metric: Metric, *matchers: str) -> str:
        chosen = [variable.matcher for variable in VARIABLES if variable.applies_to(metric)]
        return queries.selector(record, *chosen, *matchers)

    def fleet_sum(
        self,
        labels: tuple[str, ...],
        metric: Metric,
        *matchers: str,
        window: str = RANGE,
        before: str = "",
    ) -> str:
        """What a counter counted, by labels, from the rules' records instead of each process.

        Args:
            labels: What is told apart.
            metric: The counter.
            matchers: Of what is counted.
            window: The time that is counted.
            before: A modifier of that time, e.g. "offset 1d".
        """
        record = self.fleet(metric, RECORDS, *matchers)
        asked = f"{record}[{window}] {before}".rstrip()
        return queries.by("sum", labels, f"sum_over_time({asked})")

    def fleet_counted(self, metric: Metric, *matchers: str, window: str = RANGE) -> str:
        """`fleet_sum` as one number."""
        return self.fleet_sum((), metric, *matchers, window=window)

    def fleet_counted_by(
        self, labels: tuple[str, ...], metric: Metric, *matchers: str, window: str = RANGE
    ) -> str:
        """`fleet_sum`, with ``(none)`` where a label is missing."""
        return queries.named(self.fleet_sum(labels, metric, *matchers, window=window), *labels)

    def fleet_top(
        self, name: str, metric: Metric, top: int, *, window: str = RANGE
    ) -> tuple[str, str]:
        """`fleet_sum` of those who counted most in the selected time, and of all others together.

        Args:
            name: The label that tells them apart; the others have `OTHERS` instead, with how many
                they are.
            metric: The counter.
            top: How many stand by themselves.
            window: The time of each sum.
        """
        counted = self.fleet_sum((name,), metric, window=window)
        whole = self.fleet_sum((name,), metric, before="@ end()")
        most = f"on ({name}) topk({top}, {whole} > 0)"
        number = queries.count_values(f"count({whole} > 0) - {top} > 0", (), OTHERS)
        told = f'label_replace({number}, "{OTHERS}", "$1 others", "{OTHERS}", "(.*)")'
        rest = f"sum({counted} unless {most}) * on () group_left ({OTHERS}) {told}"
        return f"({counted} and {most})", f"({rest})"

    def fleet_buckets(
        self, labels: tuple[str, ...], metric: Metric, *matchers: str, window: str
    ) -> str:
        """What a histogram's buckets counted, by labels, from the rules' records."""
        record = self._recorded_of(fleet_records.bucket_total(metric, RECORDS), metric, *matchers)
        return queries.by("sum", labels, f"sum_over_time({record}[{window}])")

    def with_exemplars(self, buckets: str, metric: Metric) -> str:
        """`fleet_buckets` of a panel that shows exemplars, too.

        They are found by the selectors of a query. So the buckets themselves are named, at a time
        when there were none.
        """
        return f"({buckets} or {self.select(metric, part='_bucket')} @ 0)"

    def fleet_last_counted(self, labels: tuple[str, ...], metric: Metric, *matchers: str) -> str:
        """When (Unix time) a counter last counted in the selected time; now if within 5 minutes."""
        record = self.fleet(metric, RECORDS, *matchers)
        recorded = f"max_over_time((timestamp({record}) and {record} > 0)[{RANGE}:{RECORDS}])"
        recent = self.names.happened(self.select(metric, *matchers), "5m")
        return (
            queries.by("max", labels, f"{recent} * 0 + time()")
            + " or "
            + queries.by("max", labels, recorded)
        )

    def fleet_last_heard(
        self, labels: tuple[str, ...], metric: Metric, *, window: str = RANGE
    ) -> str:
        """When (Unix time) a metric last had a sample in the selected time, or in `window`."""
        record = self._recorded_of(fleet_records.last(metric, RECORDS), metric)
        return (
            queries.by("max", labels, f"timestamp({self.select(metric)})")
            + " or "
            + queries.by("max", labels, f"max_over_time({record}[{window}])")
        )

    def fleet_lacks(self, metric: Metric) -> str:
        """What share (0..1) of a day's count the records lack; all of it where there are none."""

        def latest(record: str) -> str:
            return queries.by("sum", (), f"last_over_time({self._recorded_of(record, metric)}[1h])")

        known = latest(fleet_records.total(metric, fleet_records.COMPARED))
        lacking = f"1 - {queries.share(latest(fleet_records.recorded(metric)), known)}"
        fine = self._recorded_of(fleet_records.total(metric, fleet_records.WINDOWS[0]), metric)
        counted = queries.by("sum", (), self.select(metric))
        none = f"(0 * {counted} + 1) unless on () last_over_time({fine}[10m])"
        return f"({lacking}) or {none}"

    def recorded(self, record: str, *matchers: str) -> str:
        """The selector of a rule's series, which has a budget's labels; not every one has a job."""
        chosen = [v.matcher for v in VARIABLES if v.label in BUDGET]
        return queries.selector(record, *chosen, *matchers)

    def level(self, metric: Metric, *matchers: str, labels: Sequence[str] = LEVEL) -> str:
        """A gauge of each budget whose window still runs, or that has none."""
        remaining = self.select(semconv.METRIC_WINDOW_REMAINING, *matchers)
        return queries.level(queries.running(self.select(metric, *matchers), remaining), labels)

    def time_left(self, *matchers: str, labels: Sequence[str] = LEVEL) -> str:
        """Seconds until each budget's window ends."""
        remaining = self.select(semconv.METRIC_WINDOW_REMAINING, *matchers)
        return queries.level(queries.time_left(remaining), labels)

    def forecast_beside(self, levels: str) -> str:
        """Numbers of budgets of one source, each with what the forecast says in the label."""
        state = f"on ({', '.join(LEVEL_OF_ONE_SOURCE)}) group_left ({STATE})"
        return f"({levels}) * {state} {self.recorded(FORECAST, queries.CAP)}"
