"""`make pictures`: a trace of the demo, and the dashboards over a made-up history."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import history
from browser import NAMES, check, needs_browser, read, view, wait_for_the_minute
from collector.stack import Stack
from dashboards.web.serve import serving
from support.cli_runs import command
from support.paths import ROOT
from support.probes import eventually, spans

if __name__ == "__main__":
    target = ROOT / "docs" / "pictures"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, Stack(Path(directory)) as stack:
        command("demo", "--otlp", OTEL_EXPORTER_OTLP_ENDPOINT=stack.otlp_http)
        eventually(lambda: spans(stack.jaeger, "otel-budget-demo"))
        refusal = {"path": "traces?tenant=acme&decision=deny", "click": ["deny llm_cost_usd"]}
        with serving(stack.prometheus, stack.jaeger) as address:
            read(address, {"name": "traces", **refusal}, pictures=target)
    with tempfile.TemporaryDirectory() as directory, Stack(Path(directory), interval=5) as stack:
        command("demo", "--otlp", OTEL_EXPORTER_OTLP_ENDPOINT=stack.otlp_http)
        eventually(lambda: spans(stack.jaeger, "otel-budget-demo"))
        refusal = {"path": "traces?tenant=acme&decision=deny", "click": ["deny llm_cost_usd"]}
        with serving(stack.prometheus, stack.jaeger) as address:
            read(address, {"name": "traces", **refusal}, pictures=target)
        history.send(stack.otlp_http)
        wait_for_the_minute()
        views = [view(name, start="6h") for name in NAMES]
        views += [view(name, start="6h") | {"dark": True} for name in NAMES]
        with serving(stack.prometheus) as address:
            views.append(view("overview", start="6h") | {"narrow": True})
            found = check(address, views, chromium=needs_browser(), pictures=target)
    for board in found:
        print(board["name"], board["problems"] or "as it should be")
    sys.exit(any(board["problems"] for board in found))
