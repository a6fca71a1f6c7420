"""The shipped excerpt of a real call log, and the tenants the demo assigns to its rows."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files
from typing import Final

from otel_budget.cli.replay.log.call import LoggedCall
from otel_budget.cli.replay.log.reading import ReadingOptions, read_logs
from otel_budget.cli.replay.log.sources import sources_of

#: Who published the calls; see data/NOTICE.md.
CREDIT: Final = (
    "Azure LLM Inference Trace 2023 (Microsoft, CC-BY 4.0; Patel et al., Splitwise, ISCA 2024)"
)
FILE: Final = "azure_llm_2023_code_excerpt.csv"

#: Tenant, model, provider, and their share: so many of every twenty calls.
_TENANTS: Final = (
    ("acme", "claude-sonnet-4-5", "anthropic", 9),
    ("globex", "gpt-4.1", "openai", 6),
    ("initech", "claude-haiku-4-5", "anthropic", 3),
    ("umbrella", "gpt-4.1-mini", "openai", 2),
)
_TOOLS: Final = ("read_file", "run_tests", "search", "shell")
_CALLS_A_SESSION: Final = 11
_CALLS_A_TOOL: Final = 5


def excerpt() -> list[LoggedCall]:
    """The calls of the excerpt, with tenant, session, model and tools assigned by row number."""
    with as_file(files("otel_budget") / "data" / FILE) as path:
        calls = list(read_logs(sources_of([str(path)]), ReadingOptions()).calls)
    shares = [entry for entry in _TENANTS for _ in range(entry[3])]
    calls_by_tenant: dict[str, int] = {}
    assigned: list[LoggedCall] = []
    for row, call in enumerate(calls):
        # 7 and 20 have no common divisor: twenty consecutive rows use every share once.
        tenant, model, provider, _ = shares[row * 7 % len(shares)]
        number = calls_by_tenant[tenant] = calls_by_tenant.get(tenant, 0) + 1
        tool = None
        if number % _CALLS_A_TOOL == 0:
            tool = _TOOLS[number // _CALLS_A_TOOL % len(_TOOLS)]
        assigned.append(
            replace(
                call,
                tenant=tenant,
                session=f"{tenant}-{1 + (number - 1) // _CALLS_A_SESSION}",
                model=model,
                provider=provider,
                tool=tool,
            )
        )
    return assigned
