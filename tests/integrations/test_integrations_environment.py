"""From the development environment: run the integrations' tests where their libraries are."""

from __future__ import annotations

import pytest

from support.example_libraries import missing_libraries, run_in_their_environment


@pytest.mark.skipif(not missing_libraries(), reason="the integrations' tests run right here")
@pytest.mark.timeout(900)
def test_the_integrations_in_their_own_environment() -> None:
    run_in_their_environment("tests/integrations")
