"""The hubs of this process: one per effective meter provider, shared by all its guards."""

from __future__ import annotations

import weakref

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

from otel_budget.forks import RenewedLock
from otel_budget.telemetry.hub import Hub, is_proxy
from otel_budget.telemetry.instruments import make_instruments


class _Registry:
    """Every hub, by the id of its provider, whose instruments keep it alive by their callbacks."""

    def __init__(self) -> None:
        self.lock = RenewedLock()
        self._hubs: weakref.WeakValueDictionary[int, Hub] = weakref.WeakValueDictionary()
        #: Of guards that were given no provider before there was a global one.
        self._default: Hub | None = None

    def hub_for(self, meter_provider: MeterProvider | None) -> Hub:
        current = metrics.get_meter_provider()
        provider = current if meter_provider is None else meter_provider
        with self.lock.current:
            hub = self._hubs.get(id(provider))
            if hub is not None:
                return hub
            if self._default is not None and (is_proxy(provider) or provider is current):
                return self._default
            # Known before it has instruments: a finalizer that asks meanwhile is not to make two.
            hub = self._hubs[id(provider)] = Hub(provider)
            if is_proxy(provider):
                self._default = hub
            hub.record_into(make_instruments(hub, self._reported_with))
            return hub

    def live_hubs(self) -> list[Hub]:
        hubs = [hub_ref() for hub_ref in self._hubs.valuerefs()]
        return [hub for hub in hubs if hub is not None]

    def _reported_with(self, hub: Hub) -> list[Hub]:
        """`hub`, and the default one where its instruments were dropped in favour of these.

        That is so where a provider was given to `instrument` and became the global one afterwards.
        """
        default = self._default
        if default is None or default is hub or hub.provider is not metrics.get_meter_provider():
            return [hub]
        return [hub, default]


_registry = _Registry()


def hub_for(meter_provider: MeterProvider | None) -> Hub:
    """The hub of the effective provider: none given, the proxy and the global one are one."""
    return _registry.hub_for(meter_provider)


def live_hubs() -> list[Hub]:
    """Every hub of this process."""
    return _registry.live_hubs()


def poll_levels(deadline: float = 1.0) -> None:
    """Ask every guard of every hub for its levels now, as before a last flush.

    Args:
        deadline: Seconds each guard has to answer.
    """
    for hub in live_hubs():
        hub.levels.poll(deadline, now=True)
