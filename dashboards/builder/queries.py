"""PromQL that tells the truth about short-lived, restarted and repeated processes.

Every query of the dashboards and rules is built from these helpers, because ``increase()`` and
``rate()`` see nothing of what a counter did before its first sample: a job that spends $0.75,
exports once and ends reads $0. They also extrapolate: $4.00 read as $4.06.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.builder.labels import JOB, LEVEL, SHARED, label
from otel_budget import promql, semconv
from otel_budget.metric import Metric
from otel_budget.verify import expected

#: What a counter counted, as the commands ask it, too.
total: Final = promql.total
#: How long a process may be silent and still be known, where that costs a scan of the time and a
#: longer silence loses only what was counted in it: never a whole life again.
ANCHORED_MEMORY: Final = "1h"
#: The modifier of PromQL by which a difference begins at the last sample before the window.
ANCHORED: Final = "anchored"


@dataclass(frozen=True, slots=True)
class Names:
    """How one kind of backend names the metrics, and what it can be asked about counters.

    Attributes:
        suffixes: Whether the backend appends unit and type, as Prometheus does by default.
            Mimir's OTLP endpoint, for one, does not.
        anchored: Whether it is a Prometheus that knows `ANCHORED` and stores start times.
    """

    suffixes: bool = True
    anchored: bool = False

    def of(self, metric: Metric, part: str = "") -> str:
        """The series' name; `part` is ``_bucket``, ``_sum`` or ``_count`` of a histogram."""
        return metric.prometheus_name(suffixes=self.suffixes) + part

    def total(self, counter: str, window: str, *, memory: str = "") -> str:
        """What a counter counted in the last `window`: `total`, or `anchored_total`.

        Of counters that come with start times; those of the Collector itself are scraped.
        """
        if self.anchored:
            return anchored_total(counter, window, memory=memory or ANCHORED_MEMORY)
        return total(counter, window, memory=memory or promql.MEMORY)

    def happened(self, counter: str, window: str) -> str:
        """`happened`, by this backend's `total`."""
        return f"({self.total(counter, window)} > 0)"


def selector(name: str, *matchers: str) -> str:
    """``name{matcher, ...}``, without braces when there is no matcher."""
    kept = [matcher for matcher in matchers if matcher]
    return f"{name}{{{','.join(kept)}}}" if kept else name


def equals(attribute: str, value: str) -> str:
    """A matcher for one value of an OpenTelemetry attribute."""
    return f'{label(attribute)}="{value}"'


def differs(attribute: str, value: str) -> str:
    """A matcher for every other value of an OpenTelemetry attribute."""
    return f'{label(attribute)}!="{value}"'


def one_of(attribute: str, values: Sequence[str]) -> str:
    """A matcher for any of the values of an OpenTelemetry attribute."""
    if len(values) == 1:
        return equals(attribute, values[0])
    return f'{label(attribute)}=~"{"|".join(values)}"'


def none_of(attribute: str, values: Sequence[str]) -> str:
    """A matcher for every other value of an OpenTelemetry attribute, and for none."""
    return f'{label(attribute)}!~"{"|".join(values)}"'


#: The canaries of ``otel-budget verify`` are nobody's tenant and nobody's service: no alert looks
#: at them. The second is for metrics without tenant.
NOT_CANARY: Final = expected.OTHER_TENANTS
NOT_CANARY_JOB: Final = f'{JOB}!~"(.+/)?{expected.NAME}"'
#: Refusals and soft limits, among the threshold hits.
HARD: Final = equals(semconv.KIND, semconv.KIND_HARD)
SOFT: Final = equals(semconv.KIND, semconv.KIND_SOFT)
#: Levels that the guard itself reports, with its cap.
CAP: Final = equals(semconv.SOURCE, semconv.SOURCE_GUARD)
#: Outcomes of checks that gave the caller no answer.
TROUBLE: Final = (semconv.MALFORMED, semconv.ERROR, semconv.LATE, semconv.CANCELLED)


def by(function: str, labels: Sequence[str], expr: str) -> str:
    """An aggregation, e.g. ``sum by (a, b) (expr)``; over everything when `labels` is empty."""
    return f"{function} by ({', '.join(labels)}) ({expr})" if labels else f"{function}({expr})"


def happened(counter: str, window: str) -> str:
    """How often a counter counted in the last `window`; only series where it did."""
    return f"({total(counter, window)} > 0)"


def anchored_total(counter: str, window: str, *, memory: str) -> str:
    """`total`, exact over restarts, too: the store knows when each process began to count.

    This is what was counted since `memory` before the window, less what was counted in that time.
    Both begin at the same sample, so that it need not stand right before the window: the modifier
    alone looks back five minutes, and loses what arrives after a longer silence.

    Args:
        counter: The counter's selector.
        window: The time, as Prometheus writes durations.
        memory: After how long a silence the first sample counts as known before.
    """
    since = f"increase({counter}[{window} + {memory}] {ANCHORED})"
    before = f"increase({counter}[{memory}] {ANCHORED} offset {window})"
    return f"(({since} - {before} or {since}) and last_over_time({counter}[{window}]))"


