"""The dict dialect, as a real a3s-code runtime reads it."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from collections.abc import Mapping
from typing import Any

import pytest

from otel_budget import Allow, Deny, SoftLimit, TokenUsage
from otel_budget.contract.dialects import (
    Malformed,
    is_typed,
    print_decision,
    print_usage,
    read_decision,
    read_usage,
)

SOFT = {"decision": "soft", "resource": "r", "consumed": 4.0, "limit": 5.0}
DENY = {"decision": "deny", "resource": "r", "reason": "spent"}


class Hostile(dict[str, Any]):
    """A dict subclass that cannot be read."""

    def get(self, *_: Any) -> Any:
        raise RuntimeError("no")


class Incomparable:
    """Raises when compared, like an array whose truth value is ambiguous."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Lying:
    """Raises when asked for its class, like an unbound proxy."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("unbound")


async def _coroutine() -> None: ...


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        (None, Allow()),
        ({"decision": "allow"}, Allow()),
        ({"decision": "allow", "resource": 7}, Allow()),
        (SOFT, SoftLimit(resource="r", consumed=4, limit=5)),
        ({**SOFT, "message": None}, SoftLimit(resource="r", consumed=4, limit=5)),
        ({**SOFT, "message": "m"}, SoftLimit(resource="r", consumed=4, limit=5, message="m")),
        ({**SOFT, "consumed": 4}, SoftLimit(resource="r", consumed=4, limit=5)),
        (OrderedDict(DENY), Deny(resource="r", reason="spent")),
        (DENY, Deny(resource="r", reason="spent")),
    ],
)
def test_answers_that_the_runtime_accepts_are_read(answer: Any, decision: Any) -> None:
    assert read_decision(answer) == decision


@pytest.mark.parametrize(
    "answer",
    [
        True,
        False,
        "allow",
        0,
        object(),
        {},
        [],
        UserDict(DENY),
        {"decision": "frobnicate"},
        {"decision": "Allow"},
        {"decision": None},
        {"decision": b"allow"},
        {"decision": ["allow"]},
        {"decision": "deny", "reason": "spent"},
        {"decision": "deny", "resource": None, "reason": "spent"},
        {"decision": "deny", "resource": 7, "reason": "spent"},
        {**DENY, "resource": "\ud800"},
        {"decision": "soft", "consumed": 1, "limit": 2},
        {"decision": "soft", "resource": "r"},
        {**SOFT, "consumed": float("nan")},
        {**SOFT, "limit": float("inf")},
        {**SOFT, "limit": float("-inf")},
        {**SOFT, "limit": "5"},
        {**SOFT, "limit": None},
        {**SOFT, "limit": 10**400},
        {**SOFT, "message": 7},
        Hostile(DENY),
        {"decision": Incomparable()},
        Deny.model_construct(reason="no resource"),
        Deny.model_construct(resource="\ud800", reason="r"),
        Deny.model_construct(resource=None, reason=7),
        SoftLimit.model_construct(resource="r", consumed=float("nan"), limit=1.0),
        SoftLimit.model_construct(resource="r", consumed="1", limit=1.0),
        SoftLimit.model_construct(resource="r", consumed=1.0),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_what_the_runtime_rejects_is_malformed_and_says_why(answer: Any) -> None:
    read = read_decision(answer)
    assert type(read) is Malformed
    assert read.why


class Refusal(Deny):
    """A host's own denial, with more to say."""

    ticket: str = ""


class Warned(SoftLimit):
    ticket: str = ""


class Counting(Warned):
    """A soft limit whose numbers are computed, and differ each time."""

    def __getattribute__(self, name: str) -> Any:
        if name != "consumed":
            return super().__getattribute__(name)
        self.__dict__["consumed"] += 1.0
        return self.__dict__["consumed"]


class Computed(Refusal):
    """A denial whose reason is computed, and differs each time."""


Computed.reason = property(  # type: ignore[assignment]
    lambda self: str(self.__dict__.setdefault("asked", []).append(1) or len(self.__dict__["asked"]))
)


class Claiming:
    """No denial, but it says so and has what a denial has."""

    resource, reason = "usd", "spent"
    __class__ = Deny  # type: ignore[assignment]


