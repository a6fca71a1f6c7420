"""One call of a guard as telemetry: what all decision points have in common.

A `Call` is a context manager around the call of the guard; the sync and the async shell differ only
by an ``await`` inside it. The telemetry is shielded: its failures are counted, and the guard's
answer or exception passes through. The shield is never around the guard itself.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self

from opentelemetry.context import detach, get_current

from otel_budget import semconv
from otel_budget.contract.interpretation import Outcome
from otel_budget.contract.session_info import UNKNOWN
from otel_budget.log_once import log_once
from otel_budget.sanitize import error_type, shielded
from otel_budget.telemetry.deadline import Deadline, current_deadline
from otel_budget.telemetry.metrics.series import NO_LABELS
from otel_budget.telemetry.metrics.tallies import Addition
from otel_budget.telemetry.settings import GuardSettings, Identity
from otel_budget.telemetry.traced_call import TracedCall

#: The outermost instrumented call in progress; calls nested in it are not counted again.
_outermost: ContextVar[Call | None] = ContextVar("otel_budget_outermost", default=None)


class Call(TracedCall):
    """One call of the guard.

    A shell uses it as a context manager. An inquiry, which asks a guard on a runtime's behalf,
    enters it too, but then sets `outcome` and calls `finish`.

    Attributes:
        answer: What the guard returned; set by the shell.
        outcome: What the inquiry acted upon; None if `close` is to work it out from the answer.
        in_progress: True until the guard has answered.
    """

    __slots__ = (
        "_deadline",
        "_outer",
        "_started",
        "answer",
        "in_progress",
        "is_counted",
        "outcome",
    )

    def __init__(
        self, settings: GuardSettings, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        # All that the classes below it name, too: a constructor each would cost half a microsecond.
        self.settings = settings
        self.destination = destination = settings.destination
        self.hub = destination.hub
        self.info = UNKNOWN
        self.session = ""
        self.context = self._parent = get_current()
        self.span = None
        self._args = args
        self._kwargs = kwargs
        self._identity = None
        self._attached = None
        self._began = 0
        #: False inside another instrumented guard's call, which is counted instead.
        self.is_counted = False
        self.in_progress = True
        self.answer: Any = None
        self.outcome: Outcome | None = None
        self._outer: Token[Call | None] | None = None
        self._deadline: Deadline | None = None
        self._started = 0.0

    def close(self, seconds: float, error: BaseException | None) -> None:
        """Interpret the result of the call, end or draw its span, count.

        Args:
            seconds: How long the guard took.
            error: What the guard raised, or None.
        """
        raise NotImplementedError

    # -- around the guard ------------------------------------------------------------------
    def __enter__(self) -> Self:
        try:
            # First: whatever fails below, the call is counted.
            outer = _outermost.get()
            if outer is None or not outer.in_progress:
                self.is_counted = True
                self._outer = _outermost.set(self)
            self.identify()
            self.start_span()
        except shielded() as error:
            self.hub.report_failure(semconv.COMPONENT_SPAN, error)
        except BaseException:  # raised by a signal handler; there will be no __exit__
            self.in_progress = False
            raise
        deadline = current_deadline.get()
        if deadline is not None and deadline.in_progress:
            self._deadline = deadline
        self._started = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        seconds = time.perf_counter() - self._started
        self.in_progress = False
        self.finish(seconds, error)

    def finish(self, seconds: float | None, error: BaseException | None) -> None:
        """Leave the call's context and close it, even if the guard is still running.

        Args:
            seconds: How long the guard took; None takes the time until now.
            error: What the guard raised, or None.
        """
        if seconds is None:
            seconds = time.perf_counter() - self._started
        try:
            if self._outer is not None:
                _outermost.reset(self._outer)
            if self._attached is not None:
                detach(self._attached)
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_SPAN, failure)
        try:
            self.close(seconds, error)
        except shielded() as failure:
            self.hub.report_failure(semconv.COMPONENT_METRICS, failure)
            if self.is_recording:  # a span that never ends is never exported
                self.end_span({}, error)

    @property
    def deadline_has_passed(self) -> bool:
        """Whether the caller of the guard around this one has stopped waiting."""
        deadline = self._deadline
        return deadline is not None and deadline.in_progress and time.monotonic() > deadline.at

    # -- closing ---------------------------------------------------------------------------
    def warned_about_awaitable(self) -> bool:
        """Whether the guard looked sync and answered with an awaitable, which is logged once."""
        try:
            if not inspect.isawaitable(self.answer):
                return False
        except shielded():  # its class may raise
            return False
        log_once(
            logging.WARNING,
            f"The budget guard {self.settings.guard_name} returned an awaitable from "
            f"{self.span_name.removeprefix('budget.')}: make it `async def`, and wrappers around "
            "it, too. Its caller gets the awaitable; what comes of it is not seen here, and a "
            "check is counted as malformed.",
        )
        return True

    def count(
        self,
        additions: list[Addition],
        identity: Identity,
        duration: dict[str, str],
        seconds: float,
        error: BaseException | None,
    ) -> None:
        """Count `additions`, the guard's exception if it raised one, and its time.

        Args:
            additions: What the decision point counts.
            identity: Whose call it is.
            duration: The attributes of the time.
            seconds: How long the guard took.
            error: What it raised, or None.
        """
        tallies = identity.tallies
        if isinstance(error, Exception):
            kind = tallies.value(semconv.ERROR_TYPE, error_type(error))
            failures = tallies.cell(
                semconv.METRIC_GUARD_ERRORS, NO_LABELS, self.point, kind, identity.guard_name
            )
            additions.append((failures, 1))
        tallies.add(additions)
        self.hub.enqueue(seconds, duration, self.context)
