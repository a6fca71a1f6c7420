"""`configure`: one call that sets up telemetry, and one bounded shutdown."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from otel_budget.forks import renew_in_child
from otel_budget.log_once import log_once
from otel_budget.sdk.delivery import Losses, SignalPipeline
from otel_budget.sdk.exporters import SIGNALS, Protocol, Signal, exporters
from otel_budget.sdk.later_setup import watch
from otel_budget.sdk.providers import is_free, pipeline_of, resource_of
from otel_budget.sdk.sampling import sampler_from_environment
from otel_budget.telemetry.hubs import poll_levels

_log = logging.getLogger("otel_budget")


class ConfiguredTelemetry:
    """A handle on what `configure` has set up, which shuts down automatically at exit.

    A signal is no exit: to end cleanly on SIGTERM, turn it into an ordinary exit
    (``signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))``), as most servers do already.
    """

    def __init__(self, pipelines: list[SignalPipeline], shutdown_timeout: float) -> None:
        self._pipelines = pipelines
        self._timeout = shutdown_timeout
        # Reentrant: a signal may interrupt a shutdown and ask for one.
        self._lock = threading.RLock()
        self._closing = False
        self._losses: Losses | None = None
        atexit.register(self.shutdown)

    def force_flush(self, timeout: float = 5.0) -> bool:
        """Export everything that is queued, all signals in parallel.

        Args:
            timeout: Seconds to wait, in total.

        Returns:
            Whether everything was flushed and no export failed in that time.
        """
        deadline = time.monotonic() + timeout
        failed = self._failed()
        # Each provider keeps its default time limit: a collection that the SDK cuts short would
        # later report the same sums a second time.
        jobs = [
            pipeline.submit(_levels_first(pipeline, pipeline.provider.force_flush))
            for pipeline in self._pipelines
        ]
        # Waiting for them in turn: they share the deadline.
        flushed = [done.wait(max(0.0, deadline - time.monotonic())) for done in jobs]
        return all(flushed) and failed == self._failed()

    def shutdown(self, timeout: float | None = None) -> Losses:
        """Export everything that is queued, then stop; further calls change nothing.

        Args:
            timeout: Seconds until it gives up, in total; None means the `shutdown_timeout` passed
                to `configure`.

        Returns:
            What was lost; if anything was, one warning is logged, too.
        """
        with self._lock:
            if self._losses is not None or self._closing:
                return self._losses or Losses()
            self._closing = True
            timeout = self._timeout if timeout is None else timeout
            deadline = time.monotonic() + timeout
            atexit.unregister(self.shutdown)
            for pipeline in self._pipelines:
                for delivery in pipeline.deliveries:
                    delivery.hurry(deadline)
            jobs = [
                pipeline.submit(_levels_first(pipeline, pipeline.provider.shutdown))
                for pipeline in self._pipelines
            ]
            finished = [done.wait(max(0.0, deadline - time.monotonic())) for done in jobs]
            self._losses = self._lost(finished)
            if self._losses:
                _log.warning(
                    "Telemetry was shut down and lost %s, because the collector did not accept it "
                    "within %g s or had refused it before; `otel-budget verify` finds out why.",
                    self._losses,
                    timeout,
                )
            for pipeline, done in zip(self._pipelines, finished, strict=True):
                for delivery in () if done else pipeline.deliveries:
                    delivery.close()
            return self._losses

    def _failed(self) -> int:
        return sum(
            delivery.failed for pipeline in self._pipelines for delivery in pipeline.deliveries
        )

    def _lost(self, finished: list[bool]) -> Losses:
        lost: dict[Signal, int] = dict.fromkeys(SIGNALS, 0)
        for pipeline, done in zip(self._pipelines, finished, strict=True):
            for group in pipeline.by_exporter:
                missing = sum(delivery.offered - delivery.delivered for delivery in group)
                if pipeline.signal == "metrics":
                    missing = int(any(delivery.last_failed for delivery in group) or not done)
                lost[pipeline.signal] = max(lost[pipeline.signal], missing)
        return Losses(lost["traces"], lost["logs"], bool(lost["metrics"]))

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        if not self._closing:
            for pipeline in self._pipelines:
                pipeline.after_fork()


def _levels_first(pipeline: SignalPipeline, job: Callable[[], object]) -> Callable[[], object]:
    """`job`; for metrics after a last poll of the guards' levels, if they answer quickly."""
    if pipeline.signal != "metrics":
        return job

    def ask_then_do() -> object:
        with suppress(RuntimeError):  # from Python 3.12 on, no thread can be started at exit
            poll_levels(0.5)
        return job()

    return ask_then_do


