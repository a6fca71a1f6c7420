"""What arrives of an application that is killed, has a wrong clock or sends what is too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otel_budget import SessionInfo, sanitize, semconv
from support import probes
from support.applications import Application, Scripted, deny
from support.faults import (
    IN_FULL,
    MARKS,
    OUTAGE,
    WHOLE,
    StartApp,
    StartStack,
    arrived,
    assert_exact,
    assert_whole,
    run_phase,
)
from support.verify_runs import another_time

pytestmark = MARKS
HOUR = 3600


def test_an_application_ended_by_sigterm_has_delivered_everything(
    start_stack: StartStack, start_app: StartApp
) -> None:
    stack = start_stack()
    app = start_app(stack)
    run_phase(app, "before", 3)
    books = app.terminate()
    assert books["losses"] == ""
    assert_whole(arrived("application ended by SIGTERM", stack, books))


def test_a_killed_application_loses_its_end_alone(
    start_stack: StartStack, start_app: StartApp
) -> None:
    stack = start_stack()
    app = start_app(stack, OTEL_METRIC_EXPORT_INTERVAL="3000")
    run_phase(app, "before", max(OUTAGE, 8))
    books = app.kill()
    result = arrived("application killed (exports metrics every 3 s)", stack, books, patience=5)
    for found, true in result.wrong.values():
        assert found is not None
        assert 0 < found <= true
    for messages in (result.audit, result.traces):
        assert messages.missing == books["denials"][len(books["denials"]) - len(messages.missing) :]
        assert len(messages.missing) < len(books["denials"])
        assert len(messages.twice) <= 1  # its last cycle may not be in its books


def test_a_clock_that_jumps_costs_nothing_once_it_is_right(
    start_stack: StartStack, start_app: StartApp, directory: Path
) -> None:
    stack = start_stack()
    app = start_app(stack, **another_time(directory, 0))
    for name, ahead in (
        ("before", 0), ("behind", -HOUR), ("between", 0), ("ahead", 300), ("again", 0),
        ("far ahead", 2 * HOUR), ("after", 0),
    ):  # fmt: skip
        app.set_clock(ahead)
        run_phase(app, name, max(OUTAGE / 6, 2))
    assert_whole(
        arrived("application's clock jumps by -1 h, +5 min and +2 h, and back", stack, app.finish())
    )


@pytest.mark.parametrize(
    ("seconds", "name"), [(2 * HOUR, "2 h ahead"), (-HOUR // 2, "30 min behind")]
)
def test_a_wrong_clock_does_not_touch_another_application(
    seconds: int, name: str, start_stack: StartStack, start_app: StartApp, directory: Path
) -> None:
    stack = start_stack()
    app = start_app(stack)
    other = start_app(stack, "skewed", **another_time(directory, seconds))
    run_phase(app, "fault", OUTAGE)
    books, skewed = app.finish(), other.finish()
    assert_whole(arrived(f"application beside one whose clock is {name}", stack, books))
    result = arrived(
        f"application whose clock is {name}", stack, skewed, service="skewed", patience=10
    )
    assert result.audit == result.traces == WHOLE
    if seconds > 0:
        assert [found for found, _ in result.wrong.values()] == [None] * 4
        return
    assert_exact(result)
    now = semconv.METRIC_DECISIONS.prometheus_name() + '{job="skewed"}'
    assert probes.query(stack.prometheus, now) == []


MANY = 10_000 if IN_FULL else 2_000


def test_many_tenants_agents_and_tools_are_bounded_and_exact(start_stack: StartStack) -> None:
    stack = start_stack()
    books: dict[str, Any] = {"decisions": 2 * MANY, "calls": MANY, "denials": []}
    with Application(stack.otlp_grpc, "load") as app:
        inner = Scripted()

        def info(session: str) -> SessionInfo:
            return SessionInfo(
                tenant=f"tenant {session}", agent=f"agent {session}", model="test-model",
                provider="openai",
            )  # fmt: skip

        guard = app.instrument(inner, session_info=info)
        for number in range(MANY):
            inner.answer = None
            guard.check_before_llm(str(number), 10)
            guard.record_after_llm(
                str(number), {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
            )
            books["denials"].append(f"refusal {number}")
            inner.answer = deny(books["denials"][-1])
            guard.check_before_tool(str(number), f"tool {number}")
            if number % 500 == 499:  # as a real load leaves the exporter time
                app.flush()
    books |= {"tokens": 9 * MANY, "cost": MANY * (7 * 3e-6 + 2 * 15e-6)}
    assert_whole(arrived(f"{MANY:,} tenants, agents and tools", stack, books))
    series = 'count by (__name__) ({__name__=~"budget_.+_total", job="load"})'
    counts = probes.query(stack.prometheus, series)
    assert counts
    assert max(count for _, count in counts) < 1_800
    other = semconv.METRIC_DECISIONS.prometheus_name() + '{budget_tenant="_other_"}'
    assert (probes.total(stack.prometheus, other) or 0) > 1.8 * MANY
    assert probes.total(stack.prometheus, "budget_label_overflows_total")


def test_a_reason_of_five_megabytes_is_cut(start_stack: StartStack) -> None:
    stack = start_stack()
    inner = Scripted()
    cut: list[str] = []
    with Application(stack.otlp_grpc, "load") as app:
        guard = app.instrument(inner)
        for number in range(30):
            reason = f"{number} " + "x" * 5_000_000
            inner.answer = deny(reason)
            assert guard.check_before_llm("s", 10)["reason"] == reason
            cut.append(reason[: sanitize.MESSAGE_LENGTH - 1] + "…")
    books = {"decisions": 30, "denials": cut}
    assert_whole(arrived("30 reasons of 5 MB", stack, books))
