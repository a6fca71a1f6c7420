"""An integration whose library is missing or too old says so in one sentence, with the remedy."""

from __future__ import annotations

import pytest

from otel_budget.integrations.common import requirements
from otel_budget.integrations.common.requirements import needed
from support.paths import PACKAGE
from support.processes import python

EXTRAS = {
    "anthropic": "anthropic",
    "langchain": "langchain",
    "litellm": "litellm",
    "openai": "openai",
    "openai_agents": "openai-agents",
    "pydantic_ai": "pydantic-ai",
}


def test_every_integration_is_listed_here() -> None:
    modules = {path.stem for path in (PACKAGE / "integrations").glob("*.py")} - {"__init__"}
    assert modules == set(EXTRAS)


def test_without_the_libraries_each_names_its_extra() -> None:
    python(
        f"""
        import importlib, importlib.metadata
        def version(name):
            raise importlib.metadata.PackageNotFoundError(name)
        importlib.metadata.version = version
        for module, extra in {EXTRAS!r}.items():
            try:
                importlib.import_module(f"otel_budget.integrations.{{module}}")
            except ModuleNotFoundError as error:
                sentence = str(error)
            assert sentence.startswith(f"otel_budget.integrations.{{module}} needs the package ")
            assert sentence.endswith(f": pip install 'otel-budget[{{extra}}]'"), sentence
        """
    )


def test_a_library_that_is_too_old_is_named_with_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements, "installed_version", lambda _: "1.109.1")
    with pytest.raises(ImportError) as caught, needed("openai", "openai", "2.54"):
        raise AssertionError("not reached")
    assert str(caught.value) == (
        "otel_budget.integrations.openai needs openai 2.54 or newer, and 1.109.1 is installed: "
        "pip install 'otel-budget[openai]'"
    )


def test_a_library_that_lacks_a_name_is_named_with_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements, "installed_version", lambda _: "9.0")
    sentence = r"cannot import openai 9\.0 .*otel-budget\[openai\]"
    with pytest.raises(ImportError, match=sentence), needed("openai", "openai", "2.54"):
        raise ImportError("cannot import name 'OpenAI'")
