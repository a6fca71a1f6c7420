"""The budget that `replay` tries: made from its options, or the user's own guard."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from otel_budget.cli.terminal import CommandError, amount
from otel_budget.guards import Limit, WindowGuard
from otel_budget.guards.calendar import Window
from otel_budget.guards.limit import Per


def budget_of(
    clock: Callable[[], float],
    *,
    guard: str | None,
    limit_usd: float | None,
    limit_tokens: float | None,
    per: Per,
    window: Window,
    soft: float,
    deny_tools: Iterable[str],
) -> Any:
    """The guard that the options describe.

    Raises:
        CommandError: They do not describe a guard.
    """
    if guard is not None:
        if limit_usd is not None or limit_tokens is not None or deny_tools:
            raise CommandError("--guard brings its own limits: omit --limit-* and --deny-tool.")
        return _guard_from(guard, clock)
    try:
        limits = [] if limit_usd is None else [Limit(limit_usd, "USD", per, window, soft)]
        if limit_tokens is not None:
            limits.append(Limit(limit_tokens, "tokens", per, window, soft))
    except ValueError as error:
        raise CommandError(f"{error}.") from None
    return WindowGuard(*limits, deny_tools=deny_tools, clock=clock)


def describe(
    *,
    guard: str | None,
    limit_usd: float | None,
    limit_tokens: float | None,
    per: Per,
    window: Window,
    soft: float,
) -> str:
    """The budget in words."""
    if guard is not None:
        return guard
    caps = [
        amount(cap, unit) + ("" if unit == "USD" else " tokens")
        for cap, unit in ((limit_usd, "USD"), (limit_tokens, "tokens"))
        if cap is not None
    ]
    if not caps:
        return "no limit"
    scope = "in total" if per == "all" else f"per {per}"
    return f"{' and '.join(caps)} {scope}, {window}, soft at {soft:.0%}"


def _guard_from(name: str, clock: Callable[[], float]) -> Any:
    module_name, separator, attribute = name.partition(":")
    if not (separator and module_name and attribute):
        raise CommandError(f"--guard {name} is not MODULE:FACTORY, such as myapp.budgets:make.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # unlike `python -m`, a console script does not look there
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise CommandError(
            f"--guard: {module_name} cannot be imported ({_in_words(error)}); run the command "
            "where Python finds it, or put its folder on PYTHONPATH."
        ) from None
    try:
        factory = module
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except AttributeError:
        raise CommandError(f"--guard: {module_name} has no {attribute}: check its name.") from None
    if not callable(factory):
        raise CommandError(f"--guard: {name} is not a function or class that makes a guard.")
    try:
        return factory(clock=clock) if _takes_clock(factory) else factory()
    except Exception as error:
        raise CommandError(
            f"--guard: {name} could not make a guard ({_in_words(error)}); it is called without "
            "arguments, or with clock if it has that parameter."
        ) from None


def _takes_clock(factory: Callable[..., Any]) -> bool:
    try:
        return "clock" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
