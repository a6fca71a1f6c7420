"""The traces in the page: searched, opened, and read in Chromium."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from browser import needs_browser, read
from collector.stack import Stack
from dashboards.web.serve import serving
from otel_budget import Deny, SessionInfo, SoftLimit, SyncBudgetGuard
from otel_budget import semconv as sc
from promtool import backend
from support.applications import Application
from support.probes import eventually, spans

pytestmark = pytest.mark.timeout(300)
SERVICE = "traces-page"
_PROGRAMS = ("jaeger", "prometheus", "otelcol")
#: A name that must be quoted wherever it goes.
ODD = "Acme (EU) + 'a\"b\\c' 100%"
REFUSAL = Deny(
    resource="llm_cost_usd", reason="the day's cap is spent", consumed=0.75, limit=1.0,
    reserved=0.5, window="day", resets_in=3600.0, cause="reserved",
)  # fmt: skip


class Guard(SyncBudgetGuard):
    """Refuses the sessions of one tenant, warns those of another, allows the rest."""

    def check_before_llm(self, session_id: str, estimated_prompt_tokens: int) -> Any:
        if session_id.startswith("odd"):
            return REFUSAL
        if session_id.startswith("soft"):
            return SoftLimit(resource="tokens", consumed=9.0, limit=10.0)
        return super().check_before_llm(session_id, estimated_prompt_tokens)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    needs_browser()
    for program in _PROGRAMS:
        backend(program)
    tenants = {"odd": ODD, "soft": "globex", "calm": "initech"}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        Stack(Path(directory), programs=_PROGRAMS) as stack,
    ):
        with Application(stack.otlp_grpc, SERVICE) as application:
            guard = application.instrument(
                Guard(),
                session_info=lambda session: SessionInfo(tenant=tenants[session.partition("-")[0]]),
            )
            for session in ("odd-1", "odd-2", "soft-1", "calm-1"):
                guard.check_before_llm(session, 100)
            application.flush()
        assert eventually(lambda: len(spans(stack.jaeger, SERVICE)), lambda found: found >= 8) == 8
        yield stack


def search(**parameters: str) -> dict[str, Any]:
    return {"name": "search", "path": f"traces?{urlencode(parameters)}"}


def rows(page: dict[str, Any]) -> set[str]:
    """The names of the traces in the table."""
    return {line for line in page["text"].splitlines() if line.startswith(f"{SERVICE}: ")}


NAME = f"{SERVICE}: {sc.SPAN_SESSION}"
REFUSED = "deny llm_cost_usd (day)"
DENIED, WARNED = f"{NAME} · {ODD} · {REFUSED}", f"{NAME} · globex · soft_limit tokens"


def test_traces_are_found_by_tenant_decision_and_session(stack: Stack) -> None:
    wanted = {
        (("tenant", ODD),): {DENIED},
        (("tenant", ODD), ("decision", "soft_limit")): set(),
        (("tenant", "initech"),): {f"{NAME} · initech"},
        (("decision", "soft_limit"),): {WARNED},
        # As a board's drop-downs have it, with one of them at All.
        (("var-tenant", ODD), ("var-agent", ".*"), ("var-decision", "deny")): {DENIED},
        (("session", "odd-2"), ("service", SERVICE)): {DENIED},
        (("session", "odd-2"), ("service", "another")): set(),
        (): {DENIED, WARNED, f"{NAME} · initech"},
    }
    with serving(stack.prometheus, stack.jaeger) as address:
        pages = read(address, *(search(**dict(asked)) for asked in wanted))
    assert [page["alerts"] for page in pages] == [[]] * len(wanted)
    assert {asked: rows(page) for asked, page in zip(wanted, pages, strict=True)} == wanted


def test_the_tree_of_a_denial_says_why(stack: Stack) -> None:
    """From the table to the tree, where the refusal is selected; then its event."""
    found = search(session="odd-1")
    with serving(stack.prometheus, stack.jaeger) as address:
        tree, event = read(
            address,
            found | {"click": [REFUSED]},
            found | {"click": [REFUSED, "Events", sc.SPAN_EVENT_THRESHOLD_HIT]},
        )
    lines = [line for line in tree["text"].splitlines() if line]
    told = dict(itertools.pairwise(lines))
    assert "trace=" in tree["address"]
    for name, value in {
        sc.DECISION: "deny", sc.WINDOW: "day", sc.CAUSE: "reserved", sc.CONSUMED: "0.75",
        sc.LIMIT: "1", sc.RESERVED: "0.5", sc.RESETS_IN: "3600", sc.TENANT: ODD,
    }.items():  # fmt: skip
        assert told[name] == value
    assert {sc.SPAN_SESSION, f"{sc.SPAN_CHECK_BEFORE_LLM} · {REFUSED}"} <= set(lines)
    assert "the day's cap is spent" in event["text"]


def test_what_is_wrong_is_said(stack: Stack) -> None:
    with serving(stack.prometheus, stack.jaeger) as address:
        (unknown,) = read(address, search(trace="0123456789abcdef0123456789abcdef"))
    with serving(stack.prometheus, "http://127.0.0.1:1") as address:
        (down,) = read(address, search(tenant="globex"))
    assert "Jaeger answers 404" in "".join(unknown["alerts"])
    assert "Jaeger answers 502" in "".join(down["alerts"])
