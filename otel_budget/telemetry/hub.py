"""The hub: shared by all guards of one meter provider.

It owns tallies, levels, sessions, offers and the queue of durations, and outlives the guards.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, MeterProvider

from otel_budget import semconv
from otel_budget.forks import RenewedLock, renew_in_child
from otel_budget.log_once import log_once
from otel_budget.telemetry.metrics.levels import Levels
from otel_budget.telemetry.metrics.polling import POLL_INTERVAL, LastAnswer, Poller
from otel_budget.telemetry.metrics.price_list import price_list
from otel_budget.telemetry.metrics.series import NO_LABELS, NO_SPAN
from otel_budget.telemetry.metrics.tallies import Tallies
from otel_budget.telemetry.offers import Offers
from otel_budget.telemetry.sessions import Sessions

#: Durations that can wait for a collection. A half-full queue wakes the hub's thread.
MAX_DURATIONS: Final = 8_192
#: Waiting durations after which to look again for somebody who can take them.
_LOOK_EVERY: Final = 64
#: Seconds that a collection waits for the price list.
_READING_TIMEOUT: Final = 5.0
#: Kinds of failures that are logged.
_MAX_LOGGED: Final = 64

#: Held while the SDK records a duration, and by a thread that forks. The SDK does not renew its
#: locks in a child, so a lock held at the fork would hang the child's first collection.
_recording: Final = RenewedLock()
#: Seconds that a fork or a drain waits for that lock at most.
_LOCK_TIMEOUT: Final = 1.0


class Hub:
    """The shared state behind one set of instruments.

    Args:
        provider: The provider of those instruments; the API's proxy stands for the global one.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self.provider: Final = provider
        self._histogram: Histogram | None = None
        #: Whether somebody can take durations. Once True, it stays.
        self._has_taker = False
        self._unlooked = _LOOK_EVERY  # the first call looks
        self.sessions = Sessions()
        self.offers = Offers()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._logged: set[tuple[str, str, type]] = set()
        self._start_from_zero(max_label_sets=0)
        renew_in_child(self)

    def _start_from_zero(self, max_label_sets: int) -> None:
        self.tallies = Tallies(max_label_sets)
        self.poller = Poller(self._report_poll_failure)
        self.levels = Levels(self.tallies, self.poller)
        self.durations: deque[tuple[float, dict[str, str], Context]] = deque()
        #: Counts the records that came before the price list was read.
        self.waiting: deque[Callable[[], object]] = deque()

    # -- the call path ---------------------------------------------------------------------
    def enqueue(self, seconds: float, attributes: dict[str, str], context: Context) -> None:
        """Queue a duration, with its context for the exemplar, until the next collection.

        Args:
            seconds: The duration.
            attributes: Its attributes.
            context: The context it was measured in; not kept before there is a meter provider.
        """
        waiting = len(self.durations)
        if not self._has_taker:
            self._unlooked += 1
            if self._unlooked >= _LOOK_EVERY:  # to look costs a fifth of a call without an SDK
                self._unlooked = 0
                self._has_taker = self.has_meter_provider()
            if not self._has_taker:
                context = NO_SPAN  # a context would keep its span until somebody collects
        if waiting < MAX_DURATIONS:
            self.durations.append((seconds, attributes, context))
            # Not ==: threads that append at the same time may all skip one number.
            half_full = waiting >= MAX_DURATIONS // 2
            if half_full and not self._wake.is_set() and self.has_meter_provider():
                self._wake_thread()
        elif self._has_taker:
            self.report_failure(semconv.COMPONENT_QUEUE)

    def count_later(self, count: Callable[[], object]) -> None:
        """Call `count` once the price list is read."""
        if len(self.waiting) < MAX_DURATIONS:
            self.waiting.append(count)
            price_list.begin(self.count_waiting)
        else:
            self.report_failure(semconv.COMPONENT_QUEUE)

    def has_meter_provider(self) -> bool:
        """Whether there is a real meter provider; until then, durations wait for one."""
        return not (is_proxy(self.provider) and is_proxy(metrics.get_meter_provider()))

    def report_failure(
        self, component: str, error: BaseException | None = None, why: str = ""
    ) -> None:
        """Count a failure of the telemetry, and log it once per kind. Raises nothing.

        Args:
            component: The part of the telemetry that failed.
            error: The exception, if there is one.
            why: More about the failure, if it has a known reason.
        """
        try:
            self.tallies.add(
                [(self.tallies.cell(semconv.METRIC_TELEMETRY_ERRORS, NO_LABELS, component), 1)]
            )
            kind = (component, why, type(error))
            if kind in self._logged or len(self._logged) >= _MAX_LOGGED:
                return
            self._logged.add(kind)
            error_name = "" if error is None else type(error).__name__
            description = ", ".join(part for part in (component, why, error_name) if part)
            log_once(
                logging.WARNING,
                f"Telemetry of a budget guard failed ({description}). The guard is not affected; "
                f"this is counted in {semconv.METRIC_TELEMETRY_ERRORS.name} and logged once.",
                error,
            )
        except Exception:  # there is nowhere left to report this
            return

    # -- what waits for prices ----------------------------------------------------------------
    def count_waiting(self) -> None:
        """Count the records that waited for the price list, if it is read in time."""
        if self.waiting and price_list.read(_READING_TIMEOUT):
            while self.waiting:
                try:
                    self.waiting.popleft()()
                except IndexError:  # another thread was faster
                    return
                except Exception as error:  # the others must still be counted
                    self.report_failure(semconv.COMPONENT_METRICS, error)

    # -- durations -------------------------------------------------------------------------
    def record_into(self, histogram: Histogram) -> None:
        """Record durations in `histogram` from now on; until this is called, they wait."""
        self._histogram = histogram

    def drain(self) -> None:
        """Record the waiting durations in the histogram, each with its own context."""
        self.count_waiting()
        durations, histogram = self.durations, self._histogram
        if histogram is None or not self.has_meter_provider():
            return
        self._has_taker = True
        for _ in range(len(durations)):
            lock = _recording.current
            if not lock.acquire(timeout=_LOCK_TIMEOUT):
                return
            try:
                seconds, attributes, context = durations.popleft()
                histogram.record(seconds, attributes, context=context or NO_SPAN)
            except IndexError:  # another thread was faster
                return
            except Exception as error:  # the sums must still be read
                self.report_failure(semconv.COMPONENT_METRICS, error)
            finally:
                lock.release()

    # -- levels and the thread -------------------------------------------------------------
    def watch(
        self,
        wrapper: Any,
        ask: Callable[[Any], Iterable[Any]],
        guard_name: str,
        metric_labels: tuple[str, ...],
        last: LastAnswer,
    ) -> None:
        """Ask a guard for its levels from now on. See `Poller.add`."""
        self.poller.add(wrapper, ask, guard_name, metric_labels, last)
        self._wake_thread()

    def _report_poll_failure(self, why: str, error: BaseException | None) -> None:
        self.report_failure(semconv.COMPONENT_LEVELS, error, why)

    def _wake_thread(self) -> None:
        """Wake the thread, starting it if there is none. Raises nothing."""
        self._wake.set()  # even if it cannot be started: not every call needs to try again
        if self._thread is not None:
            return
        self._thread = thread = threading.Thread(
            target=_run, args=(weakref.ref(self), self._wake), name="otel-budget", daemon=True
        )
        try:
            thread.start()
        except Exception as error:
            self._thread = None
            self.report_failure(semconv.COMPONENT_LEVELS, error, "no thread can be started")

    def ensure_polling(self) -> None:
        """Start the thread that asks the guards for their levels, if it could not be before."""
        if self._thread is None and self.poller.has_guards:
            self._wake_thread()

    # -- fork ------------------------------------------------------------------------------
    def after_fork(self) -> None:
        """Start the child from zero: it is a separate process, with an instance id of its own.

        A call that the fork interrupted goes on adding to the parent's tallies, which are dropped
        here. Locks are new: a thread that the child does not have may have held the old ones.
        """
        poller = self.poller
        self._start_from_zero(self.tallies.max_label_sets)
        self.poller.adopt(poller)
        self.sessions.after_fork()
        self._wake, self._thread = threading.Event(), None
        if self.poller.has_guards:
            self._wake_thread()


def _run(hub_ref: weakref.ref[Hub], wake: threading.Event) -> None:
    """The hub's thread: polls the guards, and drains the queue when it is half full."""
    while True:
        wake.wait(POLL_INTERVAL)
        wake.clear()
        hub = hub_ref()
        if hub is None:
            return
        try:
            if len(hub.durations) > MAX_DURATIONS // 2:
                hub.drain()
            hub.poller.poll()
        except BaseException as error:
            hub.report_failure(semconv.COMPONENT_METRICS, error)
        del hub


def is_proxy(provider: object) -> bool:
    """Whether `provider` is the API's stand-in for a global provider that is not yet set."""
    # Some of the classes are private in the API. Logfire's own proxies are set up.
    kind = type(provider)
    return "Proxy" in kind.__name__ and kind.__module__.startswith("opentelemetry.")


def _before_fork() -> None:
    _recording.current.acquire(timeout=_LOCK_TIMEOUT)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # it could not be acquired in time
        _recording.current.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
