"""One set of instruments per effective meter provider, for all guards of the process.

The SDK keeps the first observable instrument of a name and silently drops the callbacks of any
later one, so guards share them. They are made when a guard is instrumented, never on a call: making
one waits for a collection that is under way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from otel_budget import semconv
from otel_budget.forks import RenewedLock
from otel_budget.hub import Hub
from otel_budget.levels import Row
from otel_budget.version import __version__

_lock: Final = RenewedLock()
#: By the id of the provider, whose instruments keep the hub alive by their callbacks.
_hubs: weakref.WeakValueDictionary[int, _BoundHub] = weakref.WeakValueDictionary()
#: The hub of guards that were given no provider before there was a global one.
_default: _BoundHub | None = None

_GAUGES: Final[dict[semconv.Metric, Callable[[Row], float | None]]] = {
    semconv.METRIC_CONSUMED: lambda row: row.consumed,
    semconv.METRIC_LIMIT: lambda row: row.limit,
    semconv.METRIC_UTILIZATION: lambda row: row.utilization,
    semconv.METRIC_WINDOW_LENGTH: lambda row: row.window_length,
    semconv.METRIC_WINDOW_REMAINING: lambda row: row.window_remaining,
}


class _BoundHub(Hub):
    """A hub and the provider of its instruments; the API's proxy stands for the global one."""

    def __init__(self, provider: MeterProvider) -> None:
        super().__init__()
        self.provider = provider
        try:
            _make_instruments(self)
        except Exception as error:
            self.failed(semconv.COMPONENT_METRICS, error)

    def listened_to(self) -> bool:
        """Whether there is a meter provider; before there is one, durations wait for it."""
        return not (_is_proxy(self.provider) and _is_proxy(metrics.get_meter_provider()))


def hub_for(meter_provider: MeterProvider | None) -> Hub:
    """The hub of the effective provider: none given, the proxy and the global one are one."""
    global _default  # noqa: PLW0603
    current = metrics.get_meter_provider()
    provider = current if meter_provider is None else meter_provider
    with _lock.current:
        hub = _hubs.get(id(provider))
        if hub is not None:
            return hub
        if _is_proxy(provider) or (provider is current and _default is not None):
            if _default is None:
                _default = _BoundHub(provider)
            return _default
        hub = _hubs[id(provider)] = _BoundHub(provider)
        return hub


def _is_proxy(provider: MeterProvider) -> bool:
    # The class is private in the API; its name is all there is to go by.
    return type(provider).__name__ == "_ProxyMeterProvider"


def _make_instruments(hub: _BoundHub) -> None:
    meter = hub.provider.get_meter(semconv.SCOPE_NAME, __version__)
    metric = semconv.METRIC_GUARD_DURATION
    hub.histogram = meter.create_histogram(
        metric.name,
        metric.unit,
        metric.description,
        explicit_bucket_boundaries_advisory=list(semconv.GUARD_DURATION_BUCKETS),
    )
    for counter in (series.metric for series in hub.tallies.counters):
        meter.create_observable_counter(
            counter.name, [_callback(hub, _sums(counter))], counter.unit, counter.description
        )
    for gauge in _GAUGES:
        meter.create_observable_gauge(
            gauge.name, [_callback(hub, _levels(gauge))], gauge.unit, gauge.description
        )


_Read = Callable[[Hub], list[Observation]]


def _callback(hub: _BoundHub, read: _Read) -> Callable[[CallbackOptions], list[Observation]]:
    def observe(_: CallbackOptions) -> list[Observation]:
        observations: list[Observation] = []
        for one in _reporting(hub):
            try:
                one.drain()
                observations += read(one)
            except BaseException as error:  # would silently end the reader's thread
                one.failed(semconv.COMPONENT_METRICS, error)
        return observations

    return observe


def _reporting(hub: _BoundHub) -> list[Hub]:
    """`hub`, and the default one where its instruments were dropped in favour of these.

    That is so where a provider was given to `instrument` and became the global one afterwards.
    """
    if _default is None or _default is hub or hub.provider is not metrics.get_meter_provider():
        return [hub]
    return [hub, _default]


def _sums(metric: semconv.Metric) -> _Read:
    def read(hub: Hub) -> list[Observation]:
        tallies = hub.tallies
        series = next(one for one in tallies.counters if one.metric is metric)
        return [Observation(value, attributes) for attributes, value in tallies.read(series)]

    return read


def _levels(metric: semconv.Metric) -> _Read:
    value_of = _GAUGES[metric]

    def read(hub: Hub) -> list[Observation]:
        series = hub.tallies.levels
        return [
            Observation(value, series.attributes(key))
            for key, row in hub.levels.rows().items()
            if (value := value_of(row)) is not None
        ]

    return read
