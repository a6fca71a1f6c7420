"""What stands between a provider and its exporters: it counts, is patient, and ends in time.

Nothing here imports the SDK: `sdk.providers` passes providers and exporters in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final

from otel_budget.sdk.exporters import Signal

_log = logging.getLogger("otel_budget")

#: Seconds between two attempts of a patient exporter, doubled from the first to the longest.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 15.0
#: Seconds within which a final refusal comes: a transient one the exporter retries, with pauses.
_REFUSED_WITHIN: Final = 0.5


@dataclass(frozen=True, slots=True)
class Losses:
    """What had not been delivered when the telemetry was shut down; falsy if nothing was lost.

    Attributes:
        spans: Number of sampled spans that ended but were not delivered, since the process began.
        log_events: The same for log events.
        metrics: Whether the last export of the metrics failed. They are cumulative: earlier
            failed exports lose nothing.
    """

    spans: int = 0
    log_events: int = 0
    metrics: bool = False

    def __bool__(self) -> bool:
        return bool(self.spans or self.log_events or self.metrics)

    def __str__(self) -> str:
        parts = [
            f"{count} {noun}{'' if count == 1 else 's'}"
            for count, noun in ((self.spans, "span"), (self.log_events, "log event"))
            if count
        ]
        if self.metrics:
            parts.append("the last metrics")
        return ", ".join(parts[:-1]) + (" and " if parts[1:] else "") + "".join(parts[-1:])


class Delivery:
    """An exporter that knows what it delivered, is new after a fork, and may be patient.

    Args:
        make: Makes the exporter behind it; called again in a forked child, which must not use the
            parent's connections.
        patience: Seconds to keep trying to deliver a batch after the exporter's own retries.
    """

    def __init__(self, make: Callable[[], Any], patience: float = 0.0) -> None:
        self._make = make
        self._patience = patience
        self._hurry = threading.Event()
        # Reentrant: a signal handler may end a span of its own inside another.
        self._lock = threading.RLock()
        self._exporter = make()
        self._stale = self._closed = False
        self.offered = self.delivered = self.failed = 0
        self.last_failed = False
        self.give_up_at = float("inf")

    def offer(self) -> None:
        """Count a span or log event that is to be delivered."""
        with self._lock:
            self.offered += 1

    def after_fork(self) -> None:
        """Start the child from zero: what is queued belongs to the parent."""
        self._hurry, self._lock = threading.Event(), threading.RLock()
        self.offered = self.delivered = self.failed = 0
        self._stale, self.last_failed = not self._closed, False

    def deliver(self, batch: Any, size: int, **options: Any) -> Any:
        """Export `batch`, which counts as `size` spans or log events, and return the result."""
        if self._stale:
            self._exporter, self._stale = self._make(), False
        patient_until = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        self.last_failed = True  # until the batch is known to have arrived
        try:
            while True:
                started = time.monotonic()
                result = self._exporter.export(batch, **options)
                if result.name == "SUCCESS":
                    self.last_failed = False
                    self.delivered += size
                    return result
                now = time.monotonic()
                if self._hurry.is_set():
                    # Refused at the very end: it will not be accepted within the seconds left.
                    if self._closed or now > self.give_up_at or now - started < _REFUSED_WITHIN:
                        return result
                    continue
                if now + pause > patient_until:
                    return result
                self._hurry.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self.failed += self.last_failed

    def hurry(self, give_up_at: float) -> None:
        """Interrupt a patient wait: there is time until `give_up_at` (monotonic seconds)."""
        self.give_up_at = give_up_at
        self._hurry.set()

    def close(self) -> None:
        """Shut the exporter down, once; an export in progress fails."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if not self._stale:
            self._exporter.shutdown()


class SignalPipeline:
    """A provider, its deliveries, and a waiting thread that flushes and shuts it down.

    The thread is started now because from Python 3.12 on, none can be started while the interpreter
    exits. It is a daemon, so a hung collector holds up nothing.
    """

    def __init__(
        self, signal: Signal, provider: Any, by_exporter: Sequence[Sequence[Delivery]]
    ) -> None:
        self.signal = signal
        self.provider = provider
        self.by_exporter = by_exporter
        self.deliveries = [delivery for group in by_exporter for delivery in group]
        self._start_thread()

    def _start_thread(self) -> None:
        self._jobs: _Jobs = SimpleQueue()
        name = f"otel-budget-{self.signal}"
        threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()

    def submit(self, job: Callable[[], object]) -> threading.Event:
        """Have the thread run `job`; the event is set when it is done."""
        done = threading.Event()
        self._jobs.put((job, done))
        return done

    def after_fork(self) -> None:
        """Give the child its own thread and deliveries."""
        for delivery in self.deliveries:
            delivery.after_fork()
        self._start_thread()


_Jobs = SimpleQueue[tuple[Callable[[], object], threading.Event]]


def _work(jobs: _Jobs) -> None:
    while True:
        job, done = jobs.get()
        try:
            job()
        except Exception as error:
            _log.debug("A flush or shutdown of the telemetry failed.", exc_info=error)
        finally:
            done.set()
