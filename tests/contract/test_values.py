"""What is made for each call is lean and, but for what counts, does not change."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from otel_budget import Allow, BudgetLevel, Deny, SoftLimit, TokenUsage

WINGS = ("contract", "telemetry", "guards", "runtime")
#: What is counted or waited for in place.
CHANGING = {
    "Account",
    "Deadline",
    "Hold",
    "PolledGuard",
    "_KeptWindow",
    "_Reserved",
    "_Snapshot",
}


def _dataclasses() -> Iterator[Any]:
    for wing in WINGS:
        package = importlib.import_module(f"otel_budget.{wing}")
        for listed in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(listed.name)
            for _, found in inspect.getmembers(module, dataclasses.is_dataclass):
                if inspect.isclass(found) and found.__module__ == module.__name__:
                    yield found


FOUND = list(_dataclasses())


def test_there_are_values_in_every_wing() -> None:
    assert {found.__module__.split(".")[1] for found in FOUND} == set(WINGS) - {"runtime"}
    assert {found.__name__ for found in FOUND} >= CHANGING


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found.__name__)
def test_a_value_has_slots_and_is_frozen_unless_it_counts(found: Any) -> None:
    assert "__slots__" in vars(found)
    assert found.__dataclass_params__.frozen is (found.__name__ not in CHANGING)


@pytest.mark.parametrize(
    "module",
    ["otel_budget", "otel_budget.contract", "otel_budget.guards", "otel_budget.guards.window"],
)
def test_every_exported_name_exists(module: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"from {module} import *", namespace)
    exported = importlib.import_module(module).__all__
    assert exported
    assert set(exported) <= set(namespace)
    assert all(namespace[name] is not None for name in exported)


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: Allow(**more),
        lambda **more: Deny(resource="r", reason="spent", **more),
        lambda **more: SoftLimit(resource="r", consumed=1, limit=2, **more),
        lambda **more: TokenUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2, **more),
        lambda **more: BudgetLevel("r", 1, 2, **more),
    ],
    ids=["Allow", "Deny", "SoftLimit", "TokenUsage", "BudgetLevel"],
)
def test_a_field_that_nobody_knows_is_an_error_and_no_field_changes(make: Any) -> None:
    value = make()
    with pytest.raises(ValidationError):
        make(limitt=5)
    for name in getattr(type(value), "model_fields", {}) or ("resource",):
        with pytest.raises((ValidationError, dataclasses.FrozenInstanceError)):
            setattr(value, name, "other")
