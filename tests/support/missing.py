"""What happens to a test whose programs or libraries are not on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_or_fail(sentence: str) -> NoReturn:
    """Skip with a sentence on a developer's machine; fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
