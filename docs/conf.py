"""How Sphinx builds the site: `make docs`.

The source folder is the repository, not `docs/`: so the table of `examples/`, the changelog and
CONTRIBUTING are pages, too, and one relative link works in the site as in a view of the folders.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from docs.builder import site  # noqa: E402
from otel_budget import __version__  # noqa: E402
from otel_budget.integrations.common import requirements  # noqa: E402

project = "otel-budget"
copyright = "the otel-budget developers, Apache-2.0"
release = __version__
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "examples/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = ["**/node_modules", "build"]
# Pygments' PromQL knows no colons in names; a test parses those blocks.
suppress_warnings = ["misc.highlighting_failure"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nitpicky = True
# Whoever is not ours is not linked: the build needs no network. Ours must be found, but for the
# names in single backticks of a docstring, which may be arguments or private.
nitpick_ignore_regex = [
    ("py:(?!obj).*", r"(?!otel_budget\.).*"),
    ("py:obj", ".*"),
    ("py:class", r"otel_budget\..*\.(Client|Guard)"),  # type variables
]
default_role = "py:obj"
show_warning_types = True

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "attrs_block", "linkify"]
myst_linkify_fuzzy_links = False

# The libraries of the integrations weigh half a gigabyte: their docstrings are read without them.
autodoc_mock_imports = [
    *("agents", "anthropic", "langchain", "langchain_core", "langgraph"),
    *("litellm", "openai", "pydantic_ai"),
]
requirements.installed_version = lambda _: "1000"

napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
add_module_names = False
autodoc_preserve_defaults = True
python_display_short_literal_types = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "otel-budget"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["root"]
html_copy_source = False
html_show_sphinx = False
# External links, by `make docs-links`: what a reader's own machine serves is not looked up.
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)[:/]", r"https?://[^/]*example\."]
linkcheck_timeout = 15
linkcheck_workers = 4


def setup(app):  # type: ignore[no-untyped-def]
    """Let Sphinx know what is particular to this site."""
    site.setup(app)
