"""`TokenUsage.of`: usages as providers, gateways and frameworks give them.

Each shape has its source; its tokens by type are worked out by hand, and where a price is published
the USD too. "Disjoint" tokens are: input without the cache, output, cache read, cache write.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from otel_budget import GenAIPrices, TokenUsage
from otel_budget.contract.dialects import print_usage
from otel_budget.contract.interpretation import measure, price
from support.gateway_usages import GATEWAY_USAGES
from support.provider_usages import PROVIDER_USAGES
from support.usage_shape import Disjoint, Shape

SHAPES = [*PROVIDER_USAGES, *GATEWAY_USAGES]
BY_NAME = {shape.name: shape for shape in SHAPES}
#: The billing details of a usage.
DETAILS = (
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "audio_cache_read_tokens",
    "processing",
    "cost_usd",
)


def _as_object(raw: Any) -> Any:
    if isinstance(raw, dict):
        return SimpleNamespace(**{key: _as_object(value) for key, value in raw.items()})
    return [_as_object(entry) for entry in raw] if isinstance(raw, list) else raw


def _as_model(raw: Any) -> Any:
    """As the clients of OpenAI and Anthropic do it: extra fields on a pydantic model."""
    if isinstance(raw, dict):
        return _Model(**{key: _as_model(value) for key, value in raw.items()})
    return [_as_model(entry) for entry in raw] if isinstance(raw, list) else raw


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow")


def _of(raw: Any) -> TokenUsage:
    usage = TokenUsage.of(raw)
    assert usage is not None
    return usage


def _disjoint(usage: TokenUsage) -> Disjoint:
    return measure(usage, None)[:4]


@pytest.mark.parametrize("make", [dict, _as_object, _as_model], ids=["dict", "object", "model"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_each_shape_is_read_by_its_keys(
    shape: Shape, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    usage = _of(make(shape.raw))
    assert _disjoint(usage) == shape.disjoint
    assert usage.prompt_includes_cache is shape.includes
    details = {name: getattr(usage, name) for name in DETAILS}
    assert {name: told for name, told in details.items() if told is not None} == shape.more
    assert not caplog.records


@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape.usd is not None], ids=lambda shape: shape.name
)
def test_each_shape_costs_what_is_published(shape: Shape) -> None:
    measured = measure(TokenUsage.of(shape.raw), shape.provider)
    priced = price(measured, shape.rates or GenAIPrices(), shape.model, shape.provider)
    assert priced.usd == pytest.approx(shape.usd, rel=1e-9)


def test_there_are_shapes_enough_and_each_has_its_source() -> None:
    assert len(BY_NAME) == len(SHAPES) >= 30
    assert all("." in shape.source for shape in SHAPES)


# -- what is no usage ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "raw",
    [
        {"type": "duration", "seconds": 12},  # a transcription billed by its length
        {"output_tokens": 15},  # a stream's delta alone
        {"input_tokens": 15},  # Anthropic's count_tokens
        {"billed_units": {"search_units": 1}},  # Cohere's rerank
        {"prompt_tokens": True, "completion_tokens": True},
        {},
        "usage",
        7,
        pytest.param(object(), id="object"),
    ],
    ids=str,
)
def test_what_is_no_usage_gives_none_and_is_logged_once_without_values(
    raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert TokenUsage.of(raw) is None
    assert TokenUsage.of(raw) is None
    (record,) = caplog.records
    message = record.getMessage()
    assert type(raw).__name__ in message
    assert "15" not in message
    if isinstance(raw, dict):
        assert all(key in message for key in raw)


def test_none_gives_none_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert TokenUsage.of(None) is None
    assert not caplog.records


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt_tokens": -1, "completion_tokens": 1, "total_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": -5, "total_tokens": 50},
        {"input_tokens": 1.5, "output_tokens": 1},
        {"input_tokens": float("nan"), "output_tokens": 1},
        {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": -3},
        {"promptTokenCount": 5, "thoughtsTokenCount": -3},
    ],
    ids=str,
)
def test_counts_that_cannot_be_give_none_and_never_a_smaller_usage(raw: Any) -> None:
    assert TokenUsage.of(raw) is None


def test_an_object_that_raises_gives_none(caplog: pytest.LogCaptureFixture) -> None:
    class Hostile:
        prompt_tokens = 10
        completion_tokens = 5

        @property
        def prompt_tokens_details(self) -> Any:
            raise RuntimeError("secret")

    class AllHostile:
        def __getattr__(self, name: str) -> Any:
            raise OSError("secret")

    class HostileMapping(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            raise KeyError("secret")

    for raw in (Hostile(), AllHostile(), HostileMapping(prompt_tokens=1)):
        assert TokenUsage.of(raw) is None
    assert len(caplog.records) == 3
    assert "raises RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_usage_of_ours_is_returned_unchanged_even_when_printed() -> None:
    usage = _of(BY_NAME["anthropic with one-hour writes, in a batch"].raw)
    assert TokenUsage.of(usage) is usage
    assert TokenUsage.of(print_usage(usage)) is usage


# -- what the table does not know ------------------------------------------------------------
def test_an_unknown_key_that_names_tokens_leaves_the_cache_undecided(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = {**BY_NAME["anthropic"].raw, "cache_eternal_input_tokens": 7}
    for _ in range(2):
        usage = _of(raw)
        assert usage.prompt_includes_cache is None
        assert (usage.cache_read_tokens, usage.cache_write_tokens) == (100_000, 2000)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "cache_eternal_input_tokens" in record.getMessage()


def test_an_unknown_key_changes_nothing_where_it_tells_nothing_or_nothing_is_cached() -> None:
    known = BY_NAME["openai chat"].raw
    assert TokenUsage.of({**known, "video_tokens": 0}) == TokenUsage.of(known)
    usage = _of({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 9, "odd_tokens": 2})
    assert _disjoint(usage) == (5, 4, 0, 0)  # what the total has more counts as generated


def test_a_dict_of_the_runtimes_dialect_stays_undecided_unless_proved() -> None:
    counts = {"prompt_tokens": 350, "completion_tokens": 20, "total_tokens": 370}
    inside = {**counts, "cache_read_tokens": 300}
    assert _of(inside).prompt_includes_cache is None
    assert _of({**inside, "total_tokens": 670}).prompt_includes_cache is False
    assert _of({**inside, "prompt_tokens": 50, "total_tokens": 70}).prompt_includes_cache is False


def test_pydantic_ais_own_class_counts_the_cache_inside() -> None:
    kind = type("RequestUsage", (SimpleNamespace,), {"__module__": "pydantic_ai.usage"})
    usage = _of(kind(**BY_NAME["pydantic-ai or agno, small cache"].raw))
    assert _disjoint(usage) == (10, 20, 10_000, 2_000)


def test_a_wrong_detail_is_left_out_and_the_counts_stand() -> None:
    usage = _of(
        {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "prompt_tokens_details": {"audio_tokens": -1},
            "service_tier": ["flex"],
            "cost": float("nan"),
            "cost_in_usd_ticks": 10**400,
            "cost_details": {"upstream_inference_cost": 10**400},
        }
    )
    assert (usage.prompt_tokens, usage.audio_input_tokens) == (5, None)
    assert (usage.processing, usage.cost_usd) == (None, None)


@pytest.mark.parametrize(
    ("tier", "processing"),
    [("default", "standard"), ("standard", "standard"), ("on_demand", "standard"), ("flex", "flex"),
     ("priority", "priority"), ("batch", "batch"), ("auto", None), ("scale", None)],
)  # fmt: skip
def test_the_service_tier_tells_the_processing(tier: str, processing: str | None) -> None:
    usage = _of({"input_tokens": 1, "output_tokens": 1, "service_tier": tier})
    assert usage.processing == processing


def test_a_gateways_cost_that_may_not_be_all_of_it_is_absent() -> None:
    """OpenRouter's example: a fee of 0.95 and 19 upstream, without saying whose key it was."""
    raw = {"prompt_tokens": 194, "completion_tokens": 2, "cost": 0.95}
    assert _of({**raw, "cost_details": {"upstream_inference_cost": 19}}).cost_usd is None
    assert _of(raw).cost_usd == 0.95


