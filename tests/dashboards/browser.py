"""Driving `dashboards/web/check.mjs` and `read.mjs`: what pages look like, say and asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dashboards.web import serve
from support.missing import skip_or_fail
from support.paths import ROOT

WEB = ROOT / "dashboards" / "web"
PERSES = ROOT / "dashboards" / "perses"
NAMES = ("overview", "drilldown", "health")


def needs_browser() -> str:
    """Chromium's path; skips with a sentence, or fails with CI=true."""
    chromium = shutil.which("chromium")
    if chromium is None or not shutil.which("node") or not serve.built():
        skip_or_fail(
            "the browser check needs Node.js, Chromium and the page: run dashboards/web/setup.sh"
        )
    return chromium


def view(name: str, tenant: str = "", folder: Path = PERSES, start: str = "1h") -> dict[str, Any]:
    """One dashboard to open, with All or with one tenant chosen by the drop-down."""
    opened: dict[str, Any] = {"name": name, "file": str(folder / f"{name}.json"), "start": start}
    if tenant:
        opened["choose"] = {"title": "Tenant", "variable": "tenant", "value": tenant}
    return opened


def check(
    address: str, views: Sequence[dict[str, Any]], *, chromium: str, pictures: Path | None = None
) -> list[dict[str, Any]]:
    """Open each view; returns what was found: name, chosen, asked, problems."""
    order = {
        "address": address,
        "open": views,
        "chromium": chromium,
        "pictures": str(pictures) if pictures else "",
    }
    found = run_node("check.mjs", order, timeout=600)
    assert len(found) == len(views)
    return found


def read(
    address: str, *opened: dict[str, Any], pictures: Path | None = None
) -> list[dict[str, Any]]:
    """Each page's address, text and alerts; what to open is described in `read.mjs`."""
    order = {
        "address": address,
        "open": opened,
        "chromium": needs_browser(),
        "pictures": str(pictures) if pictures else "",
    }
    return run_node("read.mjs", order, timeout=200)


def run_node(program: str, order: dict[str, Any], *, timeout: float) -> list[dict[str, Any]]:
    """The JSON objects that a program of `dashboards/web` prints."""
    done = subprocess.run(
        ["node", str(WEB / program), json.dumps(order)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_for_the_minute() -> None:
    """Perses asks up to the last whole minute: let that be one after the last sample."""
    time.sleep(61 - time.time() % 60)
