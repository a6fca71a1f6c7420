"""`keep_hits` on the SDK's providers, and samplers that the environment names."""

from __future__ import annotations

import sys
import textwrap
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from build import ProjectBuilder
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_budget import semconv
from otel_budget.sdk import keep_hits
from otel_budget.sdk.sampling import keep_hits_and_ratio, sampler_from_environment
from support.paths import ROOT
from support.processes import python

SPANS = (
    semconv.SPAN_CHECK_BEFORE_LLM,
    semconv.SPAN_CHECK_BEFORE_TOOL,
    semconv.SPAN_RECORD_AFTER_LLM,
)
KEPT = ("soft_limit", "deny", "malformed", "error", "late")
CHECK = semconv.SPAN_CHECK_BEFORE_LLM
DENIED = {semconv.DECISION: semconv.DENY}
RATIO = 0.001
#: One that the ratio keeps, and one that it does not.
LUCKY, UNLUCKY = 1, 2**64 - 1


class Drawn:
    """A provider with this sampler, and what it exports."""

    def __init__(self, sampler: Sampler) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    def draw(self, name: str, attributes: Any = None, parent: Context | None = None) -> SpanContext:
        span = self.tracer.start_span(name, parent, attributes=attributes)
        span.end()
        return span.get_span_context()

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


def parent(
    *, sampled: bool = False, remote: bool = False, trace_id: int = UNLUCKY, state: str = ""
) -> Context:
    """The context of a request, its tracestate given as the header has it."""
    context = SpanContext(
        trace_id,
        7,
        remote,
        TraceFlags(TraceFlags.SAMPLED if sampled else 0),
        TraceState.from_header([state]) if state else None,
    )
    return set_span_in_context(NonRecordingSpan(context))


SAMPLERS = (
    ALWAYS_OFF,
    TraceIdRatioBased(RATIO),
    ParentBased(ALWAYS_OFF),
    ParentBased(TraceIdRatioBased(RATIO)),
)
PARENTS = (
    None,
    parent(),
    parent(remote=True),
)


@pytest.mark.parametrize("place", PARENTS, ids=["root", "local parent", "remote parent"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.get_description()[:40])
def test_a_hit_is_kept_whatever_sampler_and_parent_say(
    sampler: Sampler, place: Context | None
) -> None:
    drawn = Drawn(keep_hits(sampler))
    for name in SPANS:
        for decision in KEPT:
            attributes = {semconv.DECISION: decision, semconv.RESOURCE: "usd"}
            assert drawn.draw(name, attributes, place).trace_flags.sampled
    kept = [(span.name, dict(span.attributes or {})) for span in drawn.spans]
    assert kept == [
        (name, {semconv.DECISION: decision, semconv.RESOURCE: "usd"})
        for name in SPANS
        for decision in KEPT
    ]


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        (CHECK, None),
        (CHECK, {}),
        (CHECK, {semconv.DECISION: semconv.ALLOW}),
        (CHECK, {semconv.DECISION: semconv.CANCELLED}),
        (CHECK, {semconv.DECISION: ["deny"]}),
        (CHECK, {semconv.KIND: semconv.KIND_HARD}),
        (semconv.SPAN_SESSION, DENIED),
        ("GET /", DENIED),
        ("budget", DENIED),
    ],
)
def test_everything_else_is_as_the_sampler_decides(name: str, attributes: Any) -> None:
    drawn = Drawn(keep_hits(ParentBased(TraceIdRatioBased(RATIO))))
    state = "ot=th:c;rv:00000000000001,x=y"
    for place in (parent(state=state), parent(remote=True, state=state)):
        context = drawn.draw(name, attributes, place)
        assert not context.trace_flags.sampled
        assert context.trace_state.to_header() == state
    assert drawn.names == []


def test_the_answer_for_everything_else_is_the_samplers_own_object() -> None:
    answers: list[SamplingResult] = []

    class Odd(Sampler):
        # Without the tracestate, which the SDK never passes.
        def should_sample(self, *asked: Any) -> SamplingResult:  # type: ignore[override]
            assert len(asked) == 6
            answers.append(SamplingResult(Decision.RECORD_ONLY))
            return answers[-1]

        def get_description(self) -> str:
            return "Odd"

    sampler = keep_hits(Odd())
    assert sampler.should_sample(None, UNLUCKY, "GET /", None, DENIED) is answers[-1]
    assert sampler.should_sample(None, UNLUCKY, CHECK) is answers[-1]
    assert sampler.should_sample(None, UNLUCKY, CHECK, None, DENIED) is not answers[-1]


