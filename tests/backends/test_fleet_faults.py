"""A fleet of processes, Collectors, Redis and a distributed store, one of each killed in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.fleet import Fleet
from support.redis_server import needed


@pytest.mark.backend("otelcol", "cortex")
@pytest.mark.timeout(600)
def test_one_of_each_part_is_killed_and_every_number_is_as_promised(directory: Path) -> None:
    needed()
    with Fleet(directory, print) as fleet:
        report = fleet.run()
    print("".join(report.lines()))
    assert report.wrong == []
