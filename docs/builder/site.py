"""What is particular to the site: names under which a class is public, and links to files."""

from __future__ import annotations

import ast
import importlib
import logging
import posixpath
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parent.parent.parent
_ALWAYS: Final = ("otel_budget", "otel_budget.guards", "otel_budget.sdk", "otel_budget.testing")


def public_modules() -> dict[str, Path]:
    """The modules whose `__all__` is public, and their files; what they need may be missing."""
    parts = [name.replace(".", "/") for name in _ALWAYS]
    files = [_ROOT / f"{part}.py" for part in parts] + [
        _ROOT / part / "__init__.py" for part in parts
    ]
    files += (_ROOT / "otel_budget" / "integrations").glob("[a-z]*.py")
    found = {}
    for path in files:
        if path.is_file():
            dotted = path.relative_to(_ROOT).with_suffix("").as_posix().replace("/", ".")
            found[dotted.removesuffix(".__init__")] = path
    return found


def exported(path: Path) -> list[str]:
    """What a module's `__all__` lists, without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def public_names() -> dict[str, str]:
    """Where each public class and function is defined -> its public name."""
    found: dict[str, str] = {}
    for dotted, path in public_modules().items():
        with suppress(ImportError):  # an integration whose framework is not installed
            module = importlib.import_module(dotted)
            for name in exported(path):
                thing = getattr(module, name)
                home = getattr(thing, "__module__", None)
                if home and hasattr(thing, "__qualname__"):
                    found.setdefault(f"{home}.{thing.__qualname__}", f"{dotted}.{name}")
    return found


def _resolve(app: Any, env: Any, node: Any, text: Any) -> Any:
    """Link a name by which the code knows a public class to the page that documents it."""
    if node.get("refdomain") != "py":
        return None
    target: str = node["reftarget"]
    by_home = public_names()
    wanted = by_home.get(target)
    if wanted is None and "." not in target:
        wanted = next((name for name in by_home.values() if name.endswith(f".{target}")), None)
    if wanted is None or wanted == target:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", wanted, node, text)


def _is_open_link(node: Any) -> bool:
    return getattr(node, "tagname", "") == "pending_xref" and node["reftype"] == "myst"


def _link_folders(app: Any, doctree: Any) -> None:
    """Link a folder to its README's page, as a view of folders shows it; else only name it.

    A file that is no page needs nothing: MyST makes a download of it.
    """
    here = posixpath.dirname(app.env.docname)
    for node in list(doctree.findall(_is_open_link)):
        folder = posixpath.normpath(posixpath.join(here, node["reftarget"]))
        if node.get("refdomain") or not (Path(app.srcdir) / folder).is_dir():
            continue
        readme = f"{folder}/README"
        if readme in app.env.found_docs:
            node["refdomain"], node["reftarget"], node["reftargetid"] = "doc", readme, None
        else:
            node.replace_self(node.children)


def _show_dark_pictures(app: Any, doctree: Any) -> None:
    """Beside a picture that has a twin `…-dark.png`, put that, for readers who want it dark."""
    for image in list(doctree.findall(lambda node: getattr(node, "tagname", "") == "image")):
        path = Path(image["uri"])
        twin = path.with_name(f"{path.stem}-dark{path.suffix}")
        here = Path(app.srcdir) / Path(app.env.docname).parent
        if (here / twin).is_file():
            dark = image.deepcopy()
            dark["uri"] = twin.as_posix()
            dark["classes"].append("only-dark")
            image["classes"].append("only-light")
            image.parent.insert(image.parent.index(image) + 1, dark)


def _is_no_empty_pattern(record: logging.LogRecord) -> bool:
    """A pattern of a toctree may wait for its pages; a page that none takes in is a warning."""
    return "glob pattern" not in str(record.msg)


def setup(app: Any) -> None:
    """Connect to Sphinx's events."""
    logging.getLogger("sphinx.sphinx.directives.other").addFilter(_is_no_empty_pattern)
    app.connect("missing-reference", _resolve)
    app.connect("doctree-read", _link_folders)
    app.connect("doctree-read", _show_dark_pictures, priority=400)  # before images are collected
