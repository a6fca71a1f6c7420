"""Recreates locks and threads in a forked child.

A fork copies no threads, and a lock that one of them holds stays locked in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, Protocol


class Owner(Protocol):
    """Owns a lock or a thread."""

    def after_fork(self) -> None:
        """Recreate what a child cannot use; the order among owners is undefined."""


#: By id, because an owner that the host wrote need not be hashable.
_owners: Final[weakref.WeakValueDictionary[int, Owner]] = weakref.WeakValueDictionary()


def renew_in_child(owner: Owner) -> None:
    """Call ``owner.after_fork()`` in every forked child, for as long as `owner` lives."""
    _owners[id(owner)] = owner


class RenewedLock:
    """A lock for the call path: reentrant, and never held in a forked child.

    Use it as ``with lock.current:``, which releases the lock it took even if a fork comes between.

    Attributes:
        current: This process's lock. Reentrant: a signal handler or a finalizer may run on the
            thread that holds it.
    """

    __slots__ = ("__weakref__", "current")

    def __init__(self) -> None:
        self.current = threading.RLock()
        renew_in_child(self)

    def after_fork(self) -> None:
        """Leave the lock to the parent, where another thread may hold it."""
        self.current = threading.RLock()


def _renew_all() -> None:
    failures: list[Exception] = []
    for owner_ref in _owners.valuerefs():  # a copy, since owners may come and go meanwhile
        owner = owner_ref()
        if owner is not None:
            try:
                owner.after_fork()
            except Exception as error:  # the others must still be renewed
                failures.append(error)
    if failures:  # Python prints this and goes on
        raise ExceptionGroup("not everything could be renewed in a forked child", failures)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
