"""Counting in the process: series, caps, zeros, ceilings."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from otel_budget import semconv
from otel_budget.telemetry.metrics.admission import MAX_SERIES, VALUE_CAPS
from otel_budget.telemetry.metrics.series import NO_LABELS, Series
from otel_budget.telemetry.metrics.tallies import Tallies

INT64 = 2**63 - 1
COUNTERS = [metric for metric in semconv.METRICS if metric.kind == "counter"]


def _add(tallies: Tallies, series: Series, key: tuple[object, ...], amount: float) -> None:
    tallies.add([(series.cells[tallies.admit(series, key)], amount)])


def _sums(tallies: Tallies, series: Series) -> dict[frozenset[Any], float]:
    return {frozenset(attributes.items()): value for attributes, value in tallies.read(series)}


def _tenant(tallies: Tallies, tenant: str) -> Any:
    return tallies.labels((("budget.tenant", tenant),))


def test_label_sets_are_capped_and_the_rest_is_other() -> None:
    tallies = Tallies(max_label_sets=2)
    sets = [_tenant(tallies, tenant) for tenant in ("a", "b", "c", "a", "d")]
    assert sets[0] is sets[3]
    assert sets[2] is sets[4]
    assert [labels.pairs[0][1] for labels in sets] == ["a", "b", "_other_", "a", "_other_"]
    assert tallies.labels(()) is NO_LABELS
    assert _sums(tallies, tallies[semconv.METRIC_LABEL_OVERFLOWS]) == {
        frozenset({("budget.label", "labels")}): 2
    }


def test_the_other_label_set_has_other_in_every_label() -> None:
    tallies = Tallies(max_label_sets=0)
    both = tallies.labels((("budget.tenant", "a"), ("budget.agent", "b")))
    assert dict(both.pairs) == {"budget.tenant": "_other_", "budget.agent": "_other_"}
    assert dict(_tenant(tallies, "a").pairs) == {"budget.tenant": "_other_"}


@pytest.mark.parametrize("attribute", list(VALUE_CAPS))
def test_every_capped_attribute_overflows_into_other(attribute: str) -> None:
    tallies = Tallies(1)
    cap = VALUE_CAPS[attribute]
    values = [tallies.value(attribute, f"v{number}") for number in range(cap + 5)]
    assert values[:cap] == [f"v{number}" for number in range(cap)]
    assert values[cap:] == ["_other_"] * 5
    assert tallies.value(attribute, "v0") == "v0"
    assert tallies.value(attribute, None) is None


def test_values_from_models_and_hosts_are_capped() -> None:
    assert set(VALUE_CAPS) >= {
        "budget.resource",
        "budget.tool.name",
        "gen_ai.request.model",
        "gen_ai.provider.name",
        "budget.guard.name",
    }


def test_no_combination_makes_more_series_than_promised() -> None:
    """Combines label sets with any of the labels absent, and many values of every attribute."""
    tallies = Tallies(max_label_sets=150)
    names = ("budget.tenant", "budget.agent", "budget.principal")
    chosen = [
        tallies.labels(tuple((name, f"{name}{number}") for name in some))
        for some in itertools.chain.from_iterable(
            itertools.combinations(names, size) for size in range(4)
        )
        for number in range(60)
    ]
    values = {
        "budget.decision_point": ["llm", "tool"],
        "budget.decision": ["allow", "deny", "error"],
        "budget.kind": ["soft", "hard"],
        "budget.token.type": ["input"],
        "budget.reason": ["no_prices", "no_model", "unknown_model", "no_rate", "cache_accounting",
                          "malformed_usage", "price_error"],
        "budget.cost.source": ["host", "provider", "local"],
        "budget.component": ["span"],
        "budget.label": ["labels"],
        "budget.source": ["guard", "soft_limit"],
        "budget.shared": [None, "true", "false"],
        "budget.cause": [None, "spent", "reserved", "unpriced", "policy", "unavailable"],
    }  # fmt: skip
    for series in (*(tallies[counter] for counter in COUNTERS), Series(semconv.METRIC_UTILIZATION)):
        added = 0
        for number, labels in enumerate(chosen):
            for round_ in range(8):
                key = [
                    values[attribute][(number + round_) % len(values[attribute])]
                    if attribute in values
                    else tallies.value(attribute, f"{number % 70}-{round_}" if round_ % 3 else None)
                    for attribute in series.metric.attributes
                ]
                labelled = labels if series.metric.labelled else NO_LABELS
                _add(tallies, series, (labelled, *key), 1)
                added += 1
        rows = tallies.read(series)
        assert len(rows) <= MAX_SERIES == 1_800, series.metric.name
        if series is not tallies[semconv.METRIC_LABEL_OVERFLOWS]:
            assert sum(value for _, value in rows) == added
        assert len({frozenset(attributes.items()) for attributes, _ in rows}) == len(rows)


def test_a_series_beyond_the_limit_has_other_in_every_capped_attribute() -> None:
    tallies = Tallies(max_label_sets=100)
    hits = tallies[semconv.METRIC_THRESHOLD_HITS]
    for tenant, resource in itertools.product(range(100), range(100)):
        key = (
            _tenant(tallies, f"t{tenant}"),
            "tool",
            "hard",
            f"r{resource}",
            "tool",
            "day",
            "spent",
        )
        _add(tallies, hits, key, 1)
    rows = tallies.read(hits)
    beyond = [a for a, value in rows if a["budget.tenant"] == "_other_" and value]
    assert beyond == [
        {
            "budget.tenant": "_other_",
            "budget.decision_point": "tool",
            "budget.kind": "hard",
            "budget.resource": "_other_",
            "budget.tool.name": "_other_",
            "budget.window": "_other_",
            "budget.cause": "spent",
        }
    ]
    assert sum(value for _, value in rows) == 10_000
    overflows = _sums(tallies, tallies[semconv.METRIC_LABEL_OVERFLOWS])
    assert overflows[frozenset({("budget.label", "series")})] > 0


@pytest.mark.parametrize(
    ("metric", "key", "zeros"),
    [
        ("budget.decisions", ("llm", "allow"), 6),
        ("budget.threshold_hits", ("llm", "soft", "r", None, "day", None), 1),
        ("budget.tokens", ("input", "m", "p"), 3),
        ("budget.calls", ("m", "p"), 0),
        ("budget.cost", ("m", "p", "local"), 0),
        ("budget.unpriced_calls", ("m", "p", "no_model"), 0),
        ("budget.guard.errors", ("llm", "ValueError", "g"), 0),
    ],
)
def test_the_other_outcomes_of_a_new_series_are_zero(
    metric: str, key: tuple[Any, ...], zeros: int
) -> None:
    tallies = Tallies(1)
    (series,) = (tallies[counter] for counter in COUNTERS if counter.name == metric)
    _add(tallies, series, (NO_LABELS, *key), 3)
    values = sorted(value for _, value in tallies.read(series))
    assert values == [0] * zeros + [3]


@pytest.mark.parametrize("amounts", [[INT64, 1], [2**62] * 5, [INT64 - 1, 1, 1], [2**40] * 3])
def test_the_sum_over_all_series_stops_at_int64(amounts: list[int]) -> None:
    tallies = Tallies(100)
    tokens = tallies[semconv.METRIC_TOKENS]
    for number, amount in enumerate(amounts):
        key = (_tenant(tallies, f"t{number % 3}"), "input", None, None)
        _add(tallies, tokens, key, amount)
    total = sum(value for _, value in tallies.read(tokens))
    assert total == min(sum(amounts), INT64)
    assert isinstance(total, int)


def test_money_never_becomes_infinite() -> None:
    tallies = Tallies(100)
    for _ in range(3):
        for tenant in ("a", "b"):
            key = (_tenant(tallies, tenant), None, None, "local")
            _add(tallies, tallies[semconv.METRIC_COST], key, 1.7e308)
    total = sum(value for _, value in tallies.read(tallies[semconv.METRIC_COST]))
    assert 0 < total < float("inf")


def test_reading_while_others_add_never_sees_a_sum_fall() -> None:
    tallies, stop = Tallies(100), threading.Event()
    key = (NO_LABELS, "llm", "allow")

    def add() -> None:
        while not stop.is_set():
            _add(tallies, tallies[semconv.METRIC_DECISIONS], key, 1)

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    seen = [sum(v for _, v in tallies.read(tallies[semconv.METRIC_DECISIONS])) for _ in range(200)]
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)


def test_every_counter_of_the_schema_is_tallied() -> None:
    tallies = Tallies(1)
    for metric in semconv.METRICS:
        if metric.kind == "counter":
            assert tallies[metric].metric is metric
            assert tallies.read(tallies[metric]) == []
        else:
            with pytest.raises(KeyError):
                _ = tallies[metric]
