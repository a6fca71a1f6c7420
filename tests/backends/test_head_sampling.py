"""Denials under head sampling, through the real Collector and Jaeger: each once, the rest by ratio.

The trace ids are chosen, so that what a ratio keeps is known: `Requests` begins the traces that it
keeps (lucky) and those that it does not.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from collector.stack import Stack
from otel_budget import semconv
from otel_budget.sdk import keep_hits
from otel_budget.sdk.sampling import keep_hits_and_ratio
from support import probes
from support.applications import Application, Scripted, deny, soft

pytestmark = pytest.mark.backend

Spans = Literal["all", "hits"]
MODES: tuple[Spans, ...] = ("all", "hits")
#: Session and decision.
Hit = tuple[str, str]
SAMPLER = keep_hits(ParentBased(TraceIdRatioBased(0.001)))
REQUEST = "GET /"
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
#: Denials of one process that a second may add to what is sampled anyway.
CAP = 50
THRESHOLD = "ot=th:ffc;rv:0123456789abcd,vendor=x"


class ChosenIds(RandomIdGenerator):
    """Trace ids that the ratio keeps while `lucky`, and otherwise those that it does not."""

    lucky = False

    def generate_trace_id(self) -> int:
        return random.getrandbits(64) << 64 | (1 if self.lucky else 2**64 - 1)


class Requests:
    """A host under head sampling, whose requests ask a guard."""

    def __init__(self, app: Application, ids: ChosenIds, options: dict[str, Any]) -> None:
        self.app = app
        self.inner = Scripted()
        self.guard = app.instrument(self.inner, **options)
        self.slow = app.instrument(Scripted(), late_after=1e-9, **options)
        self.tracer = app.tracer_provider.get_tracer("host")
        self._ids = ids
        #: The hits that only the wrapper keeps.
        self.hits: Counter[Hit] = Counter()
        #: The traces that the ratio keeps.
        self.kept: set[str] = set()

    @contextmanager
    def request(self, *, lucky: bool = False) -> Iterator[None]:
        self._ids.lucky = lucky
        with self.tracer.start_as_current_span(REQUEST) as span:
            self._ids.lucky = False
            if lucky:
                self.kept.add(f"{span.get_span_context().trace_id:032x}")
            yield

    @contextmanager
    def request_from_elsewhere(self) -> Iterator[None]:
        """A request whose caller has not sampled it and says by which threshold."""
        context = SpanContext(
            self._ids.generate_trace_id(),
            RandomIdGenerator().generate_span_id(),
            is_remote=True,
            trace_flags=TraceFlags(0),
            trace_state=TraceState.from_header([THRESHOLD]),
        )
        remote = trace.set_span_in_context(NonRecordingSpan(context))
        with self.tracer.start_as_current_span(REQUEST, remote):
            yield

    def ask(self, session: str, answer: Any = None, *, tool: bool = False) -> None:
        self.inner.answer = answer
        with suppress(RuntimeError):
            if tool:
                self.guard.check_before_tool(session, "search")
            else:
                self.guard.check_before_llm(session, 10)

    def work(self, session: str) -> None:
        """A call that is allowed, its record, and a tool."""
        self.ask(session)
        self.guard.record_after_llm(session, USAGE)
        self.guard.check_before_tool(session, "search")

    def ordinary(self) -> None:
        """One request in a thousand is sampled, and none is a hit."""
        for number in range(2_000):
            with self.request(lucky=number % 1_000 == 0):
                self.work("ordinary")

    def refused(self) -> None:
        """Denials below the cap, in unsampled traces of every kind."""
        for number in range(20):
            with self.request():
                self.work(f"refused-{number}")
                self.ask(f"refused-{number}", deny(), tool=bool(number % 2))
            self.hits[f"refused-{number}", semconv.DENY] += 1
        for number in range(10):
            with self.request_from_elsewhere():
                self.ask(f"remote-{number}", deny())
            self.hits[f"remote-{number}", semconv.DENY] += 1
        for _ in range(5):  # no span of the host
            self.work("alone")
            self.ask("alone", deny())
            self.hits["alone", semconv.DENY] += 1
        with self.request():
            for answer in ("nonsense", RuntimeError("the store is down")):
                self.ask("failed", answer)
            self.slow.check_before_llm("failed", 10)
        self.hits["failed", semconv.LATE] += 1
        self.hits["failed", semconv.MALFORMED] += 1
        self.hits["failed", semconv.ERROR] += 1

    def warned(self) -> None:
        """Soft limits, again and again."""
        for number in range(4):
            for resource in ("usd", "tokens"):
                for _ in range(5):
                    with self.request():
                        self.ask(f"warned-{number}", soft() | {"resource": resource})
                self.hits[f"warned-{number}", semconv.SOFT_LIMIT] += 1

    def refused_where_sampled(self) -> None:
        """A denial in a trace that is kept: nothing is offered a second time."""
        with self.request(lucky=True):
            self.work("sampled")
            self.ask("sampled", deny())


@contextmanager
def requests(
    stack: Stack, service: str, *, sampler: Sampler = SAMPLER, **options: Any
) -> Iterator[Requests]:
    ids = ChosenIds()
    with Application(stack.otlp_grpc, service, sampler=sampler, id_generator=ids) as app:
        yield Requests(app, ids, options)


def decided(spans: Iterable[dict[str, Any]]) -> Counter[Hit]:
    """Session and decision of each span that tells a decision other than allow."""
    found: Counter[Hit] = Counter()
    for span in spans:
        decision = span["tags"].get(semconv.DECISION, semconv.ALLOW)
        if decision != semconv.ALLOW:
            found[span["tags"][semconv.SESSION_ID], decision] += 1
    return found


def errors(stack: Stack, service: str) -> float:
    metric = semconv.METRIC_TELEMETRY_ERRORS.prometheus_name()
    return probes.total(stack.prometheus, f'{metric}{{job="{service}"}}') or 0


@pytest.fixture(scope="module")
def tail_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(
        tmp_path_factory.mktemp("tail"),
        overlays=["tail-sampling"],
        environment={"OTELCOL_DECISION_WAIT": "1s", "OTELCOL_SAMPLING_PERCENT": "10"},
    ) as running:
        yield running


@pytest.mark.parametrize("spans", MODES)
@pytest.mark.parametrize("tail", [False, True], ids=["head", "head and tail"])
def test_each_hit_arrives_once_and_the_rest_by_the_ratio(
    request: pytest.FixtureRequest, spans: Spans, *, tail: bool
) -> None:
    stack: Stack = request.getfixturevalue("tail_stack" if tail else "stack")
    service = f"sampled-{spans}-{tail}"
    sent_before = probes.sent_spans(stack.collector_metrics)
    with requests(stack, service, spans=spans) as host:
        host.refused()
        host.warned()
        host.refused_where_sampled()
        host.ordinary()
        host.app.flush()
        hits = host.hits + Counter({("sampled", semconv.DENY): 1})

        def arrived() -> list[dict[str, Any]]:
            return probes.spans(stack.jaeger, service)

        assert probes.eventually(lambda: decided(arrived()), lambda found: found == hits) == hits
        time.sleep(3)  # by now, second copies would have arrived, and every trace is decided on
        found = arrived()
        assert decided(found) == hits
        assert probes.sent_spans(stack.collector_metrics) - sent_before == len(found)

        # Of the traces that the ratio does not keep, there is nothing but hits.
        alone = [span for span in found if span["traceID"] not in host.kept]
        assert decided(alone) == host.hits
        assert len(alone) == host.hits.total()
        # Those that it keeps are whole: each request's span and the guard's.
        whole = 1 + {"all": 3, "hits": 0}[spans]
        kept = Counter(span["traceID"] for span in found if span["traceID"] in host.kept)
        sizes = Counter(kept.values())
        if tail:  # it keeps every trace with a hit, and some of the others
            assert sizes[whole + 1] == 1
            assert sizes.keys() <= {whole, whole + 1}
        else:
            assert sizes == {whole + 1: 1, whole: 2}

        # No count is forged: what others wrote stays, the threshold does not.
        states = Counter(span["tags"].get("w3c.tracestate") for span in alone)
        assert states == {None: host.hits.total() - 10, "ot=rv:0123456789abcd,vendor=x": 10}
        assert errors(stack, service) == 0


@pytest.mark.parametrize("spans", MODES)
def test_a_storm_of_denials_pushes_out_no_span_of_the_host(
    stack: Stack, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the Collector does not answer, as it may in a storm, spans wait in a queue of 2,048."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    service, denials, sampled = f"storm-{spans}", 5_000, 500
    with requests(stack, service, spans=spans, events="span") as host:
        stack.suspend("otelcol")
        started = time.monotonic()
        try:
            for number in range(denials):
                with host.request(lucky=number % (denials // sampled) == 0):
                    pass
                with host.request():
                    host.ask("storm", deny())
        finally:
            stack.resume("otelcol")
        seconds = time.monotonic() - started
        host.app.flush()

        def arrived() -> Counter[str]:
            found = probes.spans(stack.jaeger, service)
            return Counter(span["operationName"] for span in found)

        found = probes.eventually(arrived, lambda found: found[REQUEST] == sampled)
        kept = found.pop(semconv.SPAN_CHECK_BEFORE_LLM)
        assert found == {REQUEST: sampled}
        assert CAP <= kept <= CAP * (seconds + 2)
        # What is given up is said.
        assert probes.eventually(lambda: errors(stack, service)) == denials - kept


@pytest.mark.parametrize("spans", MODES)
def test_a_misspelt_ratio_keeps_hits_alone(stack: Stack, spans: Spans) -> None:
    sampler = keep_hits_and_ratio("0.1%")
    service = f"misspelt-{spans}"
    with requests(stack, service, sampler=sampler, spans=spans) as host:
        host.refused()
        host.ordinary()
        host.app.flush()

        def arrived() -> list[dict[str, Any]]:
            return probes.spans(stack.jaeger, service)

        assert probes.eventually(lambda: decided(arrived()), lambda found: found == host.hits)
        time.sleep(1)
        assert (decided(arrived()), len(arrived())) == (host.hits, host.hits.total())