def test_a_sampler_gets_a_tracestate_that_is_given() -> None:
    class Recording(Sampler):
        def should_sample(self, *asked: Any) -> SamplingResult:  # type: ignore[override]
            return SamplingResult(Decision.DROP, trace_state=asked[6])

        def get_description(self) -> str:
            return "Recording"

    state = TraceState([("x", "y")])
    result = keep_hits(Recording()).should_sample(
        None, UNLUCKY, CHECK, attributes=DENIED, trace_state=state
    )
    assert (result.decision, result.trace_state) == (Decision.RECORD_AND_SAMPLE, state)


def test_a_hit_that_the_sampler_keeps_is_as_the_sampler_has_it() -> None:
    state = "ot=th:c;rv:00000000000001,x=y"
    drawn = Drawn(keep_hits(ParentBased(TraceIdRatioBased(RATIO))))
    context = drawn.draw(CHECK, DENIED, parent(sampled=True, state=state))
    assert context.trace_flags.sampled
    assert context.trace_state.to_header() == state


def test_a_ratio_keeps_its_share_of_the_rest() -> None:
    sampler = keep_hits(ParentBased(TraceIdRatioBased(RATIO)))
    for name, attributes in (("GET /", None), (CHECK, {semconv.DECISION: semconv.ALLOW})):
        decisions = [
            sampler.should_sample(None, trace_id, name, None, attributes).decision
            for trace_id in (LUCKY, UNLUCKY)
        ]
        assert decisions == [Decision.RECORD_AND_SAMPLE, Decision.DROP]


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("", ""),
        ("ot=th:c", ""),
        ("ot=th:c;rv:abc", "ot=rv:abc"),
        ("ot=rv:abc;th:c", "ot=rv:abc"),
        ("ot=rv:abc;th:c;tt:1", "ot=rv:abc;tt:1"),
        ("ot=rv:abc ; th:c", "ot=rv:abc"),
        ("ot=th:c;th:8", ""),
        ("a=1,ot=th:c;rv:abc,b=th:c", "ot=rv:abc,a=1,b=th:c"),
        ("a=1,ot=th:c,b=2", "a=1,b=2"),
        # Nothing of ours: nothing is changed, in order or spelling.
        ("a=1,b=2", "a=1,b=2"),
        ("a=1,ot=rv:abc,b=2", "a=1,ot=rv:abc,b=2"),
        ("a=1,ot=;;:,b=2", "a=1,ot=;;:,b=2"),
        ("ot=that:1;ath:2", "ot=that:1;ath:2"),
        # Malformed, but read as a threshold by whoever is generous.
        ("ot=th", ""),
        ("ot=th:;rv:abc", "ot=rv:abc"),
    ],
)
def test_an_overruled_sampler_leaves_no_threshold(header: str, kept: str) -> None:
    drawn = Drawn(keep_hits(ParentBased(TraceIdRatioBased(RATIO))))
    context = drawn.draw(CHECK, DENIED, parent(remote=True, state=header))
    assert context.trace_flags.sampled
    assert context.trace_state.to_header() == kept


def test_a_tracestate_at_its_limit_loses_the_threshold_alone() -> None:
    others = ",".join(f"k{number}=v" for number in range(31))
    drawn = Drawn(keep_hits(ALWAYS_OFF))
    context = drawn.draw(CHECK, DENIED, parent(state=f"{others},ot=th:c;rv:abc"))
    assert context.trace_state.to_header() == f"ot=rv:abc,{others}"


def test_what_a_sampler_adds_to_a_span_it_only_records_stays() -> None:
    class RecordOnly(Sampler):
        def should_sample(self, *asked: Any, **named: Any) -> SamplingResult:
            return SamplingResult(Decision.RECORD_ONLY, {"added": 1}, TraceState([("x", "y")]))

        def get_description(self) -> str:
            return "RecordOnly"

    drawn = Drawn(keep_hits(RecordOnly()))
    context = drawn.draw(CHECK, DENIED)
    drawn.draw("GET /")
    (span,) = drawn.spans
    assert dict(span.attributes or {}) == {**DENIED, "added": 1}
    assert context.trace_state.to_header() == "x=y"


