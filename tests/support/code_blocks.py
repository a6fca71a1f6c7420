"""The code of the documentation's pages: found, and run or checked as what it is."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import typer
import yaml
from markdown_it import MarkdownIt

from otel_budget.cli.app import app
from support.paths import ROOT

#: Written on the line above a block that is not run; the reason is for readers of the source.
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
#: Programs that are not ours: their command lines are not checked.
FOREIGN = {
    "amtool", "cat", "cd", "curl", "docker", "export", "git", "gunicorn", "helm", "jq", "kubectl",
    "npm", "opentelemetry-instrument", "prometheus", "promtool", "uvicorn",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: The line of its fence, from 1.
        language: What it is; `indented` where nothing says so.
        text: The code.
        reason: Why it is not run; None if it is.
    """

    line: int
    language: str
    text: str
    reason: str | None


def pages(*folders: str) -> list[str]:
    """The Markdown files below folders, and files, as paths from the root."""
    found: list[Path] = []
    for folder in folders:
        path = ROOT / folder
        found += sorted(path.rglob("*.md")) if path.is_dir() else [path]
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    found, reason = [], None
    for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "html_block":
            match = NOT_RUN.search(token.content)
            reason = match[1] if match else None
        elif token.type in {"fence", "code_block"}:
            language = token.info if token.type == "fence" else "indented"
            line = token.map[0] + 1 if token.map else 0
            found.append(Block(line, language, token.content, reason))
            reason = None
        elif token.level == 0:
            reason = None
    return found


def inline_commands(page: str) -> Iterator[tuple[int, str]]:
    """Commands of ours in the running text, with their lines."""
    for token in MarkdownIt().enable("table").parse((ROOT / page).read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type == "code_inline" and re.match(
                r"(make|otel-budget) [a-z-]", child.content
            ):
                yield (token.map[0] + 1 if token.map else 0), child.content


# -- commands ----------------------------------------------------------------------------------
def command_lines(text: str) -> Iterator[str]:
    """The commands of a console block: after a `$`, or every line if there is no `$`."""
    lines = text.replace("\\\n", " ").splitlines()
    prompted = [line.strip()[2:] for line in lines if line.strip().startswith("$ ")]
    yield from prompted or [line for line in lines if line.strip()]


def problem_of(line: str) -> str | None:
    """What is wrong with a command line; None if nothing is, or it is another's program."""
    words = shlex.split(line.partition(" | ")[0].rstrip(" &"), comments=True)
    command: list[str] = []
    for word in [*words, "&&"]:
        if word not in {"&&", ";"}:
            command.append(word)
            continue
        problem = _problem(command)
        if problem:
            return problem
        command = []
    return None


def _problem(command: list[str]) -> str | None:
    while command and re.match(r"[A-Z_]+=", command[0]):
        command = command[1:]
    if not command:
        return None
    program, *arguments = command
    name = Path(program).name
    if name == "otel-budget":
        return _problem_of_ours(arguments)
    if name == "make":
        unknown = [word for word in arguments if "=" not in word and word not in _targets()]
        return f"make has no target {unknown[0]}" if unknown else None
    if name == "pip":
        return _problem_of_extras(" ".join(arguments))
    if name in {"python", "python3"} and arguments[:1] == ["-m"]:
        if arguments[1] == "otel_budget":
            return _problem_of_ours(arguments[2:])
        return None if find_spec(arguments[1]) else f"there is no module {arguments[1]}"
    if name == "python":
        return None if (ROOT / arguments[0]).exists() or arguments[0] == "app.py" else arguments[0]
    return None if name in FOREIGN else f"{name} is no program that the test knows"


def _problem_of_ours(arguments: list[str]) -> str | None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    if not arguments or arguments[0].startswith("-"):
        return None
    if arguments[0] not in commands:
        return f"otel-budget has no command {arguments[0]}"
    # `--help` behind every argument: all are parsed, and nothing is looked up on this machine.
    options = {name for option in commands[arguments[0]].params for name in option.opts}
    for word in arguments[1:]:
        if re.match("-.", word) and word.partition("=")[0] not in {*options, "--help"}:
            return f"otel-budget {arguments[0]} has no option {word}"
    return None


@cache
def _targets() -> set[str]:
    files = [ROOT / "Makefile", *ROOT.glob("*/Makefile.mk")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def _problem_of_extras(arguments: str) -> str | None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"otel-budget\[([a-z,_-]+)\]|\.\[([a-z,_-]+)\]", arguments)
    for extra in ",".join("".join(pair) for pair in named).split(","):
        if extra and extra not in project["optional-dependencies"]:
            return f"there is no extra {extra}"
    return None


# -- data ----------------------------------------------------------------------------------------
def parse(block: Block) -> None:
    """Parse a block that is data, or a query; an error is raised as its parser raises it."""
    if block.language == "yaml":
        list(yaml.safe_load_all(block.text))
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "promql":
        import promql_parser

        promql_parser.parse(block.text)
    elif block.language == "sql":
        assert block.text.rstrip().endswith(";")
    else:
        raise AssertionError(
            f"a block of {block.language or 'no language'}: name one that is checked"
        )


# -- programs ------------------------------------------------------------------------------------
_RUN = r"""
import ast, asyncio, io, json, sys, types
from contextlib import redirect_stdout

page, blocks = json.load(sys.stdin)
module = types.ModuleType("__main__")
sys.modules["__main__"] = module
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
for line, code, expected in blocks:
    code = compile("\n" * line + code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with redirect_stdout(printed):
        result = eval(code, vars(module))
        if result is not None:
            loop.run_until_complete(result)
    if expected is not None and printed.getvalue() != expected:
        sys.exit(f"{page}:{line} printed\n{printed.getvalue()}and the page says\n{expected}")
loop.close()
"""


def run(page: str, **environment: str) -> None:
    """Run the Python blocks of a page as one program; a `text` block behind one is what it prints.

    Args:
        page: The page.
        environment: Variables.
    """
    programs: list[tuple[int, str, str | None]] = []
    for block in blocks(page):
        if block.reason:
            continue
        if block.language == "python":
            programs.append((block.line, block.text, None))
        elif block.language == "text" and programs:
            line, code, _ = programs[-1]
            programs[-1] = (line, code, block.text)
    if not programs:
        return
    path = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps([page, programs]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**_clean(), "PYTHONPATH": path, **environment},
    )
    assert done.returncode == 0, f"{page}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
