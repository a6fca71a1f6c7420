"""Every code block of the documentation runs, or is checked as what it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.code_blocks import (
    Block,
    blocks,
    command_lines,
    inline_commands,
    pages,
    parse,
    problem_of,
    run,
)
from support.otlp_receiver import receiver
from support.paths import ROOT

RUN = pages("README.md", "docs")
#: Its blocks ask a model server: tests/integrations/test_frameworks_page.py runs them.
WITH_A_SERVER = "docs/frameworks.md"
#: Beside the code; their blocks show a part of a program, their commands are whole.
OTHERS = pages(
    "CONTRIBUTING.md", "SECURITY.md", "collector/README.md", "collector/kubernetes/README.md",
    "dashboards/README.md", "examples/README.md", "otel_budget/guards/README.md",
    "otel_budget/integrations/README.md",
)  # fmt: skip
#: Of MyST: what the site's builder reads.
SITE = re.compile(r"\{[a-z-]+\}")


def _has(page: str, *languages: str) -> bool:
    return any(block.language in languages for block in blocks(page))


@pytest.mark.parametrize(
    "page",
    [page for page in RUN if _has(page, "python") and page != WITH_A_SERVER],
)
def test_the_programs_of_a_page_run(page: str, tmp_path: Path) -> None:
    with receiver() as collector:
        run(
            page,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            HOME=str(tmp_path),
        )


def test_commands_have_the_targets_options_and_extras_that_they_name() -> None:
    problems = []
    for page in (*RUN, *OTHERS):
        commands = [
            (block.line, line)
            for block in blocks(page)
            if block.language in {"console", "sh", "indented"} and not block.reason
            for line in command_lines(block.text)
            if block.language != "indented" or re.search(r"\b(make|otel-budget|pip) ", line)
        ]
        for line, command in (*commands, *inline_commands(page)):
            problem = problem_of(command)
            if problem:
                problems.append(f"{page}:{line}: {command}: {problem}")
    assert not problems, "\n".join(problems)


def _data(page: str) -> list[Block]:
    others = {"python", "console", "sh", "text", "mermaid"}
    return [b for b in blocks(page) if b.language not in others and not SITE.match(b.language)]


def test_data_and_queries_parse() -> None:
    for page in RUN:
        for block in _data(page):
            if not block.reason:
                try:
                    parse(block)
                except Exception as error:
                    raise AssertionError(f"{page}:{block.line}: {error}") from error


def test_blocks_that_are_not_run_say_why_and_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [(page, block) for page in RUN for block in blocks(page) if block.reason]
    with capsys.disabled():
        print(f"\n{len(skipped)} blocks of the documentation are not run:")
        for page, block in skipped:
            print(f"  {page}:{block.line}: {block.reason}")
    marked = sum((ROOT / page).read_text("utf-8").count("<!-- not run") for page in RUN)
    assert marked == len(skipped), "an opt-out stands on the line above its block, with a reason"
    assert len(skipped) <= 6


def test_the_checks_find_what_is_wrong() -> None:
    wrong = {
        "otel-budget replay x.csv --nope": "no option --nope",
        "otel-budget reply x.csv": "no command reply",
        "cd x && make demos": "no target demos",
        "pip install 'otel-budget[clii]'": "no extra clii",
        "python -m otel_budgets": "no module",
        "frobnicate": "no program",
    }
    for command, problem in wrong.items():
        assert problem in (problem_of(command) or ""), command
    with pytest.raises(AssertionError, match="no language"):
        parse(Block(1, "", "x", None))


def test_links_between_files_lead_somewhere() -> None:
    """As in a view of the folders; the site's builder checks anchors, too."""
    for page in (*RUN, *OTHERS, "CHANGELOG.md"):
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]+)[^)]*\)", text):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"
