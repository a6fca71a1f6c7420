"""The hops inside the application: its set-up, its identity, its call path, its exporters."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from otel_budget.verify import endpoint, expected
from otel_budget.verify.hop import Hop, Problem, Why

Report = dict[str, Any]
#: Seconds for an application's exporters to finish, and seconds for Python to start.
FLUSH: Final = 12.0
_START: Final = 60.0
#: Seconds between two exports of metrics; one may be missed, and panels look back five minutes.
LONGEST_INTERVAL: Final = 120.0
#: How the description of a sampler begins that `sdk.keep_hits` wrapped.
_KEEPS_HITS: Final = "KeepHits{"
_NAMES: Final = {"traces": "traces sent", "metrics": "metrics sent", "logs": "log events sent"}


def run_canaries(tenant: str, setup: str, environment: Mapping[str, str]) -> list[Report]:
    """Run two canaries at the same time, each in a fresh process, and return their reports.

    Raises:
        Problem: A canary ended without a report.
    """
    # Its own service name, so that the canary is not charged to another service.
    variables = {**environment, "OTEL_SERVICE_NAME": expected.NAME}
    # Shorter than the default of 10 s: one failed attempt is enough here.
    variables.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", "5")
    with tempfile.TemporaryDirectory(prefix="otel-budget-verify-") as folder:
        files = [Path(folder) / f"{number}.json" for number in (1, 2)]
        processes = [
            subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "otel_budget.verify.canary", str(file), tenant, str(FLUSH)]
                + ([setup] if setup else []),
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for file in files
        ]
        try:
            errors = [process.communicate(timeout=_START + FLUSH)[1] for process in processes]
        except subprocess.TimeoutExpired:
            raise Problem(
                f"no report within {_START + FLUSH:g} s",
                "the set-up hangs, or the guard's telemetry blocks its caller",
                "set telemetry up with batch processors, as otel_budget.sdk.configure() does",
            ) from None
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        for file, error in zip(files, errors, strict=True):
            if not file.exists():
                last = error.strip().splitlines()[-1:] or ["it printed nothing"]
                raise Problem(
                    f"the canary's process ended early: {last[0]}",
                    "the set-up ended the process",
                    "run it by itself and fix what it reports",
                )
        return [json.loads(file.read_text()) for file in files]


def set_up(report: Report, setup: str) -> Hop:
    """Whether there is an SDK, how it samples, and how its counters add up."""
    name = "SDK set up"
    if "error" in report:
        return Hop(
            name,
            "failed",
            report["error"],
            f"{setup or 'otel_budget.sdk.configure()'} raised an exception",
            "fix that error" + (f"; {setup} is called without arguments" * bool(setup)),
        )
    signals = report["signals"]
    if not any(described["exporters"] for described in signals.values()):
        return Hop(
            name,
            "failed",
            "no provider with an exporter",
            "OTEL_SDK_DISABLED is true, every OTEL_*_EXPORTER is none, or the set-up makes no "
            "providers",
            "set OTEL_EXPORTER_OTLP_ENDPOINT, or name your set-up with --setup",
        )
    anonymous = [
        signal
        for signal, described in signals.items()
        if not _instance(described) and described["exporters"]
    ]
    if anonymous:
        return Hop(
            name,
            "failed",
            f"no service.instance.id on {', '.join(anonymous)}",
            "the resource was made by hand, without the SDK's detectors; the series of two "
            "processes would become one, and totals would be too low",
            "make it with Resource.create(...), or add a service.instance.id that is unique to "
            "each process",
        )
    interval = signals.get("metrics", {}).get("interval", 0.0)
    if interval > LONGEST_INTERVAL:
        return Hop(
            name,
            "failed",
            f"metrics are exported every {interval:g} s",
            "panels of now look back five minutes and alerts ten: levels flicker, and a single "
            "missed export leaves them empty",
            f"set OTEL_METRIC_EXPORT_INTERVAL to 60000 (ms), at most {LONGEST_INTERVAL * 1000:g}",
        )
    parts = [f"{', '.join(signals)}", f"service {_service(signals)}"]
    if "metrics" in signals:
        parts.append("/".join(signals["metrics"]["temporality"]) + " metrics")
    if "sampler" in signals.get("traces", {}):
        # The root of a parent-based sampler decides how much it keeps, besides hits.
        sampler = signals["traces"]["sampler"]
        keeps_hits = sampler.startswith(_KEEPS_HITS)
        root = re.match(r"ParentBased\{root:([^,]+)", sampler.removeprefix(_KEEPS_HITS))
        kept = " and every hit" if root and keeps_hits else ""
        parts.append(f"sampled by {root[1] if root else sampler}{kept}")
    return Hop(name, "passed", "; ".join(parts))


def denial(report: Report) -> dict[str, Any]:
    """The trace of the canary's denial, and whether its span is sent."""
    current = report["spans"][-1]
    sampler = report["signals"].get("traces", {}).get("sampler", "")
    return {**current, "sampled": current["sampled"] or sampler.startswith(_KEEPS_HITS)}


