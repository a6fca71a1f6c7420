"""From the development environment: run the examples' tests in the examples' environment."""

from __future__ import annotations

import pytest

from support.example_libraries import missing_libraries, run_in_their_environment


@pytest.mark.skipif(not missing_libraries(), reason="the examples' tests run right here")
@pytest.mark.timeout(900)
def test_the_examples_in_their_own_environment() -> None:
    run_in_their_environment("tests/examples")
