"""What a format is: how its rows are recognised, and how a call is read from one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from otel_budget.cli.replay.log.call import Aside, LoggedCall
from otel_budget.cli.replay.log.values import Row
from otel_budget.contract import TokenUsage


@dataclass(frozen=True, slots=True)
class Format:
    """One product's log.

    Attributes:
        name: What the report calls it.
        fits: Whether a row is this product's; asked of the first rows of a file.
        read: The call of a row, or why it is none. A ValueError says what is wrong with the row: a
            clause that begins with ``it`` or ``its``.
        items: The rows within a row, where one line holds many.
        note: What the report says of such a log, if anything.
    """

    name: str
    fits: Callable[[Row], bool]
    read: Callable[[Row], LoggedCall | Aside]
    items: Callable[[Row], Iterable[Row]] | None = None
    note: str = ""


#: What is said of logs that sum up calls.
MANY: Final = "A row of it stands for many calls: they are allowed or refused together."


def usage_of(raw: object) -> TokenUsage:
    """The usage that a provider or product gave.

    Raises:
        ValueError: It is none.
    """
    if not raw:
        raise ValueError("it has no usage")
    usage = TokenUsage.of(raw)
    if usage is None:
        raise ValueError("its usage cannot be read")
    return usage
