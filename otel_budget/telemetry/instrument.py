"""`instrument` wraps any budget guard so that its calls are observed."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Literal, TypeVar

from opentelemetry import trace
from opentelemetry._logs import Logger, LoggerProvider, NoOpLogger, get_logger
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import NoOpTracer, Tracer, TracerProvider

from otel_budget import semconv
from otel_budget.contract.guards import is_async
from otel_budget.contract.prices import PriceSource
from otel_budget.contract.session_info import SessionInfoSource, check_source
from otel_budget.log_once import log_once
from otel_budget.sanitize import name as clean_name
from otel_budget.sanitize import shielded, text
from otel_budget.telemetry.hub import Hub
from otel_budget.telemetry.hubs import hub_for
from otel_budget.telemetry.metrics.polling import LastAnswer
from otel_budget.telemetry.metrics.price_list import late_price_source
from otel_budget.telemetry.sessions import namespace_of
from otel_budget.telemetry.settings import Destination, GuardSettings
from otel_budget.telemetry.wrapper import AsyncInstrumentedGuard, InstrumentedGuard
from otel_budget.version import __version__

Guard = TypeVar("Guard")
Events = Literal["span", "logs", "both"]
Spans = Literal["all", "hits"]

#: Where hits are written if `instrument` is given no ``events``: ``span``, ``logs`` or ``both``.
EVENTS_VARIABLE: Final = "OTEL_PYTHON_BUDGET_EVENTS"
#: ``false``: no messages, reasons or texts of exceptions are written.
MESSAGES_VARIABLE: Final = "OTEL_PYTHON_BUDGET_MESSAGES"
#: ``true``: the stack traces of a guard's exceptions are recorded, too.
STACKTRACES_VARIABLE: Final = "OTEL_PYTHON_BUDGET_STACKTRACES"

_EVENTS: Final = ("span", "logs", "both")


def instrument(
    guard: Guard,
    *,
    name: str | None = None,
    session_info: SessionInfoSource = None,
    prices: PriceSource | Literal["auto"] | None = "auto",
    metric_labels: Iterable[str] = ("tenant", "agent"),
    max_label_sets: int = 100,
    events: Events | None = None,
    spans: Spans = "all",
    messages: bool = True,
    late_after: float | Literal["auto"] | None = "auto",
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
) -> Guard:
    """Wrap `guard` so that each of its decisions becomes spans, metrics and threshold events.

    The guard's decisions, return values and exceptions are passed on unchanged, and no failure of
    the telemetry reaches the caller. The result is sync or async like `guard`; its other attributes
    are those of the guard, for reading and for setting.

    Args:
        guard: Any object with one or more of ``check_before_llm``, ``record_after_llm`` and
            ``check_before_tool`` that answers typed decisions or dicts.
        name: The value of ``budget.guard.name``; None uses the name of the guard's class.
        session_info: Who the calls are for and which model serves them: a constant, or a quick
            function from session id to `SessionInfo` or None, called on every call. See also
            `call_info`.
        prices: A `PriceSource`; ``"auto"`` uses genai-prices if it is installed; None prices
            nothing. genai-prices is imported by a thread once a model call is allowed; a record
            that comes before it is there has no cost on its span, but in the metrics.
        metric_labels: Which of ``tenant``, ``agent``, ``principal`` become metric labels.
        max_label_sets: How many distinct label sets this process keeps; further ones are counted
            under ``_other_``. The largest value given to any guard applies to all.
        events: Where threshold hits are written: ``span``, ``logs`` or ``both``; None reads the
            environment variable ``OTEL_PYTHON_BUDGET_EVENTS``, and without it means ``both``.
        spans: ``all`` puts a short span around each call. ``hits`` makes none for a plain allow and
            a good record, which are then seen in metrics alone; whatever else happens (soft limits,
            once a minute for a session and resource, denials, failures) is drawn after the fact,
            and nothing is current while the guard runs.
        messages: Whether messages, reasons and the texts of exceptions are written; they may hold
            what a host does not want in its telemetry. ``OTEL_PYTHON_BUDGET_MESSAGES=false`` in the
            environment keeps them out, too.
        late_after: Seconds after which an answer is reported as late, because the caller has
            given up. ``"auto"`` means 5 for dict answers (their runtime's deadline) and never for
            typed ones; None means never.
        tracer_provider: None uses the global provider, even one that is set later.
        meter_provider: As `tracer_provider`.
        logger_provider: As `tracer_provider`.

    Raises:
        TypeError: `guard` has none of the methods, mixes sync and async ones, or is a class whose
            methods need an instance; or an option is
            of the wrong type, such as an async function or a class as `session_info`.
        ValueError: An option has a value that is not allowed.
    """
    asynchronous = is_async(guard)
    options = {key: value for key, value in locals().items() if key in _OPTIONS}
    labels = options["metric_labels"] = _checked_labels(metric_labels)
    _check_numbers(max_label_sets, late_after)
    check_source(session_info)
    event_target = _checked_events(events)
    _check_spans(spans)
    hub = hub_for(meter_provider)
    last_levels = LastAnswer() if callable(getattr(guard, "budget_levels", None)) else None
    settings = GuardSettings(
        # Not type(): if the guard is instrumented already, __class__ is that of the guard inside.
        guard_name=clean_name(name) or text(guard.__class__.__name__),
        session_info=session_info,
        prices=late_price_source(prices),
        metric_labels=labels,
        span_events=event_target != "logs",
        log_events=event_target != "span",
        late_after=late_after,
        stacktraces=os.environ.get(STACKTRACES_VARIABLE, "").lower() == "true",
        levels=last_levels,
        messages=messages and os.environ.get(MESSAGES_VARIABLE, "").lower() != "false",
        hits_only=spans == "hits",
        destination=Destination(
            _tracer(tracer_provider, hub),
            _logger(logger_provider, hub),
            hub,
            namespace_of(tracer_provider),
            (tracer_provider, meter_provider, logger_provider),
        ),
    )
    wrapper = (AsyncInstrumentedGuard if asynchronous else InstrumentedGuard)(
        guard, settings, partial(instrument, **options)
    )
    for used_hub in {hub, settings.destination.hub}:
        used_hub.tallies.max_label_sets = max(used_hub.tallies.max_label_sets, max_label_sets)
        if last_levels is not None:
            used_hub.watch(wrapper, _ask_levels, settings.guard_name, labels, last_levels)
    return wrapper  # type: ignore[return-value]


_OPTIONS: Final = frozenset(inspect.signature(instrument).parameters) - {"guard"}


def _tracer(provider: TracerProvider | None, hub: Hub) -> Tracer:
    try:
        return trace.get_tracer(semconv.SCOPE_NAME, __version__, provider)
    except shielded() as error:
        hub.report_failure(semconv.COMPONENT_SPAN, error)
        return NoOpTracer()


def _logger(provider: LoggerProvider | None, hub: Hub) -> Logger:
    try:
        return get_logger(semconv.SCOPE_NAME, __version__, provider)
    except shielded() as error:
        hub.report_failure(semconv.COMPONENT_LOG_EVENT, error)
        return NoOpLogger(semconv.SCOPE_NAME)


def _ask_levels(wrapper: Any) -> Any:
    return wrapper._otel_budget_guard.budget_levels()


def _checked_labels(metric_labels: Iterable[str]) -> tuple[str, ...]:
    if isinstance(metric_labels, str):
        raise TypeError(f"metric_labels takes several names: ({metric_labels!r},)")
    labels = tuple(metric_labels)
    unknown = [label for label in labels if label not in semconv.LABELS]
    if unknown:
        raise ValueError(
            f"metric_labels takes {', '.join(semconv.LABELS)}: not {unknown[0]!r} (a session id "
            "never becomes a metric attribute; it is on spans and events)"
        )
    return tuple(label for label in semconv.LABELS if label in labels)  # one order for all guards


def _check_numbers(max_label_sets: int, late_after: float | str | None) -> None:
    if isinstance(max_label_sets, bool) or not isinstance(max_label_sets, int):
        raise TypeError(f"max_label_sets must be a whole number, not {max_label_sets!r}")
    if max_label_sets < 1:
        raise ValueError(f"max_label_sets must be 1 or more, not {max_label_sets}")
    if late_after is None or late_after == "auto":
        return
    if isinstance(late_after, bool) or not isinstance(late_after, int | float):
        raise TypeError(f"late_after must be seconds, 'auto' or None, not {late_after!r}")
    if not late_after > 0:
        raise ValueError(f"late_after must be more than 0 seconds, not {late_after}")


def _check_spans(spans: str) -> None:
    if spans not in {"all", "hits"}:
        raise ValueError(f"spans must be 'all' or 'hits', not {spans!r}")


def _checked_events(events: str | None) -> str:
    if events in _EVENTS:
        return str(events)
    if events is not None:
        raise ValueError(f"events must be one of {', '.join(_EVENTS)} or None, not {events!r}")
    wanted = os.environ.get(EVENTS_VARIABLE, "") or "both"
    if wanted not in _EVENTS:
        # Set outside the program, so it must not keep the host from starting.
        log_once(
            logging.WARNING,
            f"{EVENTS_VARIABLE}={wanted!r} is not one of {', '.join(_EVENTS)}: writing both.",
        )
        return "both"
    return wanted
