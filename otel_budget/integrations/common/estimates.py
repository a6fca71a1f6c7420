"""About how many tokens a request will send, before anybody has counted them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Of English text; a guard is asked before the call, when an estimate is all there is.
_CHARACTERS_PER_TOKEN: Final = 4
#: Longer text without any space in it is a picture or a file in base64, whose size says nothing
#: about its tokens.
_LONGEST_WORD: Final = 2_000
_DEEPEST: Final = 12


def estimated_tokens(*content: Any) -> int:
    """About how many tokens there are in `content`: one for each four characters of its texts.

    Args:
        content: Messages, instructions, schemas of tools: text, mappings, lists and objects of any
            framework, in any depth. Pictures, audio and files are not counted.
    """
    return sum(_characters(part, _DEEPEST) for part in content) // _CHARACTERS_PER_TOKEN


def _characters(value: Any, depth: int) -> int:
    if isinstance(value, str):
        return 0 if _is_encoded(value) else len(value)
    if isinstance(value, bool) or value is None:
        return 0
    if isinstance(value, int):  # an embedding's input may be tokens already
        return _CHARACTERS_PER_TOKEN
    if depth == 0 or isinstance(value, bytes | float | type):
        return 0
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif not callable(value):
        parts = getattr(value, "__dict__", {}).values()
    return sum(_characters(part, depth - 1) for part in list(parts))


def _is_encoded(text: str) -> bool:
    if len(text) <= _LONGEST_WORD or not text.isascii():
        return False
    return not any(space in text[:_LONGEST_WORD] for space in " \n\t")
