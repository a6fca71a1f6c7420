"""Why an answer or a usage cannot be read: in words that reach the log and the refusal."""

from __future__ import annotations

from typing import Any

import pytest

from otel_budget import Deny, SoftLimit, TokenUsage
from otel_budget.contract.dialects import (
    Malformed,
    UsageDialect,
    read_decision,
    read_usage,
    usage_of,
)
from otel_budget.contract.interpretation import measure

SOFT = {"decision": "soft", "resource": "r", "consumed": 1.0, "limit": 2.0}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class Unreadable(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise OSError("secret")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (7, "an answer of type int"),
        ({}, "no decision"),
        ({"decision": "maybe"}, "an unknown decision word"),
        ({"decision": "deny", "reason": "spent"}, "a denial without resource"),
        ({"decision": "deny", "resource": "r"}, "a denial without reason"),
        ({**SOFT, "resource": None}, "a soft limit without resource"),
        ({**SOFT, "consumed": None}, "a soft limit whose consumed or limit is not a finite number"),
        ({**SOFT, "limit": "5"}, "a soft limit whose consumed or limit is not a finite number"),
        ({**SOFT, "message": 7}, "a soft limit whose message is not text"),
        (
            Deny.model_construct(resource=None, reason="spent"),
            "a denial whose resource or reason is not text",
        ),
        (
            Deny.model_construct(resource="r", reason=None),
            "a denial whose resource or reason is not text",
        ),
        (
            SoftLimit.model_construct(resource="r", consumed=1.0, limit=float("nan")),
            "a soft limit whose consumed or limit is not a finite number",
        ),
        (
            SoftLimit.model_construct(resource=7, consumed=1.0, limit=2.0, message=None),
            "a soft limit whose resource or message is not text",
        ),
        (
            SoftLimit.model_construct(resource="r", consumed=1.0, limit=2.0, message=7),
            "a soft limit whose resource or message is not text",
        ),
        (Unreadable(), "an answer that raises OSError when it is read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_answer_says_what_is_wrong_with_it(answer: Any, why: str) -> None:
    assert read_decision(answer) == Malformed(why)


@pytest.mark.parametrize(
    ("usage", "why"),
    [
        (7, "a usage of type int"),
        (None, "a usage of type NoneType"),
        (
            {**USAGE, "total_tokens": -1},
            "a usage of type dict with the keys completion_tokens, prompt_tokens, total_tokens, "
            "whose total_tokens cannot be read",
        ),
        (
            {"total_tokens": 1},
            "a usage of type dict with the keys total_tokens",
        ),
        (Unreadable(), "a usage that raises OSError when it is read"),
        (
            TokenUsage.model_construct(prompt_tokens=-5, completion_tokens=1, total_tokens=1),
            "a usage whose counts are not whole numbers of zero or more",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_usage_says_what_is_wrong_with_it(usage: Any, why: str) -> None:
    assert read_usage(usage) == Malformed(why)
    with pytest.raises(ValueError) as refused:
        usage_of(usage)
    assert str(refused.value) == f"usage cannot be read: it must be a TokenUsage, not {why}"


def test_a_dialect_is_the_declared_one_else_that_of_the_last_answer() -> None:
    class Undeclared:
        def record_after_llm(self, session_id: str, usage: Any) -> None:
            """Take either."""

    class Declared:
        def record_after_llm(self, session_id: str, usage: TokenUsage) -> None:
            """Take the contract's."""

    typed = TokenUsage(**USAGE)
    dialect = UsageDialect(Undeclared(), "typed")
    assert isinstance(dialect.usage(USAGE), TokenUsage)
    dialect.learn({"decision": "allow"})
    assert type(dialect.usage(typed)) is not TokenUsage
    assert dialect.usage(USAGE) is USAGE
    dialect.learn(Deny(resource="r", reason="spent"))
    assert dialect.usage(typed) is typed
    declared = UsageDialect(Declared(), "dict")
    declared.learn({"decision": "allow"})
    assert declared.usage(typed) is typed
    assert declared.usage({"prompt_tokens": "many"}) == {"prompt_tokens": "many"}


@pytest.mark.parametrize(
    ("prompt", "read", "written", "expected"),
    [
        (100, 100, 0, (0, 5, 100, 0)),
        (100, 60, 40, (0, 5, 60, 40)),
        (100, 0, 0, (100, 5, 0, 0)),
    ],
)
def test_a_prompt_that_is_all_cached_is_decided(
    prompt: int, read: int, written: int, expected: tuple[int, ...]
) -> None:
    usage = TokenUsage(
        prompt_tokens=prompt,
        completion_tokens=5,
        total_tokens=prompt + 5,
        cache_read_tokens=read,
        cache_write_tokens=written,
        prompt_includes_cache=True,
    )
    measured = measure(usage, None)
    assert measured[:4] == expected
    assert measured.undecided is False
    assert measured.tokens == prompt + 5
