"""Head sampling that keeps the guards' hits, and the sampler that the ``OTEL_*`` variables name."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from otel_budget.log_once import log_once
from otel_budget.sdk.hits import is_hit

#: The name of `keep_hits_and_ratio` for ``OTEL_TRACES_SAMPLER``; an entry point in pyproject.toml.
KEEP_HITS: Final = "budget_keep_hits"

_GROUP: Final = "opentelemetry_traces_sampler"
_DEFAULT: Final = "parentbased_always_on"
_BY_RATIO: Final = frozenset({"traceidratio", "parentbased_traceidratio"})
_ALWAYS_OFF: Final = frozenset({"always_off", "parentbased_always_off"})


def keep_hits(sampler: Sampler) -> Sampler:
    """Wrap a sampler so that it keeps every hit of a guard, whatever share of traces it keeps.

    A hit is a span of this package that starts with a `budget.decision` of ``soft_limit``,
    ``deny``, ``malformed``, ``error`` or ``late``: it is sampled even if its parent is not. For any
    other span, the answer is that of `sampler`. A hit that only the wrapper keeps stands for itself
    alone: the threshold ``th``, from which backends extrapolate counts, is taken out of its
    tracestate (https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/).
    Under an unsampled parent, it stands in the trace of the request without its parent.

    `configure` does this by itself. In a set-up of your own, wrap the outermost sampler::

        TracerProvider(sampler=keep_hits(ParentBased(TraceIdRatioBased(0.01))))

    Where the SDK's auto-configuration makes the provider (``opentelemetry-instrument``), set
    ``OTEL_TRACES_SAMPLER=budget_keep_hits`` and the ratio of the other traces in
    ``OTEL_TRACES_SAMPLER_ARG``. A plain ``TracerProvider()`` does not know names of installed
    samplers and would sample everything, so there write it into the code.

    Args:
        sampler: Any sampler of the SDK. One that is wrapped already is returned as it is.

    Returns:
        The sampler for a ``TracerProvider``.

    Raises:
        TypeError: `sampler` is no sampler, such as a name or a class.
    """
    if not isinstance(sampler, Sampler):
        raise TypeError(
            "keep_hits() wraps a sampler, such as ParentBased(TraceIdRatioBased(0.01)), "
            f"not {sampler!r}."
        )
    return sampler if isinstance(sampler, _HitKeeper) else _HitKeeper(sampler)


class _HitKeeper(Sampler):
    """What `keep_hits` returns."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(  # noqa: PLR0917 (the SDK's signature)
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        asked = (parent_context, trace_id, name, kind, attributes, links)
        # The SDK passes no tracestate, so there are samplers without that parameter.
        result = (
            self._inner.should_sample(*asked)
            if trace_state is None
            else self._inner.should_sample(*asked, trace_state)
        )
        sampled = Decision.RECORD_AND_SAMPLE
        if not is_hit(name, attributes) or result.decision is sampled:
            return result
        # A sampler that drops a span may return none of its attributes.
        every: dict[str, Any] = {**(attributes or {}), **result.attributes}
        return SamplingResult(sampled, every, _without_threshold(result.trace_state))

    def get_description(self) -> str:
        return f"KeepHits{{{self._inner.get_description()}}}"


def _without_threshold(state: TraceState | None) -> TraceState | None:
    """`state` without the sub-key ``th`` of OpenTelemetry's entry ``ot``: ``th:c;rv:…``."""
    entry = state.get("ot") if state else None
    if state is None or entry is None:
        return state
    kept = [part for part in entry.split(";") if part.partition(":")[0].strip() != "th"]
    rest = ";".join(kept).strip()
    if rest == entry:
        return state
    return state.update("ot", rest) if rest else state.delete("ot")


# -- from the environment ----------------------------------------------------------------------
def keep_hits_and_ratio(argument: object = None) -> Sampler:
    """The sampler ``budget_keep_hits``: a ratio of the traces, and every hit.

    The SDK calls it with ``OTEL_TRACES_SAMPLER_ARG``. It never raises, because the SDK would sample
    everything instead.

    Args:
        argument: The ratio of new traces to keep, from 0 to 1; a trace that comes from elsewhere is
            kept if it is sampled there. Without it, or if it is no such number (which is logged),
            0: the hits alone.
    """
    ratio = 0.0 if argument in (None, "") else _ratio(argument)
    if ratio is None:
        log_once(
            logging.WARNING,
            f"{_no_ratio(argument)} Of new traces, only hits of budget guards are sampled.",
        )
    return keep_hits(ParentBased(TraceIdRatioBased(ratio or 0.0)))


def sampler_from_environment() -> Sampler:
    """The sampler that ``OTEL_TRACES_SAMPLER`` names, which keeps hits unless it is always off.

    Raises:
        ValueError: There is no such sampler, or its argument cannot be used. The SDK itself would
            sample everything.
    """
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip() or _DEFAULT
    argument = os.environ.get("OTEL_TRACES_SAMPLER_ARG") or None
    known = name.lower()
    if argument is not None and known in {KEEP_HITS, *_BY_RATIO} and _ratio(argument) is None:
        raise ValueError(_no_ratio(argument))
    if known == KEEP_HITS:
        return keep_hits_and_ratio(argument)
    # The SDK's own are entry points, too; it takes their names in any case.
    found = entry_points(group=_GROUP, name=name) or entry_points(group=_GROUP, name=known)
    if not found:
        raise ValueError(
            f"OTEL_TRACES_SAMPLER is {name!r}, but no sampler of that name is installed: use "
            "parentbased_traceidratio with a ratio in OTEL_TRACES_SAMPLER_ARG, "
            "parentbased_always_on or always_off."
        )
    if argument is None and known in _BY_RATIO:
        log_once(
            logging.WARNING,
            f"OTEL_TRACES_SAMPLER is {name!r} and OTEL_TRACES_SAMPLER_ARG is not set: every trace "
            "is sampled, as the OpenTelemetry specification has it.",
        )
    try:
        made = next(iter(found)).load()(
            (1.0 if argument is None else _ratio(argument)) if known in _BY_RATIO else argument
        )
    except Exception as error:
        raise ValueError(f"The sampler {name} could not be set up: {error}") from error
    if not isinstance(made, Sampler):
        raise ValueError(f"The sampler {name} could not be set up: it made {made!r}.")
    return made if known in _ALWAYS_OFF else keep_hits(made)


def _ratio(argument: object) -> float | None:
    """`argument` as a number from 0 to 1; None if it is none."""
    try:
        ratio = float(str(argument))
    except ValueError:
        return None
    return ratio if 0 <= ratio <= 1 else None


def _no_ratio(argument: object) -> str:
    return f"OTEL_TRACES_SAMPLER_ARG is {argument!r}, which is not a number from 0 to 1."
