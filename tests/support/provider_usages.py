"""Usages as model providers give them; the tokens and costs are worked out by hand."""

from __future__ import annotations

from otel_budget import FlatRates
from support.usage_shape import SONNET, Shape

PROVIDER_USAGES = [
    Shape(
        "openai chat",
        "https://discuss.ai.google.dev/t/question-with-usage-in-openai-compatibility/98760",
        {
            "prompt_tokens": 1486,
            "completion_tokens": 651,
            "total_tokens": 2137,
            "prompt_tokens_details": {"cached_tokens": 1408, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 512,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        (78, 651, 1408, 0),
        more={"audio_input_tokens": 0, "audio_output_tokens": 0},
        # 78 x 1.25 + 651 x 10 + 1,408 x 0.125 = 97.5 + 6,510 + 176 (per million)
        usd=0.0067835,
        model="gpt-5",
        provider="openai",
    ),
    Shape(
        "openai chat with cache writes (GPT-5.6 and later)",
        "https://github.com/mindroom-ai/mindroom/pull/2134 (2,600 = 2,000 + 400 + 200)",
        {
            "prompt_tokens": 2600,
            "completion_tokens": 300,
            "total_tokens": 2900,
            "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 400},
        },
        (200, 300, 2000, 400),
    ),
    Shape(
        "openai chat with audio",
        "https://docs.camel-ai.org/_modules/openai/types/completion_usage.html",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 500,
            "total_tokens": 1500,
            "prompt_tokens_details": {"audio_tokens": 900, "cached_tokens": 0},
            "completion_tokens_details": {"audio_tokens": 400, "reasoning_tokens": 0},
        },
        (1000, 500, 0, 0),
        more={"audio_input_tokens": 900, "audio_output_tokens": 400},
    ),
    Shape(
        "openai embeddings",
        "https://developer.4d.com/docs/21-R3/aikit/Classes/openaiembeddingsresult",
        {"prompt_tokens": 8, "total_tokens": 8},
        (8, 0, 0, 0),
        usd=8 * 0.02 / 1e6,
        model="text-embedding-3-small",
        provider="openai",
    ),
    Shape(
        "openai responses",
        "https://github.com/openai/openai-python/blob/main/src/openai/types/responses/response_usage.py",
        {
            "input_tokens": 5000,
            "input_tokens_details": {"cached_tokens": 4096, "cache_write_tokens": 0},
            "output_tokens": 120,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 5120,
        },
        (904, 120, 4096, 0),
        # 904 x 2.5 + 120 x 10 + 4,096 x 1.25 = 2,260 + 1,200 + 5,120
        usd=0.00858,
        model="gpt-4o",
        provider="openai",
    ),
    Shape(
        "openai realtime",
        "https://v03.api.js.langchain.com/interfaces/_langchain_openai.OpenAIClient.Beta.Realtime.RealtimeResponseUsage-1.html",
        {
            "total_tokens": 1500,
            "input_tokens": 1000,
            "output_tokens": 500,
            "input_token_details": {
                "cached_tokens": 384,
                "text_tokens": 100,
                "audio_tokens": 900,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 320},
            },
            "output_token_details": {"text_tokens": 100, "audio_tokens": 400},
        },
        (616, 500, 384, 0),
        more={
            "audio_input_tokens": 900,
            "audio_output_tokens": 400,
            "audio_cache_read_tokens": 320,
        },
    ),
    Shape(
        "openai transcription by tokens",
        "https://docs.rs/crate/outfox-openai/latest/source/src/spec/shared/transcription_usage.rs",
        {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
            "output_tokens": 45,
            "total_tokens": 59,
        },
        (14, 45, 0, 0),
        more={"audio_input_tokens": 14},
    ),
    Shape(
        "azure",
        "https://docs.memberjunction.org/api/interfaces/_memberjunction_ai-azure.AzureTokenUsage.html",
        {
            "completion_tokens": 1518,
            "prompt_tokens": 1566,
            "total_tokens": 3084,
            "completion_tokens_details": {"audio_tokens": None, "reasoning_tokens": 576},
            "prompt_tokens_details": {"audio_tokens": None, "cached_tokens": 1408},
        },
        (158, 1518, 1408, 0),
        # 158 x 2.5 + 1,518 x 10 + 1,408 x 1.25 = 395 + 15,180 + 1,760
        usd=0.017335,
        rates=FlatRates(2.50, 10.00, 1.25),
    ),
    Shape(
        "anthropic",
        "https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching",
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": 2000,
            "cache_read_input_tokens": 100_000,
            "output_tokens": 40,
            "service_tier": "standard",
        },
        (3, 40, 100_000, 2000),
        includes=False,
        more={"processing": "standard"},
        # 3 x 3 + 40 x 15 + 100,000 x 0.30 + 2,000 x 3.75 = 9 + 600 + 30,000 + 7,500
        usd=0.038109,
        model="claude-sonnet-4-5",
        provider="anthropic",
    ),
    Shape(
        "anthropic with one-hour writes, in a batch",
        "https://www.rubydoc.info/github/anthropics/anthropic-sdk-ruby/Anthropic/Models/CacheCreation",
        {
            "input_tokens": 10,
            "cache_creation_input_tokens": 150_100,
            "cache_read_input_tokens": 0,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 100,
                "ephemeral_1h_input_tokens": 150_000,
            },
            "output_tokens": 20,
            "server_tool_use": None,
            "service_tier": "batch",
        },
        (10, 20, 0, 150_100),
        includes=False,
        more={"processing": "batch", "cache_write_1h_tokens": 150_000},
    ),
    Shape(
        "anthropic without cache",
        "https://docs.anthropic.com/en/docs/build-with-claude/streaming",
        {
            "input_tokens": 25,
            "output_tokens": 15,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
        },
        (25, 15, 0, 0),
        includes=None,
        # 25 x 3 + 15 x 15
        usd=0.0003,
        model="claude-sonnet-4-5",
        provider="anthropic",
    ),
    Shape(
        "gemini REST",
        "https://hexdocs.pm/geminix/Geminix.V1beta.UsageMetadata.html",
        {
            "promptTokenCount": 10_000,
            "cachedContentTokenCount": 8_000,
            "candidatesTokenCount": 200,
            "thoughtsTokenCount": 800,
            "totalTokenCount": 11_000,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10_000}],
        },
        (2_000, 1_000, 8_000, 0),
        # 2,000 x 1.25 + 1,000 x 10 + 8,000 x 0.125 = 2,500 + 10,000 + 1,000
        usd=0.0135,
        model="gemini-2.5-pro",
        provider="gcp.gemini",
    ),
    Shape(
        "google-genai",
        "https://github.com/mozilla-ai/any-llm/issues/1290",
        {
            "prompt_token_count": 20,
            "candidates_token_count": 198,
            "thoughts_token_count": 405,
            "total_token_count": 623,
            "cached_content_token_count": None,
        },
        (20, 603, 0, 0),
        # 20 x 0.30 + 603 x 2.50 = 6 + 1,507.5
        usd=0.0015135,
        model="gemini-2.5-flash",
        provider="gcp.gemini",
    ),
    Shape(
        "gemini with a tool's prompt",
        "https://github.com/CultivateLabs/raif/pull/470; firebase.google.com ai.usagemetadata",
        {
            "promptTokenCount": 50,
            "toolUsePromptTokenCount": 1200,
            "candidatesTokenCount": 100,
            "thoughtsTokenCount": 30,
            "totalTokenCount": 1380,
        },
        (1250, 130, 0, 0),
    ),
    Shape(
        "gemini with audio",
        "https://firebase.google.com/docs/reference/js/ai.usagemetadata",
        {
            "promptTokenCount": 100_100,
            "candidatesTokenCount": 10,
            "totalTokenCount": 100_110,
            "cachedContentTokenCount": 600,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 100},
                {"modality": "AUDIO", "tokenCount": 100_000},
            ],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 600}],
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}],
        },
        (99_500, 10, 600, 0),
        more={
            "audio_input_tokens": 100_000,
            "audio_output_tokens": 10,
            "audio_cache_read_tokens": 600,
        },
    ),
    Shape(
        "gemini live",
        "https://hexdocs.pm/gemini_ex/Gemini.Types.Live.UsageMetadata.html",
        {"prompt_token_count": 100, "response_token_count": 50, "total_token_count": 150},
        (100, 50, 0, 0),
    ),
    Shape(
        "gemini's OpenAI endpoint",
        "https://discuss.ai.google.dev/t/question-with-usage-in-openai-compatibility/98760",
        {"completion_tokens": 102, "prompt_tokens": 758, "total_tokens": 1725},
        (758, 967, 0, 0),  # 1,725 - 758: the thinking shows in the total only
        # 758 x 1.25 + 967 x 10 = 947.5 + 9,670
        usd=0.0106175,
        model="gemini-2.5-pro",
        provider="gcp.gemini",
    ),
    Shape(
        "bedrock converse",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html "
        "(quoted in https://github.com/crmne/ruby_llm/pull/832)",
        {
            "inputTokens": 10,
            "outputTokens": 20,
            "totalTokens": 1330,
            "cacheReadInputTokens": 1000,
            "cacheWriteInputTokens": 300,
        },
        (10, 20, 1000, 300),
        includes=False,
        # 10 x 3 + 20 x 15 + 1,000 x 0.30 + 300 x 3.75 = 30 + 300 + 300 + 1,125
        usd=0.001755,
        rates=SONNET,
    ),
    Shape(
        "bedrock converse with one-hour writes",
        "https://docs.aws.amazon.com/sdk-for-python/v1/reference/clients/bedrock-runtime/structures/TokenUsage/",
        {
            "input_tokens": 2000,
            "output_tokens": 20,
            "total_tokens": 2720,
            "cache_read_input_tokens": 300,
            "cache_write_input_tokens": 400,
            "cache_details": [
                {"ttl": "1h", "input_tokens": 250},
                {"ttl": "5m", "input_tokens": 150},
            ],
        },
        (2000, 20, 300, 400),
        includes=False,
        more={"cache_write_1h_tokens": 250},
    ),
    Shape(
        "strands over OpenAI",
        "https://github.com/strands-agents/harness-sdk/issues/2407",
        {
            "inputTokens": 1500,
            "outputTokens": 100,
            "totalTokens": 1600,
            "cacheReadInputTokens": 1024,
        },
        (476, 100, 1024, 0),
    ),
    Shape(
        "cohere",
        "https://github.com/cohere-ai/cohere-developer-experience/pull/399 (billed are the tokens "
        "that users are charged for)",
        {
            "billed_units": {"input_tokens": 17.0, "output_tokens": 12.0},
            "tokens": {"input_tokens": 215.0, "output_tokens": 12.0},
        },
        (17, 12, 0, 0),
        # 17 x 0.15 + 12 x 0.60
        usd=9.75e-06,
        rates=FlatRates(0.15, 0.60),
    ),
    Shape(
        "cohere with cached tokens",
        "https://github.com/pydantic/pydantic-ai/pull/5957",
        {
            "billed_units": {"input_tokens": 900.0, "output_tokens": 12.0},
            "tokens": {"input_tokens": 1100.0, "output_tokens": 12.0},
            "cached_tokens": 512.0,
        },
        (388, 12, 512, 0),
    ),
    Shape(
        "ollama",
        "https://docs.ollama.com/api/usage.md",
        {
            "model": "gemma3",
            "created_at": "2025-10-17T23:14:07.414671Z",
            "response": "Hello! How can I help you today?",
            "done": True,
            "done_reason": "stop",
            "total_duration": 174560334,
            "load_duration": 101397084,
            "prompt_eval_count": 11,
            "prompt_eval_duration": 13074791,
            "eval_count": 18,
            "eval_duration": 52479709,
        },
        (11, 18, 0, 0),
    ),
    Shape(
        "xai chat, reasoning on top",
        "https://github.com/Wei-Shaw/sub2api/issues/5771",
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809},
            "cost_in_usd_ticks": 232856000,
        },
        (9992, 4308, 128, 0),
        more={"cost_usd": 0.0232856},
        # 9,992 x 1.25 + 4,308 x 2.50 + 128 x 0.20 = 12,490 + 10,770 + 25.6: as the provider billed
        usd=0.0232856,
        rates=FlatRates(1.25, 2.50, 0.20),
    ),
    Shape(
        "xai chat, as found",
        "https://docs.x.ai/docs/key-information/consumption-and-rate-limits",
        {
            "prompt_tokens": 37,
            "completion_tokens": 530,
            "total_tokens": 800,
            "completion_tokens_details": {"reasoning_tokens": 233},
        },
        (37, 763, 0, 0),
        # 37 x 3 + 763 x 15 = 111 + 11,445
        usd=0.011556,
        rates=FlatRates(3.00, 15.00),
    ),
    Shape(
        "xai chat without a total",
        "https://github.com/vercel/ai/pull/12425",
        {
            "prompt_tokens": 12,
            "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 317},
        },
        (12, 319, 0, 0),
    ),
    Shape(
        "xai responses",
        "https://docs.x.ai/developers/advanced-api-usage/prompt-caching/usage-and-pricing",
        {
            "input_tokens": 125,
            "output_tokens": 48,
            "total_tokens": 173,
            "input_tokens_details": {"cached_tokens": 98},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
        (27, 48, 98, 0),
    ),
    Shape(
        "deepseek",
        "https://docs.stigg.io/documentation/ai-agents/providers/deepseek",
        {
            "prompt_tokens": 10_000,
            "completion_tokens": 100,
            "total_tokens": 10_100,
            "prompt_cache_hit_tokens": 9_984,
            "prompt_cache_miss_tokens": 16,
        },
        (16, 100, 9_984, 0),
        # 16 x 0.28 + 100 x 0.42 + 9,984 x 0.028 = 4.48 + 42 + 279.552
        usd=0.000326032,
        rates=FlatRates(0.28, 0.42, 0.028),
    ),
    Shape(
        "groq",
        "https://raw.githubusercontent.com/groq/groq-typescript/HEAD/src/resources/completions.ts",
        {
            "queue_time": 0.037,
            "prompt_tokens": 18,
            "prompt_time": 0.00068,
            "completion_tokens": 556,
            "completion_time": 0.463,
            "total_tokens": 574,
            "total_time": 0.463,
            "prompt_tokens_details": {"cached_tokens": 8},
        },
        (10, 556, 8, 0),
    ),
    Shape(
        "mistral",
        "https://docs.rs/crate/mistral-openapi-client/latest/source/src/models/usage_info.rs",
        {
            "prompt_tokens": 20,
            "completion_tokens": 30,
            "total_tokens": 50,
            "prompt_audio_seconds": None,
        },
        (20, 30, 0, 0),
    ),
]
