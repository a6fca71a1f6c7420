"""The page of the frameworks: its blocks run, in order, against the fake model server."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest

from otel_budget import BudgetGate, SessionInfo, instrument
from otel_budget.guards import Limit, WindowGuard
from otel_budget.testing import capture_telemetry
from support.model_server import ModelServer
from support.paths import ROOT

PAGE = "docs/frameworks.md"
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / PAGE).read_text(), re.DOTALL)


async def test_the_blocks_of_the_page_run(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "none",
    }.items():
        monkeypatch.setenv(variable, value)
    names: dict[str, Any] = {
        "BudgetGate": BudgetGate,
        "Limit": Limit,
        "SessionInfo": SessionInfo,
        "WindowGuard": WindowGuard,
        "instrument": instrument,
    }
    asked = []
    with capture_telemetry() as telemetry:
        for block in BLOCKS:
            code = compile(block, PAGE, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            done = eval(code, names)
            if inspect.isawaitable(done):
                await done
            asked.append(len(server.requests))
        assert asked == [0, 2, 3, 4, 5, 6, 7]
        assert telemetry.value("budget.calls") == 7
        assert telemetry.value("budget.calls_without_usage") == 0
        assert telemetry.value("budget.unpriced_calls") == 0