@pytest.mark.parametrize(
    "answer",
    [
        Refusal(resource="usd", reason="spent", ticket="7"),
        Refusal.model_construct(resource="usd", reason="spent", ticket="7"),
        Warned(resource="usd", consumed=4, limit=5, ticket="7"),
    ],
)
def test_a_subclass_that_stores_its_fields_is_the_decision_itself(answer: Any) -> None:
    assert read_decision(answer) is answer


def test_a_subclass_keeps_its_own_fields_where_its_numbers_become_floats() -> None:
    answer = Warned.model_construct(resource="usd", consumed=4, limit=5, message=None, ticket="7")
    read = read_decision(answer)
    assert type(read) is Warned
    assert (read.ticket, type(read.consumed), type(read.limit)) == ("7", float, float)


def test_a_subclass_that_computes_a_field_is_read_once() -> None:
    soft = read_decision(Counting(resource="usd", consumed=1, limit=5))
    assert type(soft) is SoftLimit
    assert soft.consumed == soft.consumed == 2
    denial = read_decision(Computed.model_construct(resource="usd"))
    assert type(denial) is Deny
    assert denial.reason == denial.reason == "1"


def test_what_only_claims_to_be_a_decision_is_what_isinstance_makes_of_it() -> None:
    read = read_decision(Claiming())
    if isinstance(Claiming(), Deny):  # not in older versions of pydantic
        assert read == Deny(resource="usd", reason="spent")
    else:
        assert isinstance(read, Malformed)


def test_a_coroutine_is_not_an_answer() -> None:
    coroutine = _coroutine()
    assert type(read_decision(coroutine)) is Malformed
    coroutine.close()


def test_an_answers_type_decides_its_dialect() -> None:
    assert is_typed(Allow())
    assert is_typed(Deny(resource="r", reason="x"))
    assert not is_typed(None)
    assert not is_typed(DENY)


def test_an_object_that_lies_about_its_class_is_malformed() -> None:
    assert type(read_decision(Lying())) is Malformed
    assert type(read_usage(Lying())) is Malformed


@pytest.mark.parametrize(
    "decision",
    [
        Allow(),
        SoftLimit(resource="r", consumed=4, limit=5),
        SoftLimit(resource="r", consumed=4, limit=5, message="m"),
        Deny(resource="r", reason="x"),
    ],
)
def test_a_printed_decision_is_read_back(decision: Any) -> None:
    assert read_decision(print_decision(decision)) == decision


def test_a_missing_message_is_not_printed() -> None:
    assert print_decision(SoftLimit(resource="r", consumed=4, limit=5)) == SOFT


# -- usage -----------------------------------------------------------------------------------
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


class Unreadable(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Any:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 5


@pytest.mark.parametrize(
    "usage",
    [
        USAGE,
        {**USAGE, "cache_read_tokens": None, "cache_write_tokens": None},
        {**USAGE, "something_new": "x"},
        UserDict(USAGE),
        TokenUsage(**USAGE),
    ],
    ids=["plain", "nones", "more", "mapping", "typed"],
)
def test_usage_of_both_dialects_is_read(usage: Any) -> None:
    assert read_usage(usage) == TokenUsage(**USAGE)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        7,
        "usage",
        {},
        {**USAGE, "prompt_tokens": -1},
        {**USAGE, "prompt_tokens": 1.5},
        {**USAGE, "prompt_tokens": float("nan")},
        {**USAGE, "completion_tokens": float("inf")},
        {**USAGE, "completion_tokens": None},
        {**USAGE, "cache_read_tokens": -3},
        {"prompt_tokens": 1},
        Unreadable(),
        TokenUsage.model_construct(prompt_tokens=-5, completion_tokens=1, total_tokens=1),
        TokenUsage.model_construct(prompt_tokens=5),
        TokenUsage.model_construct(prompt_tokens=float("nan"), completion_tokens=1, total_tokens=1),
        TokenUsage(**USAGE).model_copy(update={"cache_read_tokens": -1}),
    ],
    ids=lambda usage: type(usage).__name__,
)
def test_usage_that_cannot_be_read_is_malformed(usage: Any) -> None:
    read = read_usage(usage)
    assert type(read) is Malformed
    assert read.why


def test_printed_usage_has_all_five_keys() -> None:
    assert print_usage(TokenUsage(**USAGE)) == {
        **USAGE,
        "cache_read_tokens": None,
        "cache_write_tokens": None,
    }
