"""What the ``#:`` comments of a module say about its names."""

from __future__ import annotations

import inspect
import io
import tokenize
from types import ModuleType


def comments(module: ModuleType) -> dict[str, str]:
    """The ``#:`` comment of each name of a module: above it, or behind it on its line.

    Single backticks of the comments become those of Markdown's code.
    """
    found: dict[str, str] = {}
    above: list[str] = []
    name = ""
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(module)).readline):
        if token.type == tokenize.COMMENT and token.string.startswith("#:"):
            text = token.string.removeprefix("#:").strip()
            if name:
                found[name] = text
            else:
                above.append(text)
        elif token.type == tokenize.NAME and token.start[1] == 0:
            name = token.string
            if above:
                found[name] = " ".join(above)
            above = []
        elif token.type in {tokenize.NEWLINE, tokenize.NL}:
            name = "" if token.type == tokenize.NEWLINE else name
    return {name: text.replace("``", "`") for name, text in found.items()}
