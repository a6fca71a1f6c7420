"""What the commands share at the terminal: errors, numbers, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")


class CommandError(Exception):
    """A mistake that the user can correct: one sentence with the remedy.

    Attributes:
        code: The exit code.
    """

    def __init__(self, sentence: str, code: int = 2) -> None:
        super().__init__(sentence)
        self.code = code


def complain(sentence: str) -> None:
    """Print one sentence to stderr."""
    # Not through rich, which would wrap it, so that no search finds it.
    print(f"otel-budget: {sentence}", file=sys.stderr)


def say(console: Console, *parts: RenderableType) -> None:
    """Print the parts, with an empty line after each."""
    for part in parts:
        console.print(part)
        console.print()


def clean(text: str) -> str:
    """Outside text made safe for a terminal: no control characters. Put it into a `Text`."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def counted(number: int, what: str) -> str:
    """A number and its noun: ``1 row``, ``2 rows``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def usd(amount: float) -> str:
    """Dollars: two decimals where these are exact or enough, else four."""
    whole_cents = amount >= 1 or abs(amount * 100 - round(amount * 100)) < 1e-9
    return f"${amount:,.2f}" if whole_cents else f"${amount:.4f}"


def amount(value: float, unit: str) -> str:
    """A level's value in its unit."""
    return usd(value) if unit == "USD" else f"{value:,.0f}"


def bar(share: float, width: int = 8, soft: float | None = 0.8) -> Text:
    """A bar filled to `share`, with its percentage: green, yellow from `soft`, red from 1."""
    filled = min(width, int(share * width))
    colour = "red" if share >= 1 else "yellow" if soft is not None and share >= soft else "green"
    return Text.assemble(
        ("█" * filled, colour), ("░" * (width - filled), "dim"), (f" {share:>4.0%}", colour)
    )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="dim")


#: Seconds between two lines of progress where there is no terminal.
_EVERY: Final = 5.0


@contextmanager
def progress(
    what: str, total: int | None, *, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """Show on stderr how far something is: live on a terminal, else a line every few seconds.

    Args:
        what: What is counted, as a heading.
        total: How many there will be, if that is known.
        shown: Whether to show anything.

    Yields:
        A function to be told how many were done so far.
    """
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        last = time.monotonic()

        def say_now_and_then(done: int) -> None:
            nonlocal last
            if shown and done != total and time.monotonic() - last >= _EVERY:
                last = time.monotonic()
                of = "" if total is None else f" of {total:,}"
                complain(f"{what.lower()}: {done:,}{of}.")

        yield say_now_and_then
        return
    rest = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
    )
    columns = (
        (SpinnerColumn(), TextColumn("{task.completed:,}"), _Rate()) if total is None else rest
    )
    with Progress(TextColumn(what), *columns, console=console, transient=True) as display:
        task = display.add_task(what, total=total)
        yield lambda done: display.update(task, completed=done)


def followed(items: Iterable[Item], what: str, total: int, *, shown: bool = True) -> Iterator[Item]:
    """Yield `items`, of which there are `total`, and show how far it is."""
    with progress(what, total, shown=shown) as done:
        for number, item in enumerate(items, 1):
            yield item
            if number % 64 == 0 or number == total:
                done(number)
