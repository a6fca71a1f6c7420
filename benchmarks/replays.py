"""What `otel-budget replay` takes for a million rows: CPU time and memory of the whole process.

Run it alone: `python -m benchmarks.replays [ROWS]`; it takes minutes.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Rows a second of CPU, and megabytes.
GOAL_RATE, GOAL_MEMORY = 10_000, 300
_MODELS = (("gpt-4.1", "openai"), ("claude-sonnet-4-5", "anthropic"), ("gpt-4.1-mini", "openai"))
_LIMITS = ("--limit", "40usd/tenant/day", "--limit", "200000tokens/user/hour")


def _calls(rows: int) -> Iterator[dict[str, object]]:
    chance = random.Random(1)
    for number in range(rows):
        model, provider = _MODELS[number % 3]
        yield {
            "request_id": f"r{number}",
            "startTime": 1_761_955_200 + number * 2.5,
            "team_id": f"t{number % 50}",
            "end_user": f"u{number % 1_500}",
            "model": model,
            "custom_llm_provider": provider,
            "prompt_tokens": (prompt := int(chance.lognormvariate(7, 1))),
            "completion_tokens": prompt // 20,
            "total_tokens": prompt + prompt // 20,
            "spend": 0.001,
            "cache_hit": "False",
        }


def _write(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number, call in enumerate(_calls(rows)):
            if path.suffix == ".jsonl":
                file.write(json.dumps(call) + "\n")
                continue
            call.pop("cache_hit")  # without it, it is any table
            if not number:
                file.write(",".join(call) + "\n")
            file.write(",".join(map(str, call.values())) + "\n")


def main(rows: int = 1_000_000) -> None:
    """Print what a table and LiteLLM's log take; the second pass is through two limits."""
    for kind in ("csv", "jsonl"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"calls.{kind}"
            _write(path, rows)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            code = "from otel_budget.cli import main; main()"
            subprocess.run(
                [sys.executable, "-c", code, "replay", str(path), *_LIMITS, "--json", "-q"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rate, memory = rows / seconds, after.ru_maxrss / 1024
        print(
            f"Replaying {rows:,} rows of {kind}: {seconds:.0f} s of CPU, {rate:,.0f} rows/s "
            f"(goal {GOAL_RATE:,}: {'met' if rate >= GOAL_RATE else 'MISSED'}), {memory:.0f} MB "
            f"(goal {GOAL_MEMORY}: {'met' if memory <= GOAL_MEMORY else 'MISSED'})"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
