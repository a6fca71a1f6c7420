"""The generated pages, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from docs.builder.comments import comments
from docs.builder.emitted import Emitted, Seen, emitted
from docs.builder.meanings import EXAMPLES, SDK_VARIABLES, VALUES, WHEN
from otel_budget import semconv
from otel_budget.metric import Metric, prometheus_label
from otel_budget.telemetry import instrument as instrument_module

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = "docs/reference"
_NOTE: Final = (
    "<!-- Written by `make docs-reference` from otel_budget/semconv.py and docs/builder. -->"
)

_TYPES: Final = {str: "string", int: "int", float: "double", bool: "boolean"}


def names(prefix: str = "") -> dict[str, str]:
    """The constants of `semconv` that hold one name of the telemetry: constant -> name."""
    return {
        constant: value
        for constant, value in vars(semconv).items()
        if isinstance(value, str) and constant.isupper() and constant.startswith(prefix)
    }


def meanings() -> dict[str, str]:
    """What each span, event and attribute means: name -> the comment beside it.

    Raises:
        ValueError: One name has two comments.
    """
    said = comments(semconv)
    found: dict[str, str] = {}
    for constant, name in names().items():
        if constant not in said:
            continue
        if name in found:
            raise ValueError(f"{name} has two meanings: make them one constant")
        found[name] = said[constant]
    return found


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    cells = [list(head)]
    cells.append(["---"] * len(cells[0]))
    cells += [list(row) for row in rows]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _example(name: str, values: list[Any]) -> str:
    value = EXAMPLES.get(name, values[0])
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`"


def _kind(values: list[Any]) -> str:
    return _TYPES[type(values[0])]


def _anchor(name: str) -> str:
    return "".join(c for c in name if c.isalnum() or c in "_-")


def _link(name: str) -> str:
    return f"[`{name}`](attributes.md#{_anchor(name)})"


def _attribute_rows(seen: Seen) -> list[list[str]]:
    order = sorted(seen.values, key=lambda name: (not seen.is_always(name), name))
    return [
        [
            _link(name),
            "always" if seen.is_always(name) else WHEN[name],
            _example(name, seen.values[name]),
        ]
        for name in order
    ]


def _section(name: str, meaning: str, seen: Seen) -> list[str]:
    head = ("Attribute", "Present", "Example")
    return [f"## `{name}`", "", meaning, "", *_table(head, _attribute_rows(seen)), ""]


def spans_page(seen: Emitted) -> list[str]:
    """Which span has which attribute."""
    said = meanings()
    lines = [
        "# Spans",
        "",
        "One short span of kind INTERNAL around each call of the guard. A denial leaves the status "
        "unset; ERROR means that the guard failed. *Present* says when an attribute is there; what "
        "is not known is absent. Attributes that are known before the guard answers are set at the "
        "span's start, where samplers see them.",
        "",
    ]
    for name in names("SPAN_").values():
        if name in seen.spans:
            lines += _section(name, said[name], seen.spans[name])
    return lines


def events_page(seen: Emitted) -> list[str]:
    """Which event has which attribute."""
    said = meanings()
    lines = [
        "# Events",
        "",
        "A hit is written twice: on its span, and as a log event that survives when the span is "
        "sampled out. Every denial is written; of a session that stays above a soft limit, one log "
        "event a minute and resource.",
        "",
    ]
    for name in (semconv.SPAN_EVENT_THRESHOLD_HIT, semconv.SPAN_EVENT_EXCEPTION):
        meaning = f"A span event. {said[name]}"
        lines += _section(name, meaning, seen.span_events[name])
    log = semconv.LOG_EVENT_THRESHOLD_HIT
    meaning = (
        f"A log event, with severity WARN for a denial and INFO for a soft limit. {said[log]} It "
        "carries trace and span id."
    )
    lines += _section(log, meaning, seen.log_events[log])
    return lines


def _carriers(name: str, seen: Emitted) -> str:
    groups = (
        ("spans", seen.spans),
        ("events", {**seen.span_events, **seen.log_events}),
        ("metrics", seen.metrics),
    )
    parts = []
    for page, things in groups:
        found = [thing for thing, what in things.items() if name in what.values]
        if found:
            links = (f"[`{thing}`]({page}.md#{_anchor(thing)})" for thing in sorted(found))
            parts.append(", ".join(links))
    return "; ".join(parts)


def attributes_page(seen: Emitted) -> list[str]:
    """What each attribute means, its type and its values."""
    said = meanings()
    all_seen = [
        *seen.spans.values(),
        *seen.span_events.values(),
        *seen.log_events.values(),
        *seen.metrics.values(),
    ]
    values: dict[str, list[Any]] = {}
    for one in all_seen:
        for name, some in one.values.items():
            values.setdefault(name, []).extend(some)
    lines = [
        "# Attributes",
        "",
        "What each attribute means, and what carries it. In Prometheus, its dots are underscores. "
        "`_other_` stands for all values beyond a label's cap.",
        "",
    ]
    for name in sorted(values):
        lines += [f"## `{name}`", "", said[name], ""]
        if name in VALUES:
            meaning = VALUES[name].items()
            lines += [*_table(("Value", "Means"), [[f"`{v}`", what] for v, what in meaning]), ""]
        example = "" if name in VALUES else f", e.g. {_example(name, values[name])}"
        label = prometheus_label(name)
        lines += [
            f"*Type* {_kind(values[name])}{example}. *In Prometheus* `{label}`. *On* "
            f"{_carriers(name, seen)}.",
            "",
        ]
    return lines


def _metric_section(metric: Metric) -> list[str]:
    attributes = ", ".join(_link(name) for name in metric.attributes)
    labels = "; and the [labels](#labels)" if metric.labelled else "; no labels"
    unit = f"`{metric.unit}`" if metric.unit else "that of `budget.unit`, or a ratio"
    return [
        f"## `{metric.name}`",
        "",
        metric.description,
        "",
        *_table(
            ("", ""),
            [
                ["Kind", metric.kind],
                ["Unit", unit],
                ["In Prometheus", f"`{metric.prometheus_name()}`"],
                ["Attributes", f"{attributes}{labels}"],
            ],
        ),
        "",
    ]


def metrics_page(seen: Emitted) -> list[str]:
    """Each metric: kind, unit, attributes, name in Prometheus."""
    labels = ", ".join(_link(name) for name in semconv.LABELS.values())
    buckets = ", ".join(f"{bound:g}" for bound in semconv.GUARD_DURATION_BUCKETS)
    lines = [
        "# Metrics",
        "",
        "Counters are exact under any sampling. Gauges tell how full the budgets are, by the "
        "guard's `budget_levels()`. A session id is never on a metric.",
        "",
        "## Labels",
        "",
        f"`instrument(metric_labels=…)` chooses from {labels}; the default is tenant and agent. "
        "[Adding a label](../labels.md) says what it costs.",
        "",
    ]
    for metric in semconv.METRICS:
        lines += _metric_section(metric)
        if metric.kind == "histogram":
            lines += [f"Buckets in seconds: {buckets}.", ""]
    return lines


def variables() -> dict[str, str]:
    """Our own environment variables, and what they do."""
    said = comments(instrument_module)
    return {
        value: said[constant]
        for constant, value in vars(instrument_module).items()
        if constant.endswith("_VARIABLE") and isinstance(value, str)
    }


def environment_page() -> list[str]:
    """Each environment variable that is read here, and the SDK's that matter."""
    ours = [[f"`{name}`", what] for name, what in variables().items()]
    theirs = [[f"`{name}`", what] for name, what in SDK_VARIABLES.items()]
    return [
        "# Environment variables",
        "",
        "## Of otel-budget",
        "",
        "Read when `instrument()` is called.",
        "",
        *_table(("Variable", "Does"), ours),
        "",
        "## Of OpenTelemetry",
        "",
        "[`configure()`](../api/sdk.md) reads them; a set-up of your own decides for itself.",
        "",
        *_table(("Variable", "Here"), theirs),
        "",
    ]


def pages() -> dict[str, str]:
    """Every generated file: path relative to the project's root -> text."""
    seen = emitted()
    written = {
        "spans": spans_page(seen),
        "events": events_page(seen),
        "attributes": attributes_page(seen),
        "metrics": metrics_page(seen),
        "environment": environment_page(),
    }
    return {
        f"{FOLDER}/{name}.md": "\n".join([_NOTE, "", *lines]).rstrip() + "\n"
        for name, lines in written.items()
    }
