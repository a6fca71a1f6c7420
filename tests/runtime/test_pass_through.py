"""What the gate and the bridge pass on to a guard: who, how much, which tool, which usage."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import BudgetGate, TokenUsage, for_a3s
from support.gate_guards import PRINTED, USAGE
from support.guards import Make


def _asked(script: Any) -> list[tuple[str, tuple[Any, ...]]]:
    return [(method, args) for method, args, _ in script.asked]


ALL = [
    ("check_before_llm", ("s1", 1_000)),
    ("check_before_tool", ("s2", "web_search")),
    ("record_after_llm", ("s3", PRINTED)),
]


def test_a_bridge_passes_on_its_arguments(make: Make) -> None:
    script = make.guard(make.allow)
    with for_a3s(script) as bridge:
        bridge.check_before_llm("s1", 1_000)
        bridge.check_before_tool("s2", "web_search")
        bridge.record_after_llm("s3", dict(PRINTED))
    *checks, (method, (session, usage)) = _asked(script)
    assert checks == ALL[:2]
    assert (method, session) == ("record_after_llm", "s3")
    assert usage == (USAGE if make.typed else PRINTED)


async def test_a_gates_plain_methods_pass_on_their_arguments(make: Make) -> None:
    script = make.guard(make.allow)
    gate = BudgetGate(script)
    await gate.check_llm("s1", 1_000)
    await gate.check_tool("s2", "web_search")
    await gate.record_llm("s3", USAGE)
    if not make.asynchronous:
        gate.check_llm_sync("s1", 1_000)
        gate.check_tool_sync("s2", "web_search")
        gate.record_llm_sync("s3", USAGE)
    told = USAGE if make.typed else PRINTED
    once = [*ALL[:2], ("record_after_llm", ("s3", told))]
    assert _asked(script) == (once if make.asynchronous else once * 2)


def test_before_its_first_answer_a_guard_speaks_its_runtimes_dialect() -> None:
    told: list[Any] = []

    class Undeclared:
        def record_after_llm(self, session_id: str, usage: Any) -> None:
            told.append(usage)

    with for_a3s(Undeclared()) as bridge:
        bridge.record_after_llm("s1", dict(PRINTED))
    gate = BudgetGate(Undeclared())
    gate.check_llm_sync("s1", 1)  # proceeds, and is no answer
    gate.record_llm_sync("s1", USAGE)
    BudgetGate(Undeclared()).record_llm_sync("s1", dict(PRINTED))
    assert told == [PRINTED, USAGE, USAGE]
    assert [isinstance(usage, TokenUsage) for usage in told] == [False, True, True]


@pytest.mark.parametrize("point", ["llm", "tool"])
async def test_each_call_is_made_once(make: Make, point: str) -> None:
    gate = BudgetGate(make.guard(make.allow))

    def call() -> Any:
        return gate.llm_call("s1", 1) if point == "llm" else gate.tool_call("s1", "web")

    made = call()
    async with made:
        if point == "llm":
            made.usage(USAGE)
    with pytest.raises(RuntimeError, match="made already"):
        async with made:
            pytest.fail("a call is made once")
    if not make.asynchronous:
        made = call()
        with made:
            if point == "llm":
                made.usage(USAGE)
        with pytest.raises(RuntimeError, match="made already"), made:
            pytest.fail("a call is made once")
