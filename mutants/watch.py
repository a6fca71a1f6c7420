"""A pytest plugin: which tests run which lines of the core, and the tests that are worth running.

With ``MUTANTS_OBSERVED`` set it writes there, as JSON, what each test did. With ``MUTANTS_CHOSEN``
set it runs the tests that this file names, in its order.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import coverage
import pytest

_PROCESSES: Final = {"os.fork", "os.posix_spawn", "subprocess.Popen"}


class _Watch:
    """Remembers of each test its seconds, its lines and whether it starts processes."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._coverage = coverage.Coverage(data_file=None, include=["otel_budget/*"])
        self._coverage.start()
        self._test = ""
        self._seconds: dict[str, float] = {}
        self._starts_processes: set[str] = set()
        sys.addaudithook(self._audit)
        # Watched threads that take turns every microsecond would never come to an end.
        sys.setswitchinterval = lambda _: None

    def _audit(self, event: str, _: Any) -> None:
        if event in _PROCESSES and self._test:
            self._starts_processes.add(self._test)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch one test, which may trace by itself."""
        self._test = item.nodeid
        self._coverage.switch_context(item.nodeid)
        trace = sys.gettrace()
        try:
            return (yield)
        finally:
            sys.settrace(trace)
            self._coverage.switch_context("")
            self._test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the seconds of set-up, call and clearing away."""
        seconds = self._seconds.get(report.nodeid, 0.0)
        self._seconds[report.nodeid] = seconds + report.duration

    def pytest_sessionfinish(self) -> None:
        """Write it all down."""
        self._coverage.stop()
        data = self._coverage.get_data()
        lines = {
            Path(file).relative_to(Path.cwd()).as_posix(): {
                str(line): [test for test in tests if test]
                for line, tests in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        observed = {
            "seconds": self._seconds,
            "starts_processes": sorted(self._starts_processes),
            "lines": lines,
        }
        self._path.write_text(json.dumps(observed), encoding="utf-8")


class _Choose:
    """Runs the named tests in the order of their names."""

    def __init__(self, path: str) -> None:
        self._chosen = json.loads(Path(path).read_text(encoding="utf-8"))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out."""
        found = {item.nodeid: item for item in items}
        items[:] = [found[test] for test in self._chosen if test in found]


def pytest_configure(config: pytest.Config) -> None:
    """Do what the environment says."""
    if path := os.environ.get("MUTANTS_OBSERVED"):
        config.pluginmanager.register(_Watch(path))
    if path := os.environ.get("MUTANTS_CHOSEN"):
        config.pluginmanager.register(_Choose(path))
