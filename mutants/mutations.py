"""The small ways to break a module: mutmut's operators and a few of ours, anywhere in the file.

mutmut's own run fits the core in part only. It mutates what is inside functions without
decorators, so no constant, class attribute, property or serializer, and it runs the tests that call
the mutated function on a thread that it follows, so what daemon threads and other processes do
looks untested. So this takes its operators, functions from a node to changed nodes, and applies
them one at a time.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import libcst as cst
from libcst import matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_string

_LOGS: Final = {"log", "log_once", "debug", "info", "warning", "error", "exception"}


@dataclass(frozen=True)
class Mutation:
    """One small change of one file.

    Attributes:
        path: The file, from the root of the repository.
        line: Where the change begins.
        mutated: The whole file with the change.
        diff: The changed lines, for people.
        scope: The lines of the function around it; empty outside of functions.
    """

    path: str
    line: int
    mutated: str
    diff: str
    scope: range


@dataclass(frozen=True)
class Place:
    """A node of one file, and what it can be changed into."""

    path: str
    line: int
    module: Any
    node: Any
    changed: Any

    def mutation(self) -> Mutation | None:
        """The mutation, or None where it changes nothing or leaves no Python."""
        before = self.module.code
        after = self.module.deep_replace(self.node, self.changed).code
        try:
            if ast.dump(ast.parse(before)) == ast.dump(ast.parse(after)):
                return None
            compile(after, self.path, "exec", dont_inherit=True)
        except SyntaxError:
            return None
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
        diff = "\n".join(f"    {line}" for line in list(lines)[2:] if not line.startswith("@@"))
        return Mutation(self.path, self.line, after, diff, _scope(before, self.line))


def _scope(source: str, line: int) -> range:
    """The body of the innermost function around a line; empty for what is run at import."""
    bodies = [
        range(node.body[0].lineno, (node.end_lineno or 0) + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return min((body for body in bodies if line in body), key=len, default=range(0))


def places(path: Path, root: Path) -> list[Place]:
    """Every place where a file can be mutated, in the file's order."""
    wrapper = MetadataWrapper(cst.parse_module(path.read_text(encoding="utf-8")))
    positions = wrapper.resolve(PositionProvider)
    where = path.relative_to(root).as_posix()
    found: list[Place] = []

    def visit(node: Any) -> None:
        if _cannot_matter(node):
            return
        if node in positions:
            line = positions[node].start.line
            found.extend(Place(where, line, wrapper.module, node, to) for to in _changes(node))
        wording = _wording(node)
        for child in node.children:
            if child not in wording:
                visit(child)

    visit(wrapper.module)
    return found


# -- what cannot matter --------------------------------------------------------------------
def _cannot_matter(node: Any) -> bool:
    """Docstrings, imports (a broken one is no small change), and what type checkers read alone."""
    return (
        isinstance(node, cst.Annotation | cst.Import | cst.ImportFrom)
        or m.matches(node, m.If(test=m.Name("TYPE_CHECKING")))
        or m.matches(node, m.Expr(value=m.SimpleString() | m.ConcatenatedString()))
        or m.matches(node, m.Call(func=m.Name("TypeVar") | m.Name("cast")))
    )


def _wording(node: Any) -> list[Any]:
    """The arguments of a call that are only what a log line or an exception says."""
    if not isinstance(node, cst.Call):
        return []
    name = str(getattr(getattr(node.func, "attr", node.func), "value", ""))
    if name not in _LOGS and not name.endswith("Error"):
        return []
    return [arg for arg in node.args if isinstance(arg.value, cst.BaseString)]


def _is_telling(call: Any, changed: Any) -> bool:
    """Whether an argument left out, or None in its place, is more than a certain TypeError.

    The wording aside, that is None for any argument, and a named one left out.
    """
    (gone,) = (arg for arg in call.args if arg not in changed.args)
    if gone in _wording(call):
        return False
    return len(call.args) == len(changed.args) or gone.keyword is not None


# -- what is changed -----------------------------------------------------------------------
def _changes(node: Any) -> Iterator[Any]:
    for kind, operator in mutation_operators:
        if not isinstance(node, kind):
            continue
        changes = list(operator(node))
        if operator is operator_string:
            changes = changes[:1]  # the text marked; the same in capitals would say no more
        elif operator is operator_arg_removal:
            changes = [to for to in changes if _is_telling(node, to)]
        yield from changes
    if isinstance(node, cst.If | cst.While):
        condition = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), condition))
    elif isinstance(node, cst.Raise) or m.matches(
        node, m.Expr(value=m.Call() | m.Await(expression=m.Call()))
    ):
        yield cst.Pass()
    elif isinstance(node, cst.Return) and node.value and not m.matches(node.value, m.Name("None")):
        yield node.with_changes(value=cst.Name("None"))
