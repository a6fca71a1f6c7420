"""Asking guards for their levels, on threads of their own.

A guard's ``budget_levels()`` may be slow, hang or raise anything: none of it may reach a collection
or another guard's levels.
"""

from __future__ import annotations

import inspect
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from otel_budget.contract import BudgetLevel

#: Seconds between two polls.
POLL_INTERVAL: Final = 5.0
#: Seconds a guard has to answer a poll.
POLL_DEADLINE: Final = 2.0
#: Seconds for which an answer is reported.
FRESH: Final = 60.0
#: Levels read from one answer.
MAX_LEVELS: Final = 2_000

#: Receives why a guard gave no levels, and the error if there is one.
FailureReport = Callable[[str, BaseException | None], None]

Levels = tuple[BudgetLevel, ...]


@dataclass(slots=True, eq=False)
class PolledGuard:
    """A guard that has levels: held weakly, through the wrapper that the host holds."""

    wrapper: weakref.ref[Any]
    ask: Callable[[Any], Iterable[Any]]
    guard_name: str
    metric_labels: tuple[str, ...]
    levels: Levels = ()
    asked_at: float = float("-inf")
    answered_at: float = float("-inf")
    busy: bool = False


class Poller:
    """Asks the guards of one hub for their levels and keeps their last answers.

    Args:
        report_failure: Called when a guard fails to answer.
    """

    def __init__(self, report_failure: FailureReport) -> None:
        self._report_failure = report_failure
        self._guards: list[PolledGuard] = []
        self._lock = threading.RLock()
        self._polling = threading.Lock()

    @property
    def has_guards(self) -> bool:
        """Whether there is any guard to ask."""
        return bool(self._guards)

    def add(
        self,
        wrapper: Any,
        ask: Callable[[Any], Iterable[Any]],
        guard_name: str,
        metric_labels: tuple[str, ...],
    ) -> None:
        """Ask a guard for its levels from now on, for as long as `wrapper` lives."""
        with self._lock:
            self._guards.append(PolledGuard(weakref.ref(wrapper), ask, guard_name, metric_labels))

    def adopt(self, other: Poller) -> None:
        """Ask the guards of `other`, too, except those that are asked here already."""
        # All weak references to one object are the same object.
        present = {id(guard.wrapper) for guard in self._guards}
        for guard in list(other._guards):
            wrapper = guard.wrapper()
            if wrapper is not None and id(guard.wrapper) not in present:
                self.add(wrapper, guard.ask, guard.guard_name, guard.metric_labels)

    def fresh_answers(self) -> list[PolledGuard]:
        """The living guards whose last answer is recent enough to report."""
        now = time.monotonic()
        return [
            guard
            for guard in list(self._guards)
            if guard.wrapper() is not None and now - guard.answered_at < FRESH
        ]

    def poll(self, deadline: float = POLL_DEADLINE, *, now: bool = False) -> None:
        """Ask the guards that are due, one after the other.

        Args:
            deadline: Seconds each guard has to answer. A guard that takes longer is left alone,
                and asked again only after that call has returned.
            now: Also ask guards that are not due.
        """
        if not self._polling.acquire(timeout=deadline):
            return
        try:
            with self._lock:
                self._guards = [guard for guard in self._guards if guard.wrapper() is not None]
            due = float("inf") if now else time.monotonic() - POLL_INTERVAL * 0.9
            todo = deque(
                guard for guard in list(self._guards) if not guard.busy and guard.asked_at <= due
            )
            while todo:
                worker = _Worker(todo, self._report_failure)
                try:
                    worker.start()
                except Exception as error:
                    self._report_failure("no thread can be started", error)
                    return
                while worker.is_alive():
                    current = worker.guard
                    worker.join(deadline)
                    if worker.is_alive() and current is not None and worker.guard is current:
                        worker.abandoned = True
                        self._report_failure(f"no answer within {deadline:g} s", None)
                        break
        finally:
            self._polling.release()


class _Worker(threading.Thread):
    """Asks guards in turn until it is abandoned, so that a hanging guard can be left behind."""

    def __init__(self, todo: deque[PolledGuard], report_failure: FailureReport) -> None:
        super().__init__(name="otel-budget-levels", daemon=True)
        self._todo = todo
        self._report_failure = report_failure
        self.guard: PolledGuard | None = None
        self.abandoned = False

    def run(self) -> None:
        while not self.abandoned:
            try:
                guard = self._todo.popleft()
            except IndexError:
                return
            guard.busy, self.guard, guard.asked_at = True, guard, time.monotonic()
            try:
                wrapper = guard.wrapper()
                if wrapper is not None:
                    guard.levels = _read(
                        guard.ask(wrapper), partial(self._report_invalid, guard.guard_name)
                    )
                    guard.answered_at = time.monotonic()
            except BaseException as error:
                self._report_failure("budget_levels() failed", error)
            finally:
                guard.busy = False

    def _report_invalid(self, guard_name: str, why: str, error: BaseException | None) -> None:
        # The guard's other levels are reported all the same.
        self._report_failure(f"budget_levels() of {guard_name} has {why}", error)


def _read(answer: Any, report_invalid: FailureReport) -> Levels:
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("budget_levels() must be a plain function, even on an async guard")
    levels = []
    for level in islice(answer, MAX_LEVELS):
        cls = type(level)  # not isinstance(): its __class__ may lie or raise
        if issubclass(cls, BudgetLevel):
            levels.append(level)
        elif issubclass(cls, Mapping):
            try:
                levels.append(BudgetLevel(**level))
            except ValidationError as error:
                wrong = {str(part["loc"][0]) for part in error.errors(include_url=False)}
                report_invalid(f"a level whose {', '.join(sorted(wrong))} cannot be read", error)
            except Exception as error:
                report_invalid("a level that cannot be read", error)
        else:
            report_invalid(f"a level of type {cls.__name__}", None)
    return tuple(levels)
