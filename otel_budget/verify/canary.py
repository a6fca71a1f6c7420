"""The canary's process: ``python -m otel_budget.verify.canary REPORT TENANT SECONDS [SETUP]``.

It sets up telemetry as the user does, lets an instrumented guard decide, flushes, and writes what
it saw to REPORT as JSON. Its standard output belongs to the user's set-up.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from opentelemetry import trace

from otel_budget import (
    Deny,
    FlatRates,
    SessionInfo,
    SoftLimit,
    SyncBudgetGuard,
    TokenUsage,
    instrument,
)
from otel_budget.contract import Hit
from otel_budget.telemetry.instrument import EVENTS_VARIABLE
from otel_budget.verify import expected, inspection


class CanaryGuard(SyncBudgetGuard):
    """Answers the first check with a soft limit and the second with a denial."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Hit:
        """A soft limit, then a denial."""
        # The guard's span is the current one while the guard decides.
        context = trace.get_current_span().get_span_context()
        self.spans.append(
            {
                "trace_id": f"{context.trace_id:032x}",
                "sampled": context.trace_flags.sampled,
            }
        )
        if len(self.spans) == 1:
            return SoftLimit(
                resource=expected.RESOURCE, consumed=expected.CONSUMED, limit=expected.LIMIT
            )
        return Deny(resource=expected.RESOURCE, reason=expected.REASON)


def main(file: Path, tenant: str, seconds: float, setup: str = "") -> None:
    """Run the canary and write its report, which also says if the set-up failed."""
    report: dict[str, Any] = {
        "pid": os.getpid(),
        "events": os.environ.get(EVENTS_VARIABLE, "both"),
    }
    try:
        _set_up(setup)
    except BaseException as error:
        report["error"] = f"{type(error).__name__}: {error}"
    else:
        report |= _decide_and_flush(tenant, seconds)
    temporary = file.with_suffix(".partial")
    temporary.write_text(json.dumps(report))
    temporary.replace(file)


def _set_up(setup: str) -> None:
    sys.path.insert(0, "")
    if not setup:
        from otel_budget.sdk import configure

        configure(patience=0.0)
        return
    module, _, name = setup.partition(":")
    function = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    function()  # type: ignore[operator]


def _decide_and_flush(tenant: str, seconds: float) -> dict[str, Any]:
    providers = inspection.providers()
    watch = inspection.Watch(providers)
    guard = CanaryGuard()
    observed = instrument(
        guard,
        name=expected.NAME,
        session_info=SessionInfo(tenant=tenant, model=expected.MODEL, provider=expected.PROVIDER),
        prices=FlatRates(input=expected.INPUT_RATE, output=expected.OUTPUT_RATE),
    )
    session = f"{tenant}-{os.getpid()}"
    usage = TokenUsage(
        prompt_tokens=expected.INPUT_TOKENS,
        completion_tokens=expected.OUTPUT_TOKENS,
        total_tokens=expected.INPUT_TOKENS + expected.OUTPUT_TOKENS,
    )
    started = time.monotonic()
    with watch:
        observed.check_before_llm(session, expected.ESTIMATED_TOKENS)
        observed.record_after_llm(session, usage)
        observed.check_before_llm(session, expected.ESTIMATED_TOKENS)
    calls = time.monotonic() - started
    # One thread per signal, so that a hanging flush delays neither the others nor the report.
    threads = [
        threading.Thread(target=provider.force_flush, daemon=True)
        for provider in providers.values()
        if hasattr(provider, "force_flush")
    ]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {
        "session": session,
        "calls_seconds": calls,
        "spans": guard.spans,
        "signals": inspection.describe(providers),
        "exports": watch.exports,
        "logged": watch.logged,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), *sys.argv[4:])
    # Exit handlers, and threads that still hang, would only take time.
    os._exit(0)