# -- the constructors for who knows (F4) -----------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["xai chat, as found", "gemini's OpenAI endpoint", "litellm, Claude behind it", "deepseek",
     "anthropic", "langchain", "openai responses", "gemini REST", "bedrock converse"],
)  # fmt: skip
@pytest.mark.parametrize(
    "constructor", [TokenUsage.from_anthropic, TokenUsage.from_openai, TokenUsage.from_litellm]
)
def test_a_constructor_reads_what_is_plainly_anothers(constructor: Any, name: str) -> None:
    assert _disjoint(constructor(BY_NAME[name].raw)) == BY_NAME[name].disjoint


def test_a_constructor_decides_what_the_keys_leave_open() -> None:
    raw = BY_NAME["pydantic-ai or agno, small cache"].raw
    assert _disjoint(TokenUsage.from_openai(raw)) == (10, 20, 10_000, 2_000)
    assert _disjoint(TokenUsage.from_anthropic(raw)) == (12_010, 20, 10_000, 2_000)


@pytest.mark.parametrize(
    "constructor", [TokenUsage.from_anthropic, TokenUsage.from_openai, TokenUsage.from_litellm]
)
def test_a_constructor_refuses_counts_that_cannot_be(constructor: Any) -> None:
    for raw in ({"promptTokenCount": -1}, {"prompt_tokens": 1, "completion_tokens": -2}):
        with pytest.raises(ValidationError):
            constructor(raw)


# -- streams ---------------------------------------------------------------------------------
def test_of_each_count_the_largest_stands() -> None:
    """Anthropic tells the prompt at the start and the whole output at the end."""
    start = _of({"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 1})
    end = _of(
        {"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 15, "cost": 0.5}
    )
    merged = start.merge(end)
    assert _disjoint(merged) == (25, 15, 1000, 0)
    assert merged.total_tokens == 1040
    assert merged.cost_usd == 0.5
    assert end.merge(start) == merged


def test_parts_that_count_the_cache_differently_leave_it_undecided() -> None:
    beside = _of({"input_tokens": 25, "cache_read_input_tokens": 1000, "output_tokens": 1})
    inside = _of(
        {
            "prompt_tokens": 1025,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1000},
        }
    )
    assert beside.merge(inside).prompt_includes_cache is None
