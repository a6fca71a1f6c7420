"""The hubs of this process: one per effective meter provider, shared by all its guards."""

from __future__ import annotations

import weakref

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider

from otel_budget.forks import RenewedLock
from otel_budget.telemetry.hub import Hub, is_proxy
from otel_budget.telemetry.instruments import make_instruments


class _Registry:
    """Every hub, by the id of its provider, whose instruments keep it alive in their callbacks."""

    def __init__(self) -> None:
        self.lock = RenewedLock()
        self._hubs: weakref.WeakValueDictionary[int, Hub] = weakref.WeakValueDictionary()
        #: For guards that were given no provider before there was a global one.
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
            # Registered before it has instruments, so that a finalizer which asks for it meanwhile
            # does not make a second one.
            hub = self._hubs[id(provider)] = Hub(provider)
            if is_proxy(provider):
                self._default = hub
            hub.record_into(make_instruments(hub, self._hubs_to_report))
            return hub

    def live_hubs(self) -> list[Hub]:
        hubs = [hub_ref() for hub_ref in self._hubs.valuerefs()]
        return [hub for hub in hubs if hub is not None]

    def _hubs_to_report(self, hub: Hub) -> list[Hub]:
        """`hub`, and also the default hub if the SDK dropped its instruments in favour of `hub`'s.

        That happens when a provider given to `instrument` becomes the global one afterwards.
        """
        default = self._default
        if default is None or default is hub or hub.provider is not metrics.get_meter_provider():
            return [hub]
        return [hub, default]


_registry = _Registry()


def hub_for(meter_provider: MeterProvider | None) -> Hub:
    """The hub of the effective provider; None and the API's proxy mean the global one."""
    return _registry.hub_for(meter_provider)


def live_hubs() -> list[Hub]:
    """Every hub of this process."""
    return _registry.live_hubs()


def poll_levels(deadline: float = 1.0) -> None:
    """Ask every guard of every hub for its levels now, e.g. before a last flush.

    Args:
        deadline: Seconds each guard has to answer.
    """
    for hub in live_hubs():
        hub.poller.poll(deadline, now=True)