def today(counter: str) -> str:
    """What a counter counted since midnight UTC, as one number, whatever the time selected.

    Of each series seen since midnight the last value, less the value at midnight; five-minute
    steps hit midnight exactly, because Prometheus aligns them to the epoch. Where a process
    restarted under the same instance id during the day, the number is not known and absent.
    """
    stamps = f"(timestamp({counter}) or max_over_time(timestamp({counter})[1d:5m]))"
    seen = f"({stamps} > scalar(vector(time() - time() % 86400)))"
    at_midnight = (
        f"last_over_time({counter}[{promql.MEMORY}]) and on () (vector(time() % 86400) == 0)"
    )
    midnight = f"last_over_time(({at_midnight})[1d:5m])"
    latest = f"(last_over_time({counter}[1d]) and {seen})"
    spent = by("sum", (), f"{latest} - ({midnight} <= {latest}) or {latest}")
    restarted = by("count", (), f"resets({counter}[1d]) > 0")
    return f"({spent} unless on () {restarted})"


def rate(counter: str, labels: Sequence[str] = (), window: str = "$__rate_interval") -> str:
    """Events per second, for what goes on all the time; for what is counted see `total`."""
    return by("sum", labels, f"rate({counter}[{window}])")


def quantile(
    fraction: float, bucket: str, labels: Sequence[str], window: str = "$__rate_interval"
) -> str:
    """The quantile at `fraction` (0..1) of a classic histogram's buckets."""
    return f"histogram_quantile({fraction}, {rate(bucket, ('le', *labels), window)})"


def time_left(remaining: str) -> str:
    """Seconds until a budget's window ends, as of now; no value once it has ended."""
    return f"({remaining} - (time() - timestamp({remaining})) > 0)"


def running(level: str, remaining: str) -> str:
    """A level of a window that still runs, or of a budget without window.

    A process that fell silent before midnight is still seen after it, with yesterday's level.

    Args:
        level: A gauge, or what came of one, with the labels of its process.
        remaining: The gauge of the time that was left of its window.
    """
    return f"({level} and {time_left(remaining)} or {level} unless {remaining})"


def level(series: str, labels: Sequence[str] = LEVEL) -> str:
    """One value of a budget's gauge, however many processes report it: the fullest.

    Services are told apart, unless the guard says that they share the budget.
    """
    return by("max", labels, f'label_replace({series}, "{JOB}", "", "{SHARED}", "true")')


def used(consumed: str, reserved: str) -> str:
    """What of a budget is used or held for calls in progress, for guards that reserve or do not."""
    return f"({consumed} + {reserved} or {consumed})"


def elapsed_share(length: str, remaining: str) -> str:
    """How much (0..1) of a budget's window has passed."""
    return f"(({length} - {remaining}) / {length})"


def seconds_to_exhaustion(consumed: str, limit: str, grown: str, seconds: str) -> str:
    """Seconds until a budget is used up at the pace of `grown` in `seconds`; none at no pace.

    Not by ``deriv()``, which read $2,808 an hour instead of $1.50 where reservations are settled
    later, and a negative pace after the reset at midnight.
    """
    return f"(clamp_min({limit} - {consumed}, 0) / (({grown} > 0) / {seconds}))"


def share(part: str, whole: str) -> str:
    """`part` of `whole` (0..1); 0 where only the part is missing, nothing where the whole is."""
    return f"({or_zero(part, whole)}) / (({whole}) > 0)"


#: Seconds up to which a time is told in a unit, and the unit: nobody reads 0.3 d.
_TOLD: Final = ((0, 7200, 60, "min"), (7200, 172800, 3600, "h"), (172800, None, 86400, "d"))


def told(seconds: str, labels: Sequence[str], name: str, words: str) -> str:
    """A time in words, as the label `name` of series by `labels`: ``{}`` in `words` is "5 h"."""
    parts = []
    for lowest, below, unit, word in _TOLD:
        within = f"({seconds}) >= {lowest}" + (f" < {below}" if below else "")
        counted = count_values(f"round(({within}) / {unit})", labels, name)
        parts.append(
            f'label_replace({counted}, "{name}", "{words.format(f"$1 {word}")}", "{name}", "(.*)")'
        )
    return " or ".join(parts)


def count_values(expr: str, labels: Sequence[str], name: str) -> str:
    """Numbers as the label `name`, of series by `labels`: the only way of PromQL to print them."""
    grouped = f" by ({', '.join(labels)}) " if labels else ""
    return f'count_values{grouped}("{name}", {expr})'


def keyed(expr: str, name: str, labels: Sequence[str]) -> str:
    """`expr` with one label that says all of `labels`: the key of a table's row."""
    listed = ", ".join(f'"{label}"' for label in labels)
    return f'label_join({expr}, "{name}", "|", {listed})'


def named(expr: str, *labels: str) -> str:
    """`expr` with ``(none)`` where a label is missing, so that legends and links are not empty."""
    for name in labels:
        expr = f'label_replace({expr}, "{name}", "(none)", "{name}", "")'
    return expr


def marked(expr: str, name: str, value: str) -> str:
    """`expr` with one more label, so that series of several metrics can stand side by side."""
    return f'label_replace({expr}, "{name}", "{value}", "", "")'


def or_zero(part: str, known: str) -> str:
    """`part`, or 0 where only `known` exists: where others are counted, nothing counted means 0."""
    return f"({part}) or 0 * ({known})"
