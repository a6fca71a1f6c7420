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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from itertools import islice
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from otel_budget.contract import BudgetLevel
from otel_budget.contract.levels import MAX_LEVELS
from otel_budget.sanitize import amount, text

#: Seconds between two polls.
POLL_INTERVAL: Final = 5.0
#: Seconds a guard has to answer a poll.
POLL_DEADLINE: Final = 2.0
#: Seconds for which an answer is reported.
FRESH: Final = 60.0
#: Levels looked at of one answer to find the fullest `MAX_LEVELS`: an answer may be endless.
MAX_LOOKED_AT: Final = 20_000

#: Receives why a guard gave no levels, and the error if there is one.
FailureReport = Callable[[str, BaseException | None], None]

Levels = tuple[BudgetLevel, ...]


class Answer(NamedTuple):
    """What a guard answered to a poll.

    Attributes:
        levels: Its levels.
        by_resource: The same by the name of their resource.
        at: When it answered, by the steady clock.
    """

    levels: Levels
    by_resource: Mapping[str, Sequence[BudgetLevel]]
    at: float


_NO_ANSWER: Final = Answer((), {}, float("-inf"))


class LastAnswer:
    """A guard's last answer, for whoever asks: the hub at a collection, a check that is refused."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer = _NO_ANSWER

    def keep(self, levels: Levels) -> None:
        """Replace the answer."""
        by_resource: dict[str, list[BudgetLevel]] = {}
        for level in levels:
            by_resource.setdefault(text(level.resource), []).append(level)
        self.answer = Answer(levels, by_resource, time.monotonic())


@dataclass(slots=True, eq=False, weakref_slot=True)
class PolledGuard:
    """A guard that has levels: held weakly, through the wrapper that the host holds."""

    wrapper: weakref.ref[Any]
    ask: Callable[[Any], Iterable[Any]]
    guard_name: str
    metric_labels: tuple[str, ...]
    last: LastAnswer
    asked_at: float = float("-inf")
    busy: bool = False
    #: Called with this guard after each answer, on the thread that asked.
    after_answer: Callable[[PolledGuard], object] | None = None


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
        last: LastAnswer | None = None,
    ) -> None:
        """Ask a guard for its levels from now on, for as long as `wrapper` lives.

        Args:
            wrapper: What the host holds.
            ask: Called with `wrapper`; returns the levels.
            guard_name: The guard's name.
            metric_labels: Which of a level's labels are reported.
            last: Keeps the answer, for others to read as well.
        """
        with self._lock:
            reference = weakref.ref(wrapper)
            self._guards.append(
                PolledGuard(reference, ask, guard_name, metric_labels, last or LastAnswer())
            )

    def adopt(self, other: Poller) -> None:
        """Ask the guards of `other`, too, except those that are asked here already."""
        # All weak references to one object are the same object.
        present = {id(guard.wrapper) for guard in self._guards}
        for guard in list(other._guards):
            wrapper = guard.wrapper()
            if wrapper is not None and id(guard.wrapper) not in present:
                self.add(wrapper, guard.ask, guard.guard_name, guard.metric_labels, guard.last)

    def fresh_answers(self) -> list[PolledGuard]:
        """The living guards whose last answer is recent enough to report."""
        now = time.monotonic()
        return [
            guard
            for guard in list(self._guards)
            if guard.wrapper() is not None and now - guard.last.answer.at < FRESH
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
                    report_invalid = partial(self._report_invalid, guard.guard_name)
                    guard.last.keep(_read(guard.ask(wrapper), report_invalid))
                    if guard.after_answer is not None:
                        guard.after_answer(guard)
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
    for level in islice(answer, MAX_LOOKED_AT):
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
    if len(levels) > MAX_LEVELS:
        levels = nlargest(MAX_LEVELS, levels, key=_fullness)
    return tuple(levels)


def _fullness(level: BudgetLevel) -> float:
    """Used and reserved over the limit; below 0 without a limit. The values may be anything."""
    limit = amount(level.limit)
    if limit is None:
        return -1.0
    held = (amount(level.consumed) or 0.0) + (amount(level.reserved) or 0.0)
    return held / limit if limit else 1.0
