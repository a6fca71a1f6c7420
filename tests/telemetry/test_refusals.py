"""What a refusal says: the guard's own numbers, those of a level that must be its own, or none."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from otel_budget import (
    BudgetExhausted,
    BudgetGate,
    BudgetLevel,
    BudgetThresholdHit,
    Deny,
    SessionInfo,
    SoftLimit,
    for_a3s,
)
from otel_budget.contract.dialects import print_decision
from otel_budget.contract.hit_details import HitDetails
from otel_budget.telemetry.hubs import poll_levels
from otel_budget.telemetry.metrics.levels import details_of
from otel_budget.telemetry.metrics.polling import LastAnswer
from support.backend import Backend
from support.guards import Make, SyncScript
from support.schema import instrumented

NUMBERS = ("budget.consumed", "budget.limit", "budget.reserved", "budget.utilization")
DETAILS = {
    "consumed": 5.01,
    "limit": 5.0,
    "reserved": 0.25,
    "window": "day",
    "resets_in": 3_600.0,
    "cause": "spent",
}
SOFT_DETAILS = {name: DETAILS[name] for name in ("reserved", "window", "resets_in")}


def _deny(make: Make, **details: Any) -> Any:
    if make.typed:
        return Deny(resource="usd", reason="no", **details)
    return {"decision": "deny", "resource": "usd", "reason": "no", **details}


def _soft(make: Make, **details: Any) -> Any:
    if make.typed:
        return SoftLimit(resource="usd", consumed=4.0, limit=5.0, **details)
    return {"decision": "soft", "resource": "usd", "consumed": 4.0, "limit": 5.0, **details}


def _seen(backend: Backend) -> list[dict[str, Any]]:
    """What span, span event and log event of the only check say of its hit, each the same."""
    (span,), (log,) = backend.spans(), backend.logs()
    (event,) = (event for event in span.events if event.name == "budget_threshold_hit")
    return [dict(span.attributes), dict(event.attributes), dict(log.attributes)]


def _named(details: dict[str, Any]) -> dict[str, Any]:
    return {f"budget.{name}": value for name, value in details.items()}


def test_a_denial_says_what_the_guard_says(backend: Backend, make: Make) -> None:
    make.call(instrumented(backend, make.guard(_deny(make, **DETAILS))), "check_before_llm", "s", 1)
    expected = _named(DETAILS) | {"budget.numbers_from": "decision"}
    for attributes in _seen(backend):
        assert expected.items() <= attributes.items()
        assert "budget.level.age" not in attributes
    assert backend.spans()[0].attributes["budget.utilization"] == pytest.approx(5.01 / 5)
    labels = {"budget__window": "day", "budget__cause": "spent", "budget__kind": "hard"}
    assert backend.value("budget.threshold_hits", **labels) == 1


def test_a_soft_limit_says_what_the_guard_says(backend: Backend, make: Make) -> None:
    answer = _soft(make, **SOFT_DETAILS)
    make.call(instrumented(backend, make.guard(answer)), "check_before_llm", "s", 1)
    expected = {"budget.consumed": 4.0, "budget.limit": 5.0, **_named(SOFT_DETAILS)}
    for attributes in _seen(backend):
        assert expected.items() <= attributes.items()
        assert attributes["budget.numbers_from"] == "decision"
    assert backend.value("budget.threshold_hits", budget__window="day", budget__kind="soft") == 1


def test_a_denial_that_says_nothing_has_no_numbers(backend: Backend, make: Make) -> None:
    make.call(instrumented(backend, make.guard(_deny(make))), "check_before_llm", "s", 1)
    for attributes in _seen(backend):
        known = {"budget.numbers_from", "budget.window", "budget.cause", *NUMBERS}
        assert not known & attributes.keys()


def test_zero_is_said_where_it_was_told(backend: Backend, make: Make) -> None:
    answer = _deny(make, consumed=0, limit=0.0)
    make.call(instrumented(backend, make.guard(answer)), "check_before_llm", "s", 1)
    for attributes in _seen(backend):
        assert (attributes["budget.consumed"], attributes["budget.limit"]) == (0.0, 0.0)


class _Hostile:
    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "wrong",
    [
        {"consumed": "5.01", "cause": "greed"},
        {"limit": float("nan"), "window": 7},
        {"reserved": float("inf"), "cause": 3},
        {"resets_in": _Hostile(), "window": ["day"]},
    ],
)
@pytest.mark.parametrize("constructed", [True, False])
def test_a_detail_that_cannot_be_read_is_unknown_and_counted(
    *, backend: Backend, make: Make, wrong: dict[str, Any], constructed: bool
) -> None:
    good = {name: value for name, value in DETAILS.items() if name not in wrong}
    if make.typed and constructed:
        answer: Any = Deny.model_construct(resource="usd", reason="no", **{**good, **wrong})
    else:
        answer = _deny(make, **good, **wrong)
    guard = instrumented(backend, make.guard(answer))
    assert make.call(guard, "check_before_llm", "s", 1) is answer
    for attributes in _seen(backend):
        assert _named(good).items() <= attributes.items()
        assert not _named(wrong).keys() & attributes.keys()
    assert backend.value("budget.decisions", budget__decision="deny") == 1
    errors = backend.value("budget.telemetry.errors", budget__component="decision")
    assert errors == len(wrong)


def test_any_number_is_read_as_a_float(backend: Backend, make: Make) -> None:
    answer = _deny(make, consumed=Decimal("5.01"), limit=5)
    make.call(instrumented(backend, make.guard(answer)), "check_before_llm", "s", 1)
    for attributes in _seen(backend):
        assert (attributes["budget.consumed"], attributes["budget.limit"]) == (5.01, 5.0)


def test_an_unknown_keyword_is_an_error_and_what_is_unknown_is_not_printed() -> None:
    with pytest.raises(ValueError, match="resets_at"):
        Deny(resource="usd", reason="no", resets_at=1)  # type: ignore[call-arg]
    assert Deny(resource="usd", reason="no", window="day").model_dump() == {
        "resource": "usd", "reason": "no", "window": "day",
    }  # fmt: skip


# -- a level in place of what a denial does not say --------------------------------------------
SPENT = BudgetLevel("usd", 5.01, 5.0, window="day", window_remaining=600, tenant="acme")
ACME = SessionInfo(tenant="acme", agent="coder", principal="u1")


def _level(**fields: Any) -> BudgetLevel:
    own = {name: getattr(SPENT, name) for name in SPENT.__slots__}
    return BudgetLevel(**{**own, **fields})


def _quoted(*levels: BudgetLevel, age: float = 0.0, **details: Any) -> HitDetails:
    last = LastAnswer()
    last.keep(levels)
    last.answer = last.answer._replace(at=last.answer.at - age)
    return details_of(Deny(resource="usd", reason="no", **details), last, ACME)


def test_a_denial_without_numbers_has_those_of_the_only_level_it_can_be(backend: Backend) -> None:
    class Guard(SyncScript):
        def budget_levels(self) -> list[BudgetLevel]:
            return [
                SPENT,
                BudgetLevel("usd", 9.0, 5.0, tenant="globex"),
                BudgetLevel("usd", 7.0, 100.0, window="month", tenant="acme"),
                BudgetLevel("tokens", 10, 10, tenant="acme"),
            ]

    guard = instrumented(backend, Guard(Deny(resource="usd", reason="no")))
    poll_levels()
    guard.check_before_llm("s", 1)
    for attributes in _seen(backend):
        numbers = (attributes["budget.consumed"], attributes["budget.limit"])
        assert (*numbers, attributes["budget.window"]) == (5.01, 5.0, "day")
        assert attributes["budget.numbers_from"] == "level"
        assert 0 <= attributes["budget.level.age"] < 10
        age = attributes["budget.level.age"]
        assert attributes["budget.resets_in"] == pytest.approx(600 - age)
    assert backend.value("budget.threshold_hits", budget__window="day") == 1


@pytest.mark.parametrize(
    "levels",
    [
        (),
        (_level(resource="tokens"),),
        (_level(tenant="globex"),),
        (_level(agent="writer"),),
        (_level(principal="u2"),),
        (_level(consumed=4.9),),
        (_level(limit=None),),
        (SPENT, _level(window="month")),  # either may be the one
        (SPENT, _level(tenant=None)),
    ],
)
def test_a_level_that_need_not_be_the_one_is_not_quoted(levels: tuple[BudgetLevel, ...]) -> None:
    assert _quoted(*levels) == HitDetails()


@pytest.mark.parametrize(
    "level",
    [
        _level(tenant=None),
        _level(agent="coder", principal="u1"),
        _level(consumed=4.9, reserved=0.1),
        _level(window=None, window_remaining=None),
    ],
)
def test_a_level_that_must_be_the_one_is_quoted(level: BudgetLevel) -> None:
    details = _quoted(level, _level(consumed=1.0, window="month"), _level(tenant="globex"))
    assert details[:4] == (level.consumed, level.limit, level.reserved, level.window)
    assert details.numbers_from == "level"


def test_the_window_that_a_denial_tells_chooses_among_levels() -> None:
    month = _level(consumed=60.0, limit=50.0, window="month")
    assert _quoted(SPENT, month, window="month")[:2] == (60.0, 50.0)
    assert _quoted(SPENT, month, window="hour") == HitDetails(window="hour")


def test_a_level_is_not_quoted_when_it_is_old_or_its_window_has_reset() -> None:
    assert _quoted(SPENT, age=9.0).numbers_from == "level"
    assert _quoted(SPENT, age=10.5) == HitDetails()
    assert _quoted(_level(window_remaining=3), age=4.0) == HitDetails()


@pytest.mark.parametrize("cause", ["policy", "unpriced", "unavailable"])
def test_a_denial_for_another_cause_quotes_no_level(cause: Any) -> None:
    assert _quoted(SPENT, cause=cause) == HitDetails(cause=cause)
    assert _quoted(SPENT, cause="spent").numbers_from == "level"


def test_numbers_that_a_denial_tells_stand_alone() -> None:
    assert _quoted(SPENT, limit=7.0) == HitDetails(limit=7.0, numbers_from="decision")


def test_numbers_are_the_guards_or_those_of_a_level_or_absent(backend: Backend, make: Make) -> None:
    """Random denials beside random levels: no number is made up, mixed, or 0 without a word."""
    choose = random.Random(11)
    amounts = [None, 0.0, 3.0, 5.01]

    class Levels:
        levels: list[BudgetLevel]

        def budget_levels(self) -> list[BudgetLevel]:
            return self.levels

    script = make.guard()
    source = Levels()
    script.budget_levels = source.budget_levels  # type: ignore[attr-defined]
    source.levels = []
    guard = instrumented(backend, script)
    for _ in range(60):
        source.levels = [
            BudgetLevel(
                choose.choice(["usd", "tokens"]), choose.choice([4.0, 5.5, 6.5]), 5.0,
                window=choose.choice(["day", "month"]), window_remaining=60,
                tenant=choose.choice([None, "acme", "globex"]),
            )
            for _ in range(choose.randrange(4))
        ]  # fmt: skip
        told = {"consumed": choose.choice(amounts), "limit": choose.choice(amounts)}
        poll_levels()
        script.answer = _deny(make, **told)
        make.call(guard, "check_before_llm", "s", 1)
        attributes = dict(backend.spans()[-1].attributes)
        numbers = tuple(attributes.get(name) for name in ("budget.consumed", "budget.limit"))
        match attributes.get("budget.numbers_from"):
            case "decision":
                assert numbers == (told["consumed"], told["limit"]) != (None, None)
                assert "budget.level.age" not in attributes
            case "level":
                assert set(told.values()) == {None}
                (level,) = (
                    level
                    for level in source.levels
                    if level.resource == "usd" and level.consumed >= 5.0
                    and level.tenant in {None, "acme"}
                )  # fmt: skip
                quoted = (*numbers, attributes["budget.window"])
                assert quoted == (level.consumed, level.limit, level.window)
            case None:
                assert numbers == (None, None)
                assert set(told.values()) == {None}


# -- stand-ins, and what listeners receive -----------------------------------------------------
@pytest.mark.parametrize(("fail", "kind"), [("closed", "hard"), ("open", "soft")])
@pytest.mark.parametrize("asked_by", ["gate", "bridge"])
def test_a_stand_in_has_no_numbers_and_says_unavailable(
    backend: Backend, asked_by: str, fail: Any, kind: str
) -> None:
    hits: list[BudgetThresholdHit] = []
    guard = instrumented(backend, SyncScript(RuntimeError("down")))
    if asked_by == "gate":
        with suppress(BudgetExhausted):
            BudgetGate(guard, hits, fail=fail).check_llm_sync("s", 1)
        assert "0" not in str(hits[0])
    else:
        answer = for_a3s(guard, fail=fail).check_before_llm("s", 1)
        assert answer["resource"] == "guard_unavailable"
        assert "cause" not in answer
    _, event, log = _seen(backend)
    for attributes in (event, log):
        assert attributes["budget.cause"] == "unavailable"
        assert not set(NUMBERS) & attributes.keys()
    labels = {"budget__cause": "unavailable", "budget__kind": kind}
    assert backend.value("budget.threshold_hits", **labels) == 1


def test_an_answer_that_cannot_be_read_is_refused_as_unavailable() -> None:
    hits: list[BudgetThresholdHit] = []
    with pytest.raises(BudgetExhausted, match="cannot be read"):
        BudgetGate(SyncScript("nonsense"), hits, fail="open").check_llm_sync("s", 1)
    assert hits[0].decision is not None
    assert hits[0].decision.cause == "unavailable"  # type: ignore[union-attr]


def test_the_runtimes_event_stays_the_runtimes_own() -> None:
    decision = Deny(resource="usd", reason="Spent.", **DETAILS)  # type: ignore[arg-type]
    hit = BudgetThresholdHit.of(decision)
    plain = BudgetThresholdHit(
        kind="hard", resource="usd", consumed=0.0, limit=0.0, message="Spent."
    )
    assert hit == plain
    assert hash(hit) == hash(plain)
    assert hit.model_dump_json() == plain.model_dump_json()
    assert pickle.dumps(hit) == pickle.dumps(plain)
    assert hit.decision is decision
    assert plain.decision is None
    for copied in (pickle.loads(pickle.dumps(hit)), copy.copy(hit), copy.deepcopy(hit)):
        assert copied == plain
        assert "consumed" not in str(copied)
    assert str(plain) == "Refused by 'usd': Spent."
    assert str(hit) == (
        "Refused by 'usd': used 5.01 of 5, 0.25 reserved, window day, resets in 3,600 s: Spent."
    )


def test_a_listener_and_a_refused_caller_receive_the_decision() -> None:
    hits: list[BudgetThresholdHit] = []
    answer = Deny(resource="usd", reason="no", **DETAILS)  # type: ignore[arg-type]
    with pytest.raises(BudgetExhausted, match="no") as refused:
        BudgetGate(SyncScript(answer), hits).check_llm_sync("s", 1)
    assert refused.value.decision is answer
    assert hits[0].decision is answer


def test_the_details_are_not_printed_into_the_dict_dialect() -> None:
    answer = Deny(resource="usd", reason="no", **DETAILS)  # type: ignore[arg-type]
    assert print_decision(answer) == {"decision": "deny", "resource": "usd", "reason": "no"}
    soft = SoftLimit(resource="usd", consumed=4, limit=5, **SOFT_DETAILS)  # type: ignore[arg-type]
    assert print_decision(soft).keys() == {"decision", "resource", "consumed", "limit"}


# -- without messages --------------------------------------------------------------------------
SECRET = "the-secret-of-the-host"


@pytest.mark.parametrize("by", ["option", "variable", "neither"])
def test_messages_can_be_kept_out_of_everything(
    backend: Backend, make: Make, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_BUDGET_STACKTRACES", "true")
    if by == "variable":
        monkeypatch.setenv("OTEL_PYTHON_BUDGET_MESSAGES", "False")
    answers = (
        make.soft("usd", 4.0, 5.0, SECRET),
        make.deny("usd", SECRET),
        RuntimeError(SECRET),
        {"decision": SECRET},
    )
    for answer, method in itertools.product(answers, ("check_before_llm", "record_after_llm")):
        guard = instrumented(backend, make.guard(answer), messages=by != "option")
        try:
            make.call(guard, method, *make.arguments(method))
        except RuntimeError as error:
            assert SECRET in str(error)  # noqa: PT017 - the caller receives it as ever
    assert (SECRET.encode() in backend.encode()) == (by == "neither")
