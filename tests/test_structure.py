"""The package's inner rules (design 6): import levels, one place for names, limited imports."""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_budget import semconv
from support.paths import PACKAGE, ROOT
from support.processes import python


def _levels() -> list[list[str]]:
    """The rows of CONTRIBUTING's table of levels: top-level modules, and packages with a slash."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| (.*?) \|", text, flags=re.MULTILINE)
    return [[name.rstrip("/") for name in re.findall(r"`([a-z_/]+)`", row)] for row in rows]


#: From the bottom up. A module imports only from lower levels and from its own package.
LEVELS = _levels()
RANK = {module: rank for rank, modules in enumerate(LEVELS) for module in modules}
FILES = sorted(PACKAGE.rglob("*.py"))


def _module(path: Path) -> str:
    """The module's dotted name within the package; `__init__` for the package itself."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name if name == "__init__" else name.removesuffix(".__init__")


MODULES = {_module(path) for path in FILES}


def _imports(path: Path) -> Iterator[str]:
    """The modules of this package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] != "otel_budget":
                continue
            parts = name.split(".")[1:]
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            yield ".".join(parts) or "__init__"


def _row(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_a_module_imports_only_from_lower_levels(path: Path) -> None:
    module = _module(path)
    assert _row(module) in RANK, f"give {_row(module)} a level in CONTRIBUTING's table"
    for imported in _imports(path):
        if _row(imported) != _row(module):
            assert RANK[_row(imported)] < RANK[_row(module)], f"{module} imports {imported}"


def test_contributings_table_of_levels_lists_every_module() -> None:
    assert sorted(name for row in LEVELS for name in row) == sorted({_row(m) for m in MODULES})
    assert len(LEVELS) <= 10


def test_there_are_no_import_cycles() -> None:
    graph = {_module(path): set(_imports(path)) - {_module(path)} for path in FILES}
    graphlib.TopologicalSorter(graph).prepare()


def test_folders_and_modules_stay_small() -> None:
    shipped = [path for top in ("dashboards", "collector") for path in (ROOT / top).rglob("*.py")]
    files = [path for path in (*FILES, *shipped) if "node_modules" not in path.parts]
    for folder in {path.parent for path in files}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 14, f"{folder.name} holds too many modules"
    for path in files:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 350, f"{path.name} has {lines} lines: is it two ideas?"


# -- names -----------------------------------------------------------------------------------
NAME = re.compile(
    r"(?:budget|gen_ai|exception)(?:\.[a-z_]+)+|session\.id|error\.type|log\.record\.uid"
    r"|budget_threshold_hit"
)
#: The tag of the runtime's event, which is also the name of our span event.
ALLOWED = {("contract.decisions", "budget_threshold_hit")}


def _literals(path: Path) -> Iterator[str]:
    """The string literals of a file, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_no_telemetry_name_is_spelt_outside_semconv(path: Path) -> None:
    module = _module(path)
    if module == "semconv":
        return
    found = {text for text in _literals(path) if NAME.fullmatch(text)}
    assert found <= {name for where, name in ALLOWED if where == module}


def test_the_names_test_knows_every_name() -> None:
    names = [
        value
        for key, value in vars(semconv).items()
        if key.isupper() and isinstance(value, str) and ("." in value or value.endswith("_hit"))
    ]
    names += [metric.name for metric in semconv.METRICS]
    names.remove(semconv.SCOPE_NAME) if semconv.SCOPE_NAME in names else None
    assert len(names) > 50
    assert [name for name in names if not NAME.fullmatch(name)] == []


# -- what is imported from outside -----------------------------------------------------------
def _outside(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


#: Modules at or above the level of `sdk` that a host without the SDK imports.
CORE = {"runtime", "__init__"}


def test_only_two_wings_import_the_sdk() -> None:
    importing = {
        _row(_module(path))
        for path in FILES
        if any(name.startswith("opentelemetry.sdk") for name in _outside(path))
    }
    assert importing == {"sdk", "testing"}


def test_the_core_imports_only_opentelemetrys_api_and_pydantic() -> None:
    """Covers all that can be imported without an extra; what one brings is imported on use."""
    for path in FILES:
        if RANK[_row(_module(path))] >= RANK["sdk"] and _row(_module(path)) not in CORE:
            continue
        outside = {name.split(".")[0] for name in _outside(path)} - {"otel_budget"}
        extra = outside - set(sys.stdlib_module_names) - {"opentelemetry", "pydantic"}
        priced = _module(path) in {"contract.prices.genai", "contract.prices.rate_card"}
        client = _module(path) == "guards.redis_guard.client"
        allowed = {"genai_prices"} if priced else {"redis"} if client else set()
        assert extra <= allowed, path
        assert not [n for n in _outside(path) if n.startswith("opentelemetry.exporter")], path


def test_only_integrations_import_integrations_and_only_their_own_library() -> None:
    libraries = {
        "langchain": {"langchain", "langchain_core", "langgraph"},
        "openai_agents": {"agents"},
    }
    for path in FILES:
        module = _module(path)
        ours = [name for name in _imports(path) if _row(name) == "integrations"]
        if _row(module) != "integrations":
            assert not ours, module
            continue
        assert all(name.startswith("integrations.common") for name in ours), module
        outside = {name.split(".")[0] for name in _outside(path)}
        outside -= {"otel_budget", "pydantic", *sys.stdlib_module_names}
        name = module.rpartition(".")[2]
        assert outside <= libraries.get(name, {name}), module


def test_importing_the_package_imports_no_extra() -> None:
    python(
        """
        import sys
        import otel_budget
        from otel_budget import instrument, SyncBudgetGuard, BudgetGate, for_a3s
        instrument(SyncBudgetGuard(), prices=None)
        import otel_budget.guards
        heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "genai_prices", "redis",
                 "typer", "rich", "yaml", "httpx", "requests", "grpc", "otel_budget.sdk",
                 "otel_budget.testing", "otel_budget.cli", "otel_budget.verify",
                 "otel_budget.integrations", "openai", "anthropic",
                 "otel_budget.sdk.exporters")
        loaded = [name for name in sys.modules if name.startswith(heavy)]
        assert not loaded, loaded
        """
    )


def test_the_package_works_without_any_extra_installed() -> None:
    python(
        """
        import sys
        for name in ("opentelemetry.sdk", "genai_prices", "rich", "typer"):
            sys.modules[name] = None
        from otel_budget import SyncBudgetGuard, instrument
        instrument(SyncBudgetGuard(), prices=None).check_before_llm("s", 1)
        from otel_budget.guards import Limit, RedisGuard
        sys.modules["redis.connection"] = None
        try:
            RedisGuard(Limit(1), url="redis://127.0.0.1")
        except ModuleNotFoundError as error:
            assert "otel-budget[redis]" in str(error), error
        else:
            raise AssertionError("no error")
        try:
            import otel_budget.sdk
        except ModuleNotFoundError as error:
            assert "otel-budget[otlp]" in str(error), error
        else:
            raise AssertionError("no error")
        """
    )
