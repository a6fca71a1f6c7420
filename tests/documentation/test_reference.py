"""The reference says what is emitted, of every name, and the API's pages have every public name."""

from __future__ import annotations

import re
from functools import cache

import pytest

from docs.builder import comments, emitted, meanings, pages, site
from otel_budget import semconv
from support.paths import PACKAGE, ROOT


@cache
def seen() -> emitted.Emitted:
    return emitted.emitted()


@cache
def reference() -> dict[str, str]:
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in pages.pages()}


def test_the_pages_are_those_that_the_builder_writes() -> None:
    written = pages.pages()
    for name, text in written.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: make docs-reference"
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / pages.FOLDER).glob("*.md")}
    assert there == set(written)


def headings(page: str) -> set[str]:
    return set(re.findall(r"^## `(.+)`$", reference()[f"docs/reference/{page}.md"], re.MULTILINE))


def test_every_name_of_the_schema_is_emitted_and_documented() -> None:
    spans = set(pages.names("SPAN_").values()) - set(pages.names("SPAN_EVENT").values())
    assert headings("spans") == set(seen().spans) == spans
    events = {*pages.names("SPAN_EVENT").values(), *pages.names("LOG_EVENT").values()}
    assert headings("events") == {*seen().span_events, *seen().log_events} == events
    assert headings("metrics") == {metric.name for metric in semconv.METRICS}
    # All that have a meaning are attributes, but for the names above.
    attributes = {name for name in pages.meanings() if re.search(r"[a-z]\.[a-z]", name)}
    assert headings("attributes") == attributes - spans - events


def test_every_metric_is_emitted_with_the_attributes_that_it_declares() -> None:
    for metric in semconv.METRICS:
        assert set(seen().metrics[metric.name].values) == emitted.metric_attributes(metric)


def test_what_is_not_seen_in_the_telemetry_is_said_of_what_is_there() -> None:
    kinds = [*seen().spans.values(), *seen().span_events.values(), *seen().log_events.values()]
    sometimes = {name for kind in kinds for name in kind.values if not kind.is_always(name)}
    assert set(meanings.WHEN) == sometimes
    of_metrics = [*kinds, *seen().metrics.values()]
    for attribute, values in meanings.VALUES.items():
        emitted_values = {v for kind in of_metrics for v in kind.values.get(attribute, ())}
        assert emitted_values <= {*values, semconv.OTHER}, attribute
    listed = {
        semconv.DECISION: {*semconv.DECISIONS, semconv.RECORDED},
        semconv.KIND: {*semconv.KINDS},
        semconv.CAUSE: {*semconv.CAUSES},
        semconv.TOKEN_TYPE: {*semconv.TOKEN_TYPES},
        semconv.COST_SOURCE: {*semconv.COST_SOURCES},
        semconv.REASON: {*semconv.UNPRICED_REASONS, *semconv.WITHOUT_USAGE_REASONS},
        semconv.COMPONENT: {*pages.names("COMPONENT_").values()},
        semconv.DECISION_POINT: {*pages.names("POINT_").values()},
    }
    for attribute, values in listed.items():
        assert set(meanings.VALUES[attribute]) == values, attribute


def test_comments_are_read_above_a_name_and_behind_it() -> None:
    said = comments.comments(semconv)
    assert said["SESSION_ID"] == "The session, as the runtime calls it."
    assert said["LOG_RECORD_UID"].startswith("Of a log event alone")
    assert "POINT_LLM" not in said


def test_every_environment_variable_that_the_code_names_is_documented() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"\bOTEL_[A-Z_]*[A-Z]\b(?!_)", code))
    documented = set(re.findall(r"`(OTEL_\w+)`", reference()["docs/reference/environment.md"]))
    ours = {name for name in named if name.startswith("OTEL_PYTHON_BUDGET_")}
    assert ours == set(pages.variables())
    assert named <= documented


@pytest.mark.parametrize("module", site.public_modules())
def test_the_api_pages_have_every_public_name_once(module: str) -> None:
    name = "integrations" if ".integrations." in module else module.rpartition(".")[2]
    page = (ROOT / "docs" / "api" / f"{name}.md").read_text(encoding="utf-8")
    # A directive's name is in the module that was named last.
    current, found = "", []
    for kind, argument in re.findall(r"^\.\. ([a-z:]+):: ([\w.]+)$", page, re.MULTILINE):
        if kind in {"py:module", "currentmodule"}:
            current = argument
        elif kind.startswith("auto") and current == module and "." not in argument:
            found.append(argument)
    assert sorted(found) == sorted(site.exported(site.public_modules()[module]))
