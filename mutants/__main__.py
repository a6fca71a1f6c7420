"""Break a copy of the core many times, one small change at a time, and run the tests on each."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mutants.mutations import Mutation, Place, places

_ROOT: Final = Path(__file__).parents[1]
_PACKAGE: Final = "otel_budget"
_WINGS: Final = ("contract", "telemetry", "guards", "runtime")
_TESTS: Final = (
    *(f"tests/{wing}" for wing in _WINGS),
    "tests/promises",
    "tests/test_public_api.py",
)
#: Seconds from which a test is not run for every mutant: what it alone would catch survives.
_TOO_SLOW: Final = 2.0
#: Seconds after which a test that hangs is given up, and a whole run.
_TEST_TIMEOUT: Final = 30
_RUN_TIMEOUT: Final = 600
_TIME: Final = "the clock"
#: pytest's exit code where a mutation has renamed every test.
_NOTHING_RUN: Final = 5


@dataclass(frozen=True)
class _Verdict:
    mutation: Mutation
    caught_by: str | None


@dataclass(frozen=True)
class _Observed:
    """What an unbroken run of the tests has shown.

    Attributes:
        seconds: What each test takes, all of it, in the order they were run.
        starts_processes: The tests whose lines are in part run elsewhere, unseen.
        lines: Of each file the tests that run a line.
    """

    seconds: dict[str, float]
    starts_processes: list[str]
    lines: dict[str, dict[str, list[str]]]

    def tests(self, mutation: Mutation) -> list[str]:
        """The tests that can notice a mutation, those of its own wing first.

        For a function these are the tests that enter it, and its wing's that start processes. What
        is run at import, or by no test in its own process, is left to all of them.
        """
        lines = self.lines.get(mutation.path, {})
        entering = {test for line in mutation.scope for test in lines.get(str(line), ())}
        own = f"tests/{mutation.path.split('/')[1]}/"
        elsewhere = {test for test in self.starts_processes if test.startswith(own)}
        chosen = entering | elsewhere if entering else set(self.seconds)
        return sorted(
            (
                test
                for test, seconds in self.seconds.items()
                if test in chosen and seconds < _TOO_SLOW
            ),
            key=lambda test: not test.startswith(own),
        )


class _Copy:
    """A copy of the repository that one thread breaks and mends."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._running: int | None = None
        self.stopped = False

    def stop(self) -> None:
        """Judge no more."""
        self.stopped = True
        self._end()

    def _end(self) -> None:
        """End what runs, with everything that the tests have started."""
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running, signal.SIGKILL)

    def observe(self) -> _Observed:
        """Run the tests on the sound copy.

        Raises:
            SystemExit: They fail without any mutation.
        """
        observed = self.root / "observed.json"
        output, code = self._pytest(
            *_TESTS, PYTHONDONTWRITEBYTECODE="", MUTANTS_OBSERVED=str(observed)
        )
        if code:
            raise SystemExit(f"The tests fail before anything is broken:\n{output}")
        # Bytecode is old by its source's size or second, which a mutation may leave as they are.
        for wing in _WINGS:
            shutil.rmtree(self.root / _PACKAGE / wing / "__pycache__")
        return _Observed(**json.loads(observed.read_text(encoding="utf-8")))

    def judge(self, mutation: Mutation, tests: list[str]) -> _Verdict:
        """Break the copy, run the tests until one fails, and mend it."""
        path = self.root / mutation.path
        sound = path.read_text(encoding="utf-8")
        path.write_text(mutation.mutated, encoding="utf-8")
        try:
            while True:
                failed = self._failure(tests)
                if failed not in tests or self._failure([failed]):
                    return _Verdict(mutation, failed)
                # On a busy machine a test may fail by chance: it is those after it that decide.
                tests = tests[tests.index(failed) + 1 :]
        finally:
            path.write_text(sound, encoding="utf-8")

    def _failure(self, tests: list[str]) -> str | None:
        if not tests:
            return None
        chosen = self.root / "chosen.json"
        chosen.write_text(json.dumps(tests), encoding="utf-8")
        files = dict.fromkeys(test.split("::")[0] for test in tests)
        output, code = self._pytest(
            *files, "-x", "-rfE", f"--timeout={_TEST_TIMEOUT}", MUTANTS_CHOSEN=str(chosen)
        )
        if code in {0, _NOTHING_RUN}:
            return None
        named = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, flags=re.MULTILINE)
        return named[1] if named else _TIME if code < 0 else f"exit {code}"

    def _pytest(self, *arguments: str, **environment: str) -> tuple[str, int]:
        """Run pytest in a session of its own, which ends with whatever the tests have left."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-p", "mutants.watch", *arguments],
                cwd=self.root,
                env={
                    **os.environ,
                    "PYTHONPATH": str(self.root),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running = process.pid
            try:
                code = process.wait(_RUN_TIMEOUT)
            except subprocess.TimeoutExpired:
                code = -1
            finally:
                self._end()
                self._running = None
                process.wait()
            output.seek(0)
            return output.read(), code


def _copy_repository(root: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if (_ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_ROOT / name, root / name)


def _sample(number: int, seed: int, only: str) -> list[Mutation]:
    """So many different mutations, the same ones for the same seed and code."""
    found: list[Place] = []
    for wing in _WINGS:
        for path in sorted((_ROOT / _PACKAGE / wing).rglob("*.py")):
            found.extend(
                place
                for place in places(path, _ROOT)
                if f"{place.path}:{place.line}:".startswith(only)
            )
    random.Random(seed).shuffle(found)
    sample: dict[str, Mutation] = {}
    for place in found:
        if len(sample) >= number:
            break
        if mutation := place.mutation():
            sample.setdefault(f"{mutation.path}\n{mutation.mutated}", mutation)
    return list(sample.values())


def _judge_all(sample: list[Mutation], observed: _Observed, copies: list[_Copy]) -> list[_Verdict]:
    todo: queue.SimpleQueue[Mutation] = queue.SimpleQueue()
    for mutation in sample:
        todo.put(mutation)
    verdicts: list[_Verdict] = []

    def work(copy: _Copy) -> None:
        while not copy.stopped:
            try:
                mutation = todo.get_nowait()
            except queue.Empty:
                return
            verdict = copy.judge(mutation, observed.tests(mutation))
            verdicts.append(verdict)
            how = f"caught by {verdict.caught_by}" if verdict.caught_by else "SURVIVED"
            print(
                f"{len(verdicts)}/{len(sample)} {mutation.path}:{mutation.line} {how}", flush=True
            )

    threads = [threading.Thread(target=work, args=(copy,), daemon=True) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return verdicts


def _report(verdicts: list[_Verdict]) -> None:
    survivors = [verdict.mutation for verdict in verdicts if not verdict.caught_by]
    for mutation in sorted(survivors, key=lambda mutation: (mutation.path, mutation.line)):
        print(f"\nsurvived: {mutation.path}:{mutation.line}\n{mutation.diff}")
    print()
    totals = Counter(verdict.mutation.path.split("/")[1] for verdict in verdicts)
    left = Counter(mutation.path.split("/")[1] for mutation in survivors)
    for wing, total in sorted(totals.items()):
        print(f"{wing}: {total - left[wing]} of {total}")
    late = sum(verdict.caught_by == _TIME for verdict in verdicts)
    if late:
        print(f"{late} of them were caught because the tests did not end")
    total, caught = len(verdicts), len(verdicts) - len(survivors)
    print(f"{caught} of {total} mutants were caught ({100 * caught // max(total, 1)} %)")


def main() -> None:
    """Judge a random sample, and say what survives."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--mutants", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="which")
    parser.add_argument("--processes", type=int, default=2, help="test runs at the same time")
    parser.add_argument("--only", default="", help="those of a path, or of path:line:")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no copy behind
    sample = _sample(chosen.mutants, chosen.seed, chosen.only)
    with tempfile.TemporaryDirectory(prefix="otel-budget-mutants-") as folder:
        roots = [Path(folder) / str(number) for number in range(max(chosen.processes, 1))]
        _copy_repository(roots[0])
        print("Watching the tests run unbroken ...", flush=True)
        copies = [_Copy(root) for root in roots]
        try:
            observed = copies[0].observe()
            for root in roots[1:]:
                shutil.copytree(roots[0], root)
            _report(_judge_all(sample, observed, copies))
        finally:
            for copy in copies:
                copy.stop()


if __name__ == "__main__":
    main()
