"""What a dead or hung program of the stack costs, with an application under load."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from collector.stack import PROGRAMS, Stack
from otel_budget import semconv
from support import probes
from support.faults import (
    LONG,
    MARKS,
    OUTAGE,
    PATIENCE,
    StartApp,
    StartStack,
    arrived,
    assert_whole,
    run_phase,
)

pytestmark = MARKS


def wipe_and_launch(stack: Stack, program: str) -> None:
    shutil.rmtree(stack.directory / f"{program}-data")
    stack.launch(program)


#: What is done to a program, and what ends it.
OUTAGES: Mapping[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "killed": (Stack.kill, Stack.launch),
    "hung": (Stack.suspend, Stack.resume),
    "ended": (Stack.terminate, Stack.launch),
    "wiped": (Stack.kill, wipe_and_launch),
}


def longest_gap(stack: Stack) -> float:
    """The most seconds between two samples of a counter of the application."""
    name = semconv.METRIC_DECISIONS.prometheus_name()
    answer = probes.get_json(
        f"{stack.prometheus}/api/v1/query",
        {"query": f'{name}{{job="load",budget_decision="allow",budget_decision_point="llm"}}[1h]'},
    )
    (series,) = answer["data"]["result"]
    times = [when for when, _ in series["values"]]
    return max(later - earlier for earlier, later in pairwise(times))


def print_ratio(books: dict[str, Any]) -> None:
    """Print how long the guard's calls took during the fault; machines differ, so no assertion."""
    before, during = books["medians"]["before"], books["medians"]["fault"]
    print(
        f"  a check took {during * 1e6:.0f} us (median) during the fault and {before * 1e6:.0f} us "
        f"before it: ratio {during / before:.2f}; the application lost: {books['losses'] or '-'}"
    )


@pytest.mark.parametrize(
    ("who", "how"),
    [
        ("jaeger", "killed"),
        ("jaeger", "hung"),
        ("prometheus", "killed"),
        ("prometheus", "hung"),
        ("prometheus", "wiped"),
        pytest.param("jaeger and prometheus", "killed", marks=LONG),
    ],
)
def test_a_backend_that_fails_and_comes_back_loses_nothing(
    who: str, how: str, start_stack: StartStack, start_app: StartApp
) -> None:
    stack = start_stack()
    app = start_app(stack)
    victims, (down, up) = who.split(" and "), OUTAGES[how]
    run_phase(app, "before", 2)
    for victim in victims:
        down(stack, victim)
    run_phase(app, "fault", OUTAGE)
    for victim in victims:
        up(stack, victim)
    run_phase(app, "after", 2)
    books = app.finish()
    print_ratio(books)
    assert books["losses"] == ""
    assert_whole(arrived(f"{who} {how}", stack, books))
    if how != "wiped":
        # Exported every second throughout the outage; what was retried late comes last.
        gap = probes.eventually(lambda: longest_gap(stack), lambda gap: gap < 3, timeout=PATIENCE)
        assert gap < 3


@pytest.mark.parametrize(
    ("who", "how"),
    [
        ("otelcol", "killed"),
        ("otelcol", "hung"),
        pytest.param("otelcol and prometheus", "killed", marks=LONG),
        pytest.param("otelcol and jaeger", "hung", marks=LONG),
        ("everything", "killed"),
        ("everything", "ended"),
    ],
)
def test_a_collector_that_fails_and_comes_back_loses_no_count_and_no_denial(
    who: str, how: str, start_stack: StartStack, start_app: StartApp
) -> None:
    stack = start_stack()
    # The exporter itself gives up within a short outage, too.
    app = start_app(stack, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="1")
    victims = PROGRAMS if who == "everything" else who.split(" and ")
    down, up = OUTAGES[how]
    run_phase(app, "before", 2)
    for victim in victims:
        down(stack, victim)
    run_phase(app, "fault", OUTAGE)
    for victim in victims:
        up(stack, victim)
    run_phase(app, "after", 15 + OUTAGE / 2)  # the exporter's pauses grow to a quarter of a minute
    books = app.finish()
    print_ratio(books)
    # A batch whose acknowledgement is lost is sent again; its events are read once.
    assert_whole(arrived(f"{who} {how}", stack, books))


def test_what_waits_for_jaeger_survives_the_collectors_death(
    start_stack: StartStack, start_app: StartApp
) -> None:
    stack = start_stack()
    app = start_app(stack)
    run_phase(app, "before", 1)
    stack.kill("jaeger")
    stack.kill("prometheus")
    run_phase(app, "fault", OUTAGE)
    books = app.terminate()  # nothing is left that could send anything again
    stack.kill("otelcol")
    stack.launch("jaeger")
    stack.launch("prometheus")
    stack.launch("otelcol")
    assert_whole(
        arrived("jaeger and prometheus killed, the application ended, otelcol killed", stack, books)
    )
