"""Usages as gateways and frameworks give them; the tokens and costs are worked out by hand."""

from __future__ import annotations

from support.usage_shape import SONNET, Shape

GATEWAY_USAGES = [
    Shape(
        "openrouter",
        "https://github.com/mozilla-ai/any-llm/issues/622",
        {
            "completion_tokens": 122,
            "prompt_tokens": 13559,
            "total_tokens": 13681,
            "completion_tokens_details": {"audio_tokens": None, "reasoning_tokens": 0},
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0, "video_tokens": 0},
            "cost": 0.017558,
            "is_byok": False,
            "cost_details": {"upstream_inference_cost": None},
        },
        (13559, 122, 0, 0),
        more={"cost_usd": 0.017558, "audio_input_tokens": 0},
    ),
    Shape(
        "openrouter with a key of one's own",
        "https://github.com/tailcallhq/forgecode/issues/1641",
        {
            "prompt_tokens": 9171,
            "completion_tokens": 113,
            "total_tokens": 9284,
            "cost": 0,
            "is_byok": True,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "cost_details": {"upstream_inference_cost": 0.0360795},
            "completion_tokens_details": {"reasoning_tokens": 55, "image_tokens": 0},
        },
        (9171, 113, 0, 0),
        more={"cost_usd": 0.0360795, "audio_input_tokens": 0},
    ),
    Shape(
        "openrouter, Claude's cache writes",
        "https://github.com/router-for-me/CLIProxyAPI/issues/1562",
        {
            "total_tokens": 5035,
            "prompt_tokens": 5031,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 5004},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        (27, 4, 0, 5004),
        # 27 x 3 + 4 x 15 + 5,004 x 3.75 = 81 + 60 + 18,765
        usd=0.018906,
        rates=SONNET,
    ),
    Shape(
        "litellm, Claude behind it",
        "https://docs.litellm.ai/docs/completion/prompt_caching",
        {
            "prompt_tokens": 98_805,
            "completion_tokens": 100,
            "total_tokens": 98_905,
            "prompt_tokens_details": {
                "cached_tokens": 66_360,
                "cache_creation_tokens": 32_435,
                "cache_creation_token_details": {"ephemeral_1h_input_tokens": 30_000},
            },
            "cache_read_input_tokens": 66_360,
            "cache_creation_input_tokens": 32_435,
        },
        (10, 100, 66_360, 32_435),
        more={"cache_write_1h_tokens": 30_000},
    ),
    Shape(
        "anthropic's keys beside an OpenAI prompt, proved",
        "https://github.com/crewAIInc/crewAI/pull/6844 (raw cache keys that bypass the provider)",
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 200,
        },
        (10, 5, 1000, 200),
        includes=False,
    ),
    Shape(
        "any-llm, Claude behind it",
        "https://github.com/mozilla-ai/any-llm/pull/896",
        {
            "prompt_tokens": 1210,
            "completion_tokens": 5,
            "total_tokens": 1215,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_input_tokens": 200},
        },
        (10, 5, 1000, 200),
    ),
    Shape(
        "langchain",
        "https://reference.langchain.com/python/langchain-core/messages/ai/UsageMetadata",
        {
            "input_tokens": 350,
            "output_tokens": 240,
            "total_tokens": 590,
            "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
            "output_token_details": {"audio": 10, "reasoning": 200},
        },
        (50, 240, 100, 200),
        more={"audio_input_tokens": 10, "audio_output_tokens": 10},
    ),
    Shape(
        "langchain over anthropic, writes by their lifetime",
        "https://reference.langchain.com/python/langsmith/schemas/InputTokenDetails/"
        "ephemeral_1h_input_tokens (langchain-anthropic then sets cache_creation to 0)",
        {
            "input_tokens": 12_010,
            "output_tokens": 20,
            "total_tokens": 12_030,
            "input_token_details": {
                "cache_read": 10_000,
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 500,
                "ephemeral_1h_input_tokens": 1_500,
            },
        },
        (10, 20, 10_000, 2_000),
        more={"cache_write_1h_tokens": 1_500},
    ),
    Shape(
        "langchain over OpenAI's flex tier",
        "https://github.com/langchain-ai/langchain, langchain_openai _create_usage_metadata",
        {
            "input_tokens": 1000,
            "output_tokens": 100,
            "total_tokens": 1100,
            "input_token_details": {"audio": None, "flex_cache_read": 600, "flex": 400},
            "output_token_details": {"audio": None, "flex_reasoning": 60, "flex": 40},
        },
        (400, 100, 600, 0),
        more={"processing": "flex"},
    ),
    Shape(
        "pydantic-ai or agno, small cache",
        "https://ai.pydantic.dev/api/usage; https://github.com/agno-agi/agno/issues/9538",
        {
            "input_tokens": 12_010,
            "cache_write_tokens": 2_000,
            "cache_read_tokens": 10_000,
            "output_tokens": 20,
            "input_audio_tokens": 0,
            "cache_audio_read_tokens": 0,
            "output_audio_tokens": 0,
            "details": {},
        },
        (12_010, 20, 0, 0),  # a lower bound: no key tells the two apart
        includes=None,
        more={"audio_input_tokens": 0, "audio_output_tokens": 0, "audio_cache_read_tokens": 0},
    ),
    Shape(
        "agno over anthropic, proved",
        "https://github.com/agno-agi/agno/pull/9537",
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "total_tokens": 15,
            "cache_read_tokens": 1000,
            "cache_write_tokens": 200,
        },
        (10, 5, 1000, 200),
        includes=False,
    ),
    Shape(
        "vercel ai sdk 5",
        "https://github.com/ag-ui-protocol/ag-ui/pull/2728 (the AI SDK includes cache reads)",
        {
            "inputTokens": 2000,
            "outputTokens": 300,
            "totalTokens": 2300,
            "reasoningTokens": 100,
            "cachedInputTokens": 1500,
        },
        (500, 300, 1500, 0),
    ),
    Shape(
        "vercel ai sdk 6",
        "https://app.unpkg.com/ai@6.0.41/files/src/types/usage.ts",
        {
            "inputTokens": 2000,
            "inputTokenDetails": {
                "noCacheTokens": 300,
                "cacheReadTokens": 1500,
                "cacheWriteTokens": 200,
            },
            "outputTokens": 300,
            "outputTokenDetails": {"textTokens": 200, "reasoningTokens": 100},
            "totalTokens": 2300,
        },
        (300, 300, 1500, 200),
    ),
]
