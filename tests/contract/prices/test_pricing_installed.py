"""``prices="auto"`` with any genai-prices: it never raises, and says once why it prices nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes import python

#: A guard is made and used twice, so that what is logged once would show.
_HOST = """
import sys
sys.path.insert(0, sys.argv[1])
import logging
logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("otel_budget").addHandler(handler)

import genai_prices
assert genai_prices.__file__.startswith(sys.argv[1]), genai_prices.__file__
from otel_budget import SessionInfo, SyncBudgetGuard, TokenUsage, instrument
from otel_budget.guards import Limit, WindowGuard
from otel_budget.testing import capture_telemetry

who = SessionInfo(tenant="acme", model="gpt-4o", provider="openai")
usage = TokenUsage(prompt_tokens=10, completion_tokens=1, total_tokens=11)
with capture_telemetry() as telemetry:
    for _ in range(2):
        guard = instrument(SyncBudgetGuard(), session_info=who)
        guard.record_after_llm("s", usage)
    window = WindowGuard(Limit(1), session_info=who)
    window.record_after_llm("s", usage)
assert telemetry.value("budget.unpriced_calls", reason="no_prices") == 2
assert window.uncounted_calls == {"no_prices": 1}, window.uncounted_calls
about_prices = [line for line in logged if line.startswith("otel-budget prices no calls")]
print(*about_prices, sep="\\n")
"""

_OLD_LAYOUT = {"__init__.py": "class Usage: pass\n"}
_OLD_LOOK_UP = {
    "__init__.py": "class Usage: pass\n",
    "data_snapshot.py": """
class Provider:
    model_match = None
    def find_model(self, ref):
        return None
class Snapshot:
    providers = [Provider()]
_snapshot = Snapshot()
def get_snapshot():
    return _snapshot
def find_provider_by_id(providers, name):
    return providers[0]
""",
}
_FAILS = {"__init__.py": "", "data_snapshot.py": "raise RuntimeError('broken file')\n"}


@pytest.mark.parametrize(
    ("version", "files", "said"),
    [
        ("0.0.17", _OLD_LAYOUT, "0.0.51 or newer, and 0.0.17 is installed"),
        ("0.0.50", _OLD_LOOK_UP, "0.0.51 or newer, and 0.0.50 is installed"),
        ("0", _OLD_LAYOUT, "0.0.51 or newer, and 0 is installed"),
        # Not old: still nothing is raised, by the guard or by each call.
        ("9.0.0", _OLD_LAYOUT, "cannot import genai-prices 9.0.0"),
        ("9.0.0", _OLD_LOOK_UP, "genai-prices 9.0.0 cannot be used (TypeError"),
        ("9.0.0", _FAILS, "genai-prices 9.0.0 cannot be used (RuntimeError: broken file)"),
        ("not a version", _FAILS, "genai-prices not a version cannot be used"),
    ],
)
def test_auto_prices_nothing_with_a_version_that_it_cannot_use(
    tmp_path: Path, version: str, files: dict[str, str], said: str
) -> None:
    package = tmp_path / "genai_prices"
    package.mkdir()
    for name, source in files.items():
        (package / name).write_text(source)
    metadata = tmp_path / "genai_prices-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: genai-prices\nVersion: {version}\n"
    )
    logged = python(_HOST, str(tmp_path)).stdout.splitlines()
    assert len(logged) == 1, logged
    assert said in logged[0]
    assert "pip install 'otel-budget[prices]'" in logged[0]
    assert "FlatRates" in logged[0]
