"""Failures of the telemetry: each is counted once for what failed, and told without secrets."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from otel_budget.telemetry import hub as hub_module
from otel_budget.telemetry.hub import Hub
from support.backend import Backend
from support.guards import SyncScript

DENY = {"decision": "deny", "resource": "usd", "reason": "spent"}


class Broken:
    """A provider that gives nothing."""

    def get_tracer(self, *_: Any, **__: Any) -> Any:
        raise OSError("no tracer")

    def get_logger(self, *_: Any, **__: Any) -> Any:
        raise OSError("no logger")


@pytest.mark.parametrize(
    ("option", "component"), [("tracer_provider", "span"), ("logger_provider", "log_event")]
)
def test_a_provider_that_gives_nothing_fails_once_and_not_on_every_call(
    backend: Backend, option: str, component: str
) -> None:
    guard = backend.instrument(SyncScript(DENY), **{option: Broken()})
    for _ in range(3):
        assert guard.check_before_llm("s", 1) == DENY
    assert backend.value("budget.telemetry.errors") == 1
    assert backend.value("budget.telemetry.errors", budget__component=component) == 1
    assert backend.value("budget.decisions", budget__decision="deny") == 3


@pytest.mark.parametrize("debug", [True, False])
def test_a_failures_stack_is_logged_for_those_who_debug(
    backend: Backend, caplog: pytest.LogCaptureFixture, debug: bool
) -> None:
    caplog.set_level(logging.DEBUG if debug else logging.INFO, "otel_budget")
    hub = backend.instrument(SyncScript())._otel_budget_settings.destination.hub
    hub.report_failure("span", OSError("what happened"))
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "Telemetry of a budget guard failed (span, OSError)." in record.getMessage()
    assert "budget.telemetry.errors" in record.getMessage()
    assert ("what happened" in caplog.text) is debug


def test_what_fails_on_the_hubs_thread_is_counted_and_the_thread_goes_on(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    hub = Hub(backend.meter_provider)
    polled = threading.Semaphore(0)

    class Poller:
        def poll(self) -> None:
            polled.release()
            raise OSError("no levels")

    hub.poller = Poller()  # type: ignore[assignment]
    hub._wake_thread()
    assert polled.acquire(timeout=20)
    hub._wake_thread()
    assert polled.acquire(timeout=20)
    thread = hub._thread
    assert thread is not None
    assert thread.is_alive()
    assert thread.daemon
    assert thread.name == "otel-budget"
    for _ in range(2_000):
        if any("(metrics, OSError)" in record.getMessage() for record in caplog.records):
            break
        polled.acquire(timeout=0.01)
    else:
        pytest.fail("the failure is not told")
    del hub


def test_a_fork_that_did_not_get_the_lock_goes_on() -> None:
    """Its thread has waited in vain, so it has nothing to give back."""
    refused: list[BaseException] = []

    def release() -> None:
        try:
            hub_module._after_fork_in_parent()
        except BaseException as error:
            refused.append(error)

    holds = threading.Event()
    done = threading.Event()

    def hold() -> None:
        with hub_module._recording.current:
            holds.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert holds.wait(20)
    release()
    done.set()
    holder.join(20)
    assert refused == []
