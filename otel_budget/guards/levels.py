"""What a guard tells of its budgets, without keeping callers waiting while it is put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest
from typing import Final, NamedTuple

from otel_budget.contract import BudgetLevel
from otel_budget.contract.levels import MAX_LEVELS
from otel_budget.forks import RenewedLock
from otel_budget.guards.answers import Terms
from otel_budget.guards.book import Book, Filling
from otel_budget.guards.calendar import Period
from otel_budget.guards.limit import Owner
from otel_budget.guards.reservations import Holds

#: Accounts read at a time: for so long the guard's lock is held, which calls wait for.
_AT_A_TIME: Final = 200


class Budget(NamedTuple):
    """One tenant's budget."""

    terms: Terms
    period: Period
    filling: Filling

    def fullness(self) -> tuple[float, int]:
        """Used and reserved over the cap; among equals, the calls that could not be counted."""
        cap, filling = self.terms.cap, self.filling
        return (filling.used + filling.reserved) / cap if cap else 1.0, filling.uncounted


def levels_of(
    books: Sequence[Book], holds: Holds | None, lock: RenewedLock, now: float
) -> list[BudgetLevel]:
    """How full each budget of `books` is; of more than are read, the fullest.

    What is told of one account is of one moment; a call may come between two accounts.

    Args:
        books: The budgets.
        holds: What is reserved of them.
        lock: Held while an account is read.
        now: Seconds since the epoch.
    """
    with lock.current:
        if holds is not None:
            holds.expire()
        read = [(book, book.period(now), book.keys(now)) for book in books]
    budgets: list[Budget] = []
    for book, period, named in read:
        keys, fillings = list(dict.fromkeys(named)), list[Filling]()
        for start in range(0, len(keys), _AT_A_TIME):
            with lock.current:
                fillings += book.fillings(now, keys[start : start + _AT_A_TIME])
            # Lets in who waits for the lock. Otherwise this thread, which runs already, takes it
            # again before the other has woken up, until all accounts are read.
            time.sleep(0)
        budgets += [Budget(book, period, filling) for filling in of_owners(fillings)]
    if holds is None:
        return told(budgets, now, shared=False)
    return told(budgets, now, shared=False, age=holds.age)


def told(
    budgets: Sequence[Budget],
    now: float,
    *,
    shared: bool,
    age: Callable[[float | None], float | None] | None = None,
) -> list[BudgetLevel]:
    """The levels of `budgets`; of more than are read, of the fullest.

    Args:
        budgets: At most one for each limit and owner.
        now: Seconds since the epoch.
        shared: Whether other processes tell them, too.
        age: The age of a reservation made at `Filling.since`; None if the guard reserves nothing.
    """
    if len(budgets) > MAX_LEVELS:
        budgets = nlargest(MAX_LEVELS, budgets, key=Budget.fullness)
    return [_level(budget, now, shared, age) for budget in budgets]


def of_owners(fillings: Iterable[Filling]) -> Iterable[Filling]:
    """Each owner's fullest account, with the uncounted calls of all of them."""
    fullest: dict[Owner, Filling] = {}
    for filling in fillings:
        other = fullest.setdefault(filling.owner, filling)
        if other is not filling:
            is_fuller = filling.used + filling.reserved > other.used + other.reserved
            fullest[filling.owner] = (filling if is_fuller else other)._replace(
                uncounted=filling.uncounted + other.uncounted
            )
    return fullest.values()


def _level(
    budget: Budget, now: float, shared: bool, age: Callable[[float | None], float | None] | None
) -> BudgetLevel:
    terms, period, filling = budget
    return BudgetLevel(
        resource=terms.limit.name,
        consumed=filling.used / terms.scale,
        limit=float(terms.limit.cap),
        unit=terms.limit.unit,
        window=terms.limit.window if period.resets else None,
        window_length=period.end - period.start if period.resets else None,
        window_remaining=max(0.0, period.end - now) if period.resets else None,
        **filling.owner._asdict(),
        reserved=None if age is None else filling.reserved / terms.scale,
        reserved_age=None if age is None else age(filling.since),
        shared=shared,
        uncounted_calls=filling.uncounted,
    )
