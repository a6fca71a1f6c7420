"""PromQL that tells the truth about short-lived, restarted and repeated processes.

Every query of the dashboards and rules is put together from these helpers. They exist because
``increase()`` and ``rate()`` read nothing of what a counter did before its first sample: a job
that spends $0.75, exports once and ends reads $0. They also extrapolate: $4.00 read as $4.06.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_budget import semconv as sc
from otel_budget.semconv import Metric, prometheus_label

#: What Prometheus calls service.namespace/service.name and service.instance.id.
JOB: Final = "job"
INSTANCE: Final = "instance"
#: The resource attribute deployment.environment.name, where the backend promotes it to a label
#: (``otlp.promote_resource_attributes`` of the shipped Prometheus configuration).
ENVIRONMENT: Final = prometheus_label("deployment.environment.name")

#: What makes two levels the same budget. Every other label belongs to the process that told.
BUDGET: Final = (
    ENVIRONMENT,
    *(prometheus_label(label) for label in sc.LABELS.values()),
    *(prometheus_label(a) for a in (sc.GUARD_NAME, sc.RESOURCE, sc.WINDOW, sc.UNIT, sc.SOURCE)),
)

#: How far back a process may have been silent and is still recognised as the same one.
MEMORY: Final = "1h"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of the metrics as one kind of backend writes them.

    Attributes:
        suffixes: Whether the backend appends unit and type, as Prometheus does by default.
            Mimir's OTLP endpoint, for one, does not.
    """

    suffixes: bool = True

    def of(self, metric: Metric, part: str = "") -> str:
        """The series' name; `part` is ``_bucket``, ``_sum`` or ``_count`` of a histogram."""
        return metric.prometheus_name(suffixes=self.suffixes) + part


def selector(name: str, *matchers: str) -> str:
    """``name{matcher, ...}``, without braces when there is no matcher."""
    kept = [matcher for matcher in matchers if matcher]
    return f"{name}{{{','.join(kept)}}}" if kept else name


def equals(attribute: str, value: str) -> str:
    """A matcher for one value of an OpenTelemetry attribute."""
    return f'{prometheus_label(attribute)}="{value}"'


def differs(attribute: str, value: str) -> str:
    """A matcher for every other value of an OpenTelemetry attribute."""
    return f'{prometheus_label(attribute)}!="{value}"'


def by(function: str, labels: Sequence[str], expr: str) -> str:
    """An aggregation, e.g. ``sum by (a, b) (expr)``; over everything when `labels` is empty."""
    return f"{function} by ({', '.join(labels)}) ({expr})" if labels else f"{function}({expr})"


def total(x: str, window: str) -> str:
    """What the counter `x` counted in the last `window`, exactly, also if it was born in it.

    The difference to the last value before the window; where there is none (a process born in
    the window) or where it is larger (a process restarted under the same instance id), the whole
    value. Where a restart lies inside the window, ``increase()``, which alone can see it.
    """
    most = f"max_over_time({x}[{window}])"
    before = f"last_over_time({x}[{MEMORY}] offset {window})"
    return (
        f"((({most} - {before}) >= 0 or {most})"
        f" unless (resets({x}[{window}]) > 0) or increase({x}[{window}]))"
    )


def happened(x: str, window: str) -> str:
    """How often the counter `x` counted in the last `window`; only series where it did.

    First the exact difference, then a series born in the window, then ``increase()`` for a
    process restarted under the same instance id.
    """
    last = f"last_over_time({x}[{window}])"
    before = f"last_over_time({x}[{MEMORY}] offset {window})"
    return (
        f"((({last} - {before}) > 0) or (({last} unless {before}) > 0)"
        f" or (increase({x}[{window}]) > 0))"
    )


def last_seen(x: str, labels: Sequence[str], window: str) -> str:
    """When (Unix time in seconds, to the minute) the counter `x` last rose within `window`."""
    rose = f"(({x} - {x} offset 1m) > 0 or ({x} unless {x} offset 1m) > 0)"
    now = f"({rose} * 0 + time())"
    # The subquery's steps are whole minutes: what rose since the last one is seen by `now`.
    return by("max", labels, f"{now} or max_over_time({now}[{window}:1m])")


def last_sample(x: str, labels: Sequence[str], window: str) -> str:
    """When (Unix time in seconds) a series `x` last had a sample within `window`."""
    stamps = f"timestamp({x})"
    return by("max", labels, f"{stamps} or max_over_time({stamps}[{window}:1m])")


def today(x: str) -> str:
    """What the counter `x` counted since midnight UTC, also if it was born since or has ended.

    The most of the last day, of series seen since midnight, less the value at midnight. Five
    minute steps hit midnight exactly, because Prometheus aligns them to the epoch.
    """
    stamps = f"(timestamp({x}) or max_over_time(timestamp({x})[1d:5m]))"
    seen = f"({stamps} > scalar(vector(time() - time() % 86400)))"
    midnight = f"last_over_time(({x} and on () (vector(time() % 86400) == 0))[1d:5m])"
    most = f"(max_over_time({x}[1d]) and {seen})"
    return f"((({most} - {midnight}) >= 0) or {most})"


def rate(x: str, labels: Sequence[str] = (), window: str = "$__rate_interval") -> str:
    """Events a second of `x`, for what goes on all the time; see `total` for what is counted."""
    return by("sum", labels, f"rate({x}[{window}])")


def quantile(q: float, bucket: str, labels: Sequence[str], window: str = "$__rate_interval") -> str:
    """The `q`-quantile (0..1) of a classic histogram's buckets."""
    return f"histogram_quantile({q}, {rate(bucket, ('le', *labels), window)})"


def level(x: str, labels: Sequence[str] = BUDGET) -> str:
    """One value of a budget's gauge, however many processes tell it: the fullest."""
    return by("max", labels, x)


def elapsed_share(length: str, remaining: str) -> str:
    """How much (0..1) of a budget's window has passed."""
    return f"(({length} - {remaining}) / {length})"


def seconds_to_exhaustion(consumed: str, limit: str, length: str, remaining: str) -> str:
    """Seconds until a budget is used up at the pace of its own window; no value at no pace.

    Not by ``deriv()``: with reservations that are settled later it read $2,808 an hour instead of
    $1.50, and a negative pace after the reset at midnight.
    """
    pace = f"(({consumed} > 0) / (({length} - {remaining}) > 0))"
    return f"(clamp_min({limit} - {consumed}, 0) / {pace})"


def share(part: str, whole: str) -> str:
    """`part` of `whole` (0..1); 0 where only the part is missing, nothing where the whole is."""
    return f"({or_zero(part, whole)}) / (({whole}) > 0)"


def named(expr: str, *labels: str) -> str:
    """`expr` with ``(none)`` where a label is missing, so that legends and links have a word."""
    for label in labels:
        expr = f'label_replace({expr}, "{label}", "(none)", "{label}", "")'
    return expr


def marked(expr: str, label: str, value: str) -> str:
    """`expr` with one more label, so that series of several metrics can stand side by side."""
    return f'label_replace({expr}, "{label}", "{value}", "", "")'


def or_zero(part: str, known: str) -> str:
    """`part`, or 0 where only `known` exists: nothing counted where counting goes on is 0."""
    return f"({part}) or 0 * ({known})"