def test_a_kept_hit_decides_nothing_for_others() -> None:
    """A hit stands under the request's span; what comes after it does not become its child."""
    drawn = Drawn(keep_hits(ParentBased(TraceIdRatioBased(RATIO))))
    request = parent()
    drawn.draw(CHECK, DENIED, request)
    drawn.draw("GET /", None, request)
    (hit,) = drawn.spans
    asking = trace.get_current_span(request).get_span_context()
    assert hit.parent is not None
    assert (hit.context.trace_id, hit.parent.span_id) == (asking.trace_id, asking.span_id)


def test_a_samplers_exception_is_left_to_the_sdk() -> None:
    class Broken(Sampler):
        def should_sample(self, *asked: Any, **named: Any) -> SamplingResult:
            raise OSError("no remote configuration")

        def get_description(self) -> str:
            return "Broken"

    drawn = Drawn(keep_hits(Broken()))
    for attributes in (None, DENIED):
        with pytest.raises(OSError, match="no remote configuration"):
            drawn.draw(CHECK, attributes)


def test_wrapping_twice_is_harmless_and_the_description_tells_it() -> None:
    sampler = keep_hits(TraceIdRatioBased(RATIO))
    assert keep_hits(sampler) is sampler
    assert sampler.get_description() == "KeepHits{TraceIdRatioBased{0.001}}"


@pytest.mark.parametrize("wrong", ["always_on", TraceIdRatioBased, None])
def test_what_is_no_sampler_is_refused_by_a_sentence(wrong: Any) -> None:
    with pytest.raises(TypeError) as refusal:
        keep_hits(wrong)
    assert str(refusal.value) == (
        f"keep_hits() wraps a sampler, such as ParentBased(TraceIdRatioBased(0.01)), not {wrong!r}."
    )