class _State:
    """The telemetry that `configure` has set up in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.telemetry: ConfiguredTelemetry | None = None
        renew_in_child(self)

    def after_fork(self) -> None:
        self.lock = threading.RLock()
        if self.telemetry is not None:
            self.telemetry._after_fork()


_state: Final = _State()


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    protocol: Protocol | None = None,
    shutdown_timeout: float = 5.0,
    patience: float = 120.0,
) -> ConfiguredTelemetry:
    """Set up tracing, metrics and log events from the ``OTEL_*`` variables, once per process.

    It reads these variables of the OpenTelemetry specification: ``OTEL_SDK_DISABLED``,
    ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_{TRACES,METRICS,LOGS}_EXPORTER``
    (``otlp``, ``console``, ``none``, or the name of an installed exporter; default ``otlp``),
    ``OTEL_EXPORTER_OTLP_*`` (default protocol ``http/protobuf``), ``OTEL_TRACES_SAMPLER`` and its
    ``_ARG`` (every sampler but the always-off ones also keeps the hits of guards: see `keep_hits`),
    ``OTEL_METRIC_EXPORT_INTERVAL`` and those of the batch processors. Spans and log events are
    exported in batches, never on the caller's path. Existing providers are left alone.

    Args:
        service_name: The service's name; None leaves it to the variables.
        endpoint: Base URL to send OTLP to; overrides ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        protocol: ``http/protobuf`` or ``grpc``; overrides the variables.
        shutdown_timeout: Seconds that the shutdown at exit may take in total, even if the collector
            is dead or hangs.
        patience: Seconds for which log events and the spans of hits are offered again while the
            process lives, because they carry the denials; up to 2,048 of each wait. Other spans are
            dropped after the exporter's own timeout (10 s). Metrics need no patience, being
            cumulative.

    Returns:
        A handle with `shutdown` and `force_flush`; further calls return the same one.

    Raises:
        ValueError: An exporter, protocol, endpoint or sampler cannot be used.
        ModuleNotFoundError: The extra ``otlp``, or for gRPC ``grpc``, is not installed.
    """
    with _state.lock:
        if _state.telemetry is not None:
            log_once(
                logging.INFO,
                "configure() was called again: the telemetry stays as it was first set up.",
            )
            return _state.telemetry
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            log_once(logging.INFO, "OTEL_SDK_DISABLED is true: no telemetry is set up.")
            _state.telemetry = ConfiguredTelemetry([], shutdown_timeout)
            return _state.telemetry
        if os.environ.get("OTEL_CONFIG_FILE"):
            log_once(logging.WARNING, "OTEL_CONFIG_FILE is set, which configure() does not read.")
        taken = [signal for signal in SIGNALS if not is_free(signal)]
        # Exporters and sampler are made before any provider is set, so that an error leaves nothing
        # half done.
        makers = {
            signal: exporters(signal, endpoint, protocol)
            for signal in SIGNALS
            if signal not in taken
        }
        sampler = sampler_from_environment() if makers.get("traces") else None
        if taken:
            log_once(
                logging.WARNING,
                f"configure() leaves the provider of {', '.join(taken)} alone, because it exists "
                "already; the handle does not shut it down either.",
            )
        resource = resource_of(service_name)
        _state.telemetry = ConfiguredTelemetry(
            [
                pipeline_of(signal, make, resource, sampler=sampler, patience=patience)
                for signal, make in makers.items()
                if make
            ],
            shutdown_timeout,
        )
        watch()
        return _state.telemetry