def identity(reports: list[Report]) -> Hop:
    """Whether two processes have different instance ids."""
    name = "own instance id"
    first, second = (report["signals"] for report in reports)
    shared = [s for s in first if s in second and _instance(first[s]) == _instance(second[s])]
    if not shared:
        return Hop(name, "passed", "two processes, two service.instance.ids")
    return Hop(
        name,
        "failed",
        f"both processes have the id {_instance(first[shared[0]])!r} ({', '.join(shared)})",
        "service.instance.id is set to a constant, in OTEL_RESOURCE_ATTRIBUTES or in the set-up: "
        "the series of all processes overwrite each other, and totals are too low",
        "leave it unset (the SDK makes one for each process), or make it unique to each process",
    )


def call_path(report: Report) -> Hop:
    """Whether an exporter ever ran on the thread that asked the guard."""
    name = "calls not blocked"
    blocking = {
        signal: [export for export in exports if export["blocked_the_caller"]]
        for signal, exports in report["exports"].items()
    }
    for signal, exports in blocking.items():
        if exports:
            used = ", ".join(report["signals"][signal]["processors"])
            waited = sum(export.get("seconds", 0.0) for export in exports)
            return Hop(
                name,
                "failed",
                f"{signal} were exported while the agent waited ({waited * 1e3:.1f} ms in "
                f"{len(exports)} exports; {used})",
                "a simple processor exports on the caller's thread: with a dead collector, each "
                "call of the guard waits for the exporter's timeout, and an agent's runtime denies "
                "a call that takes too long",
                "use the batch processor instead (BatchSpanProcessor, BatchLogRecordProcessor)",
            )
    return Hop(name, "passed", f"three guarded calls took {report['calls_seconds'] * 1e3:.1f} ms")


def sent(report: Report, signal: str, why: Why) -> Hop:
    """Whether the endpoint accepted a signal; `why` is asked if the Collector refuses it."""
    name = _NAMES[signal]
    described = report["signals"].get(signal)
    if described is None or not described["processors"]:
        variable = f"OTEL_{signal.upper()}_EXPORTER"
        return Hop(name, "skipped", f"nothing exports {signal} (see {variable} or your set-up)")
    exports = report["exports"][signal]
    where = _otlp(described)
    target = f"{where['endpoint']} by {where['protocol']}" if where else ", ".join(
        exporter["exporter"] for exporter in described["exporters"]
    )  # fmt: skip
    if not exports:
        reason = "nothing was exported"
        if signal == "logs" and report["events"] == "span":
            reason = "OTEL_PYTHON_BUDGET_EVENTS is span, so there are no log events"
        elif signal == "traces" and not any(span["sampled"] for span in report["spans"]):
            reason = f"the sampler ({described.get('sampler')}) kept neither of the canary's traces"
        return Hop(name, "skipped", reason)
    if exports[-1]["result"] == "SUCCESS":
        return Hop(name, "passed", target, seconds=exports[-1]["seconds"])
    if where is None:
        return Hop(
            name,
            "failed",
            f"{target} answered {exports[-1]['result']}",
            "the exporter is not one of the SDK's OTLP exporters, so the cause is unknown",
            "look at what it logs",
        )
    address, protocol = where["endpoint"], where["protocol"]
    hop = endpoint.problem(signal, address, protocol, report["logged"], why).hop(name)
    return replace(hop, seconds=exports[-1].get("seconds", FLUSH))


def elsewhere(report: Report, signal: str, detail: str) -> Problem | None:
    """The problem of a signal that no OTLP exporter sends."""
    described = report["signals"].get(signal)
    if described is None or not described["exporters"] or _otlp(described):
        return None
    return Problem(
        detail,
        f"{signal} go to {described['exporters'][0]['exporter']}, which is no OTLP exporter",
        f"leave OTEL_{signal.upper()}_EXPORTER at otlp, or name the OTLP exporter in your set-up",
    )


def _otlp(described: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The OTLP exporter of a signal."""
    exporters: list[dict[str, Any]] = described["exporters"]
    return next((exporter for exporter in exporters if "endpoint" in exporter), None)


def otlp_url(report: Report) -> str | None:
    """Where an OTLP exporter of the canary sends by HTTP."""
    found = [_otlp(described) for described in report["signals"].values()]
    urls = [str(e["endpoint"]) for e in found if e and e["protocol"] != "grpc"]
    return urls[0] if urls else None


def instances(reports: list[Report]) -> frozenset[str | None]:
    """The distinct instances whose metrics the canaries sent."""
    return frozenset(_instance(report["signals"]["metrics"]) for report in reports)


def _instance(signal: Mapping[str, Any]) -> str | None:
    instance: str | None = signal["resource"].get("service.instance.id")
    return instance


def _service(signals: Mapping[str, Any]) -> str:
    return str(next(iter(signals.values()))["resource"].get("service.name"))
