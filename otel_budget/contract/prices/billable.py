"""All of one model call that may be billed, and its division into parts with a rate each."""

from __future__ import annotations

from typing import Final, NamedTuple


class MissingRate(LookupError):
    """Raised by a price source that knows the model, but no rate for a part of the call.

    The call is then unpriced for the reason ``no_rate``, never priced in part.
    """


class BillableCall(NamedTuple):
    """All of one model call that may be billed: what a `PriceSource` is asked.

    The first four counts are disjoint: their sum is the true total. The other token counts are
    subsets of them.

    Attributes:
        model: The model's name as the provider knows it, if known.
        provider: OpenTelemetry's ``gen_ai.provider.name``, if known.
        input_tokens: Prompt tokens *without* the cached ones.
        output_tokens: Generated tokens.
        cache_read_tokens: Prompt tokens read from the provider's cache.
        cache_write_tokens: Prompt tokens written to it, for however long.
        cache_write_1h_tokens: Those of `cache_write_tokens` that are kept for an hour.
        audio_input_tokens: Audio tokens among all those sent: of `input_tokens` and, if they were
            cached, of `cache_read_tokens`.
        audio_cache_read_tokens: Audio tokens among `cache_read_tokens`; None if audio was sent and
            tokens were read from the cache, and it is not known how many are both.
        audio_output_tokens: Audio tokens among `output_tokens`.
        web_searches: Searches that the provider ran for the call and bills by number.
        processing: ``standard``, ``batch``, ``flex`` or ``priority``.
    """

    model: str | None = None
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_cache_read_tokens: int | None = 0
    audio_output_tokens: int = 0
    web_searches: int = 0
    processing: str = "standard"


#: The parts of a call that have a rate each. The first four are all there is of most calls.
PARTS: Final = (
    "prompt tokens",
    "generated tokens",
    "tokens read from the cache",
    "tokens written to the cache",
    "tokens written to the cache for an hour",
    "audio tokens sent",
    "audio tokens read from the cache",
    "audio tokens generated",
    "web searches",
)
#: The details of most calls: none, in ordinary processing.
PLAIN: Final = tuple(BillableCall())[6:]
_NO_DETAILS: Final = PLAIN[:5]


def disjoint_parts(call: BillableCall) -> tuple[int, ...]:
    """The counts of `PARTS`, in their order and each without the others; often only the first four.

    Raises:
        MissingRate: The details contradict the totals, or cached audio is not told apart.
    """
    if call[6:11] == _NO_DETAILS:
        return call[2:6]
    audio_read = call.audio_cache_read_tokens
    if audio_read is None:
        raise MissingRate("it is not known how many of the cached tokens are audio")
    audio_sent = call.audio_input_tokens - audio_read
    parts = (
        call.input_tokens - audio_sent,
        call.output_tokens - call.audio_output_tokens,
        call.cache_read_tokens - audio_read,
        call.cache_write_tokens - call.cache_write_1h_tokens,
        call.cache_write_1h_tokens,
        audio_sent,
        audio_read,
        call.audio_output_tokens,
        call.web_searches,
    )
    if min(parts) < 0:
        raise MissingRate("the details of the usage are more than its totals")
    return parts