# -- the entry point, which the SDK's auto-configuration calls -----------------------------------
@pytest.mark.parametrize(
    ("argument", "ratio"),
    [("0.25", 0.25), (" 1e-3 ", 0.001), ("1", 1.0), ("0", 0.0), (0.5, 0.5), (None, 0.0), ("", 0.0)],
)
def test_the_entry_point_takes_a_ratio(
    argument: Any, ratio: float, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = keep_hits(ParentBased(TraceIdRatioBased(ratio)))
    assert keep_hits_and_ratio(argument).get_description() == wanted.get_description()
    assert caplog.messages == []


MISSPELT = ("10%", "0,1", "1.5", "-0.1", "nan", "inf", "one in ten", " ")


@pytest.mark.parametrize("argument", MISSPELT)
def test_the_entry_point_never_raises_and_never_keeps_everything(
    argument: str, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = keep_hits_and_ratio(argument)
    assert sampler.get_description() == keep_hits_and_ratio("0").get_description()
    assert caplog.messages == [
        f"OTEL_TRACES_SAMPLER_ARG is {argument!r}, which is not a number from 0 to 1. "
        "Of new traces, only hits of budget guards are sampled."
    ]
    drawn = Drawn(sampler)
    for name, attributes in (("GET /", None), (CHECK, DENIED)):
        drawn.draw(name, attributes)
    assert drawn.names == [CHECK]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The package as others install it; Python imports from a wheel as from a folder."""
    return ProjectBuilder(ROOT).build("wheel", tmp_path_factory.mktemp("wheel"))


AUTO = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from opentelemetry import trace
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator
    _OTelSDKConfigurator().configure()
    print(trace.get_tracer_provider().sampler.get_description())
    tracer = trace.get_tracer("t")
    tracer.start_span("GET /").end()
    for decision in ("allow", "deny"):
        attributes = {"budget.decision": decision}
        span = tracer.start_span("budget.check_before_llm", attributes=attributes)
        print(decision, span.get_span_context().trace_flags.sampled)
"""


@pytest.mark.parametrize(
    ("argument", "ratio", "logged"), [("0.0", "0.0", ""), ("a tenth", "0.0", "is 'a tenth', which")]
)
def test_the_sdks_auto_configuration_finds_the_entry_point(
    wheel: str, argument: str, ratio: str, logged: str
) -> None:
    result = python(
        AUTO,
        wheel,
        OTEL_TRACES_SAMPLER="budget_keep_hits",
        OTEL_TRACES_SAMPLER_ARG=argument,
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    description, *sampled = result.stdout.splitlines()
    assert description.startswith(f"KeepHits{{ParentBased{{root:TraceIdRatioBased{{{ratio}}},")
    assert sampled == ["allow False", "deny True"]
    assert len(result.stderr.splitlines()) == bool(logged)
    assert logged in result.stderr


# -- what configure() makes of the environment ---------------------------------------------------
def chosen(monkeypatch: pytest.MonkeyPatch, name: str | None, argument: str | None) -> str:
    for variable, value in (("", name), ("_ARG", argument)):
        if value is not None:
            monkeypatch.setenv(f"OTEL_TRACES_SAMPLER{variable}", value)
    return sampler_from_environment().get_description()


@pytest.mark.parametrize(
    ("name", "argument", "wrapped"),
    [
        (None, None, ParentBased(ALWAYS_ON)),
        ("", None, ParentBased(ALWAYS_ON)),
        ("parentbased_always_on", None, ParentBased(ALWAYS_ON)),
        ("always_on", "ignored", ALWAYS_ON),
        ("traceidratio", "0.25", TraceIdRatioBased(0.25)),
        ("ParentBased_TraceIdRatio", " 0.25 ", ParentBased(TraceIdRatioBased(0.25))),
        ("parentbased_traceidratio", "0", ParentBased(TraceIdRatioBased(0.0))),
        ("budget_keep_hits", "0.25", ParentBased(TraceIdRatioBased(0.25))),
        ("BUDGET_KEEP_HITS", None, ParentBased(TraceIdRatioBased(0.0))),
    ],
)
def test_configure_wraps_the_sampler_that_the_environment_names(
    name: str | None,
    argument: str | None,
    wrapped: Sampler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert chosen(monkeypatch, name, argument) == keep_hits(wrapped).get_description()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "sampler"),
    [("always_off", ALWAYS_OFF), ("PARENTBASED_ALWAYS_OFF", ParentBased(ALWAYS_OFF))],
)
def test_configure_leaves_always_off_off(
    name: str, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(monkeypatch, name, None) == sampler.get_description()


def test_a_ratio_that_is_not_set_is_all_as_specified_and_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert chosen(monkeypatch, "traceidratio", "") == "KeepHits{TraceIdRatioBased{1.0}}"
    assert caplog.messages == [
        "OTEL_TRACES_SAMPLER is 'traceidratio' and OTEL_TRACES_SAMPLER_ARG is not set: every trace "
        "is sampled, as the OpenTelemetry specification has it."
    ]


@pytest.mark.parametrize("argument", MISSPELT)
@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio", "budget_keep_hits"])
def test_a_misspelt_ratio_is_one_sentence(
    name: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError) as refusal:
        chosen(monkeypatch, name, argument)
    assert str(refusal.value) == (
        f"OTEL_TRACES_SAMPLER_ARG is {argument!r}, which is not a number from 0 to 1."
    )


def third_party(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Install a distribution with the sampler ``xray``."""
    package = folder / "xray_sampler-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: xray-sampler\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[opentelemetry_traces_sampler]\nxray = xray_sampler:make\n"
    )
    (folder / "xray_sampler.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "xray_sampler", raising=False)


def test_configure_wraps_an_installed_sampler_which_gets_its_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        from opentelemetry.sdk.trace.sampling import Sampler
        class Xray(Sampler):
            def __init__(self, argument):
                self.argument = argument
            def should_sample(self, *asked, **named):
                raise NotImplementedError
            def get_description(self):
                return f"Xray{{{self.argument}}}"
        make = Xray
        """
    third_party(tmp_path, monkeypatch, code)
    assert chosen(monkeypatch, "xray", "endpoint=x") == "KeepHits{Xray{endpoint=x}}"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def make(argument): raise OSError('no endpoint')", "no endpoint"),
        ("make = 3", "'int' object is not callable"),
        ("make = str", "it made 'a'."),
        ("import xray_of_nobody", "No module named 'xray_of_nobody'"),
    ],
)
def test_an_installed_sampler_that_does_not_work_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    third_party(tmp_path, monkeypatch, code)
    with pytest.raises(ValueError) as refusal:
        chosen(monkeypatch, "xray", "a")
    assert str(refusal.value) == f"The sampler xray could not be set up: {why}"


def test_pyproject_names_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = project["entry-points"]["opentelemetry_traces_sampler"]
    assert named == {
        "budget_keep_hits": f"{keep_hits_and_ratio.__module__}:{keep_hits_and_ratio.__name__}"
    }
